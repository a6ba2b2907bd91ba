import asyncio
from collections.abc import Callable, Coroutine
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tests.integrations.stand_ins import assert_one_version, imported

Test = Callable[["Serve"], Coroutine[Any, Any, None]]


class RequestRouter:
    """Ray's base class, as far as ours relies on it."""

    def __init__(self) -> None:
        self._pending_requests_by_id: dict[str, Any] = {}
        self.dead: list[Any] = []
        self.fulfilled: list[Any] = []

    def on_replica_actor_died(self, replica_id: Any) -> None:
        self.dead.append(replica_id)

    def _fulfill_next_pending_request(self, replica: Any, metadata: Any = None) -> None:
        pending = self._pending_requests_by_id.pop(metadata.internal_request_id)
        self.fulfilled.append(pending)
        pending.future.set_result(replica)


class TaskCancelledError(Exception):
    pass


@pytest.fixture
def ray_serve(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    names = ("PendingRequest", "ReplicaID", "RunningReplica")
    contents = dict.fromkeys(names, SimpleNamespace) | {"RequestRouter": RequestRouter}
    return imported(
        monkeypatch,
        "ray_serve",
        {
            "ray.serve.request_router": contents,
            "ray.exceptions": {"TaskCancelledError": TaskCancelledError},
        },
    )


class Answer:
    """What a replica answers: references that call back when their item is there."""

    def __init__(self) -> None:
        self._obj_ref = self
        self.take: Callable[[Any], None] | None = None

    def _on_completed(self, take: Callable[[Any], None]) -> None:
        self.take = take

    def arrive(self, item: Any) -> None:
        assert self.take is not None
        self.take(item)


class Serve:
    """Ray Serve around a router, one step at a time."""

    def __init__(self, ray_serve: ModuleType, n_replicas: int, **settings: Any) -> None:
        self.router = ray_serve.LearnedRequestRouter()
        self.router.initialize_state(**settings)
        self.replicas = [replica(f"replica-{number}") for number in range(n_replicas)]

    @property
    def inner(self) -> Any:
        return self.router._router

    @property
    def reserved(self) -> int:
        load = getattr(self.inner, "_load", None)
        if load is None:
            return len(self.inner._queues)
        return int(load.counts.sum())

    async def choose(self, pending: Any) -> Any:
        ranks = await self.router.choose_replicas(self.replicas, pending)
        return ranks[0][0]

    async def send(self, pending: Any, *, to: Any = None) -> str:
        """Choose, and hand the request over; returns who has it."""
        chosen = await self.choose(pending)
        self.router._fulfill_next_pending_request(to or chosen, pending.metadata)
        await asyncio.sleep(0)
        return str((to or chosen).replica_id.unique_id)

    async def accept(self, pending: Any) -> Answer:
        answer = Answer()
        self.router.on_request_routed(pending, pending.future.result().replica_id, answer)
        return answer

    async def complete(self, pending: Any) -> None:
        replica_id = pending.future.result().replica_id
        self.router.on_request_completed(replica_id, pending.metadata.internal_request_id)
        await asyncio.sleep(0.01)

    def assert_drained(self) -> None:
        assert self.reserved == 0
        for known in (self.router._open, self.router._sent, self.router._choosing):
            assert not known
        self.inner.check()


def replica(name: str) -> Any:
    return SimpleNamespace(replica_id=SimpleNamespace(unique_id=name))


def call(prompt: Any, *, request_id: str = "r", is_streaming: bool = False) -> Any:
    metadata = SimpleNamespace(
        internal_request_id=request_id,
        multiplexed_model_id="",
        session_id="",
        call_method="__call__",
        is_streaming=is_streaming,
    )
    future = asyncio.get_running_loop().create_future()
    return SimpleNamespace(args=[prompt], kwargs={}, metadata=metadata, future=future)


def run(test: Test, ray_serve: ModuleType, n_replicas: int = 3, **settings: Any) -> None:
    async def inside() -> None:
        await test(Serve(ray_serve, n_replicas, **settings))

    asyncio.run(inside())


def test_prompts_that_begin_alike_go_to_one_replica(ray_serve: ModuleType) -> None:
    async def test(serve: Serve) -> None:
        for group in range(6):
            names = set()
            for number in range(4):
                pending = call(f"{group} " * 5000 + str(number), request_id=f"{group}-{number}")
                names.add(await serve.send(pending))
                answer = await serve.accept(pending)
                answer.arrive({"usage": {"completion_tokens": 2}})
                await serve.complete(pending)
            assert len(names) == 1
        serve.assert_drained()

    run(test, ray_serve)


@pytest.mark.parametrize("policy", ["lbgr", "consistent-hash", "round-robin"])
def test_reservations_end_however_requests_do(ray_serve: ModuleType, policy: str) -> None:
    async def test(serve: Serve) -> None:
        items = [{}, ValueError("no"), TaskCancelledError(), b"raw", None]
        for at, item in enumerate(items):
            pending = call(f"prompt {at}", request_id=str(at))
            await serve.send(pending)
            answer = await serve.accept(pending)
            assert serve.reserved == 1
            answer.arrive(item)
            await serve.complete(pending)
            serve.assert_drained()

    run(test, ray_serve, policy=policy)


def test_an_answer_that_comes_after_its_end_is_waited_for(ray_serve: ModuleType) -> None:
    async def test(serve: Serve) -> None:
        late, never = call("late", request_id="a"), call("never", request_id="b")
        for pending in (late, never):
            await serve.send(pending)
        answer = await serve.accept(late)
        await serve.accept(never)
        await serve.complete(late)
        await serve.complete(never)
        assert serve.reserved == 2
        answer.arrive({})
        await asyncio.sleep(0.01)
        assert serve.reserved == 1
        await asyncio.sleep(ray_serve.GRACE + 0.1)
        serve.assert_drained()

    run(test, ray_serve)


def test_the_first_item_of_a_stream_is_its_first_token(ray_serve: ModuleType) -> None:
    async def test(serve: Serve) -> None:
        pending = call("prompt", is_streaming=True)
        await serve.send(pending)
        answer = await serve.accept(pending)
        answer.arrive("first")
        await asyncio.sleep(0.01)
        assert serve.inner.errors()["ttft"].n == 1
        assert serve.reserved == 1
        await serve.complete(pending)
        serve.assert_drained()

    run(test, ray_serve)


def test_a_request_whose_replica_is_full_is_offered_to_others(ray_serve: ModuleType) -> None:
    async def test(serve: Serve) -> None:
        pending = call("prompt")
        first = await serve.router.choose_replicas(serve.replicas, pending)
        assert [len(rank) for rank in first] == [1]
        second = await serve.router.choose_replicas(serve.replicas, pending)
        assert [len(rank) for rank in second] == [1, 2]
        assert serve.reserved == 1
        elsewhere = second[1][0]
        serve.router._fulfill_next_pending_request(elsewhere, pending.metadata)
        await asyncio.sleep(0)
        assert serve.reserved == 0
        await serve.complete(pending)
        serve.assert_drained()

    run(test, ray_serve)


def test_a_caller_that_goes_away_while_waiting_leaves_nothing(ray_serve: ModuleType) -> None:
    async def test(serve: Serve) -> None:
        pending = call("prompt")
        await serve.choose(pending)
        pending.future.cancel()
        await asyncio.sleep(0)
        serve.assert_drained()

    run(test, ray_serve)


def test_a_request_that_comes_back_has_failed_where_it_was(ray_serve: ModuleType) -> None:
    async def test(serve: Serve) -> None:
        pending = call("prompt")
        await serve.send(pending)
        refused = pending.future.result()
        pending.future = asyncio.get_running_loop().create_future()
        await serve.choose(pending)
        assert serve.reserved == 1
        serve.router.on_request_completed(refused.replica_id, "r")
        await asyncio.sleep(0.01)
        assert serve.reserved == 1
        serve.router._fulfill_next_pending_request(serve.replicas[0], pending.metadata)
        await asyncio.sleep(0)
        await serve.complete(pending)
        serve.assert_drained()

    run(test, ray_serve)


def test_what_fails_while_it_is_sent_ends_at_once(ray_serve: ModuleType) -> None:
    async def test(serve: Serve) -> None:
        pending = call("prompt")
        chosen = await serve.choose(pending)
        serve.router._fulfill_next_pending_request(chosen, pending.metadata)
        # No callback of the future has run yet.
        serve.router.on_request_completed(chosen.replica_id, "r")
        await asyncio.sleep(0.01)
        serve.assert_drained()

    run(test, ray_serve)


def test_what_a_dead_replica_had_fails_and_it_is_not_chosen_again(ray_serve: ModuleType) -> None:
    async def test(serve: Serve) -> None:
        sent = [call(f"prompt {number}", request_id=str(number)) for number in range(9)]
        for pending in sent:
            await serve.send(pending)
        dead = serve.replicas[0].replica_id
        had = [each for each in sent if each.future.result().replica_id is dead]
        assert had
        serve.router.on_replica_actor_died(dead)
        assert serve.router.dead == [dead]
        assert serve.reserved == len(sent) - len(had)
        serve.replicas = serve.replicas[1:]
        for pending in sent:
            await serve.complete(pending)
        again = [call("again", request_id=f"again-{number}") for number in range(20)]
        assert dead.unique_id not in {await serve.send(pending) for pending in again}
        serve.replicas = [*serve.replicas, replica("replica-new")]
        more = [call(f"more {number}", request_id=f"more-{number}") for number in range(20)]
        assert "replica-new" in {await serve.send(pending) for pending in more}
        for pending in [*again, *more]:
            await serve.complete(pending)
        serve.assert_drained()

    run(test, ray_serve)


def test_calls_of_one_request_are_told_apart(ray_serve: ModuleType) -> None:
    async def test(serve: Serve) -> None:
        calls = [call(f"{number} " * 2000) for number in range(8)]

        async def route(pending: Any) -> None:
            chosen = await serve.choose(pending)
            await asyncio.sleep(0)
            serve.router._fulfill_next_pending_request(chosen, pending.metadata)

        await asyncio.gather(*map(route, calls))
        assert sorted(map(id, serve.router.fulfilled)) == sorted(map(id, calls))
        await asyncio.sleep(0)
        for sent in serve.router._open.values():
            assert sent.replica == sent.worker
        for pending in calls:
            await serve.complete(pending)
        serve.assert_drained()

    run(test, ray_serve)


def test_a_prompt_that_cannot_be_read_is_routed_by_load(
    ray_serve: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(serve: Serve) -> None:
        pending = call({"prompt": [1, "two"]})
        await serve.send(pending)
        await serve.complete(pending)
        serve.assert_drained()

    run(test, ray_serve)
    assert "could not be read" in caplog.text


def test_an_answer_that_cannot_be_watched_costs_no_request(
    ray_serve: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(serve: Serve) -> None:
        pending = call("prompt")
        await serve.send(pending)
        replica_id = pending.future.result().replica_id
        for result in (object(), SimpleNamespace(_obj_ref_gen=object())):
            serve.router.on_request_routed(pending, replica_id, result)
        await serve.complete(pending)
        serve.assert_drained()

    run(test, ray_serve)
    assert "cannot be watched" in caplog.text


def test_what_never_ends_is_let_go(ray_serve: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(serve: Serve) -> None:
        await serve.send(call("lost", request_id="lost"))
        monkeypatch.setattr(ray_serve, "LOST", -1.0)
        pending = call("prompt")
        await serve.send(pending)
        assert serve.reserved == 1
        await serve.complete(pending)
        serve.assert_drained()

    run(test, ray_serve)


def test_without_a_request_or_a_replica_there_is_no_choice(ray_serve: ModuleType) -> None:
    async def test(serve: Serve) -> None:
        assert await serve.router.choose_replicas(serve.replicas) == [serve.replicas]
        assert await serve.router.choose_replicas([], call("prompt")) == [[]]
        serve.router.on_request_completed(serve.replicas[0].replica_id, "nobody's")
        serve.assert_drained()

    run(test, ray_serve)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "fastest"}, "no policy 'fastest'; there are: lbgr, "),
        ({"eviction": "belady"}, "no eviction 'belady'; there are: lru, "),
        ({"page_size": 0}, "pages of at least one token"),
    ],
)
def test_settings_that_mean_nothing_are_refused(
    ray_serve: ModuleType, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ray_serve.LearnedRequestRouter().initialize_state(**settings)


def test_rays_version_is_named() -> None:
    assert_one_version("ray_serve", "ray", "integrations-ray.md")
