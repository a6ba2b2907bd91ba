"""Which model ``auto`` is: by capability, in time, and whatever happens to tables and embedders."""

import asyncio
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import openai
import pytest
from tests.serve.gateway.openai_worker import CHAT, OpenAIWorker, Served, message_of, until

from triskele.serve.gateway import Gateway, Settings
from triskele.serve.gateway import choosing as module
from triskele.serve.gateway.choosing import Choosing, ModelChooser, described, with_model
from triskele.serve.gateway.keys import Keys, parse_keys
from triskele.serve.gateway.refusal import Refusal
from triskele.serve.http import HttpRequest, Response
from triskele.serve.journal import Journal, read
from triskele.serve.routing.capability import Preference
from triskele.serve.routing.capability_table import CapabilityTable, Shelf, table_of
from triskele.serve.routing.query_embedding import HashedWords, embedder

POET, CODER = "poet", "coder"
VERSE, CODE = "write a poem about the sea", "fix the bug in this python function"
WORDS = HashedWords(512)
N_FEATURES = 512


def table(*, prices: tuple[float, float] = (1.0, 1.0), **more: Any) -> CapabilityTable:
    """Return what is known of two models: each is good at its own kind of query."""
    given: dict[str, Any] = {
        "points": np.stack([WORDS.embed(VERSE), WORDS.embed(CODE)]),
        "gamma": 1.0,
        "weights": [[3.0, -3.0], [-3.0, 3.0]],
        "bias": [0.2, 0.0],
    }
    return table_of((POET, CODER), prices=prices, **{**given, **more})


def request(**headers: str) -> HttpRequest:
    fields = [
        (f"x-triskele-{name}".replace("_", "-").encode(), v.encode()) for name, v in headers.items()
    ]
    return HttpRequest("POST", CHAT, "", fields)


class Choice:
    """A chooser over a shelf, without a gateway."""

    def __init__(
        self,
        folder: Path,
        *,
        embedders: Callable[[str], Callable[[str], Any]] = embedder,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        self.shelf = Shelf(folder)
        self.settings = Choosing(**{"embed_seconds": 5.0, **settings})
        self.seed = seed
        self.embedders = embedders
        self.chooser = self.begin()

    def begin(self) -> ModelChooser:
        rng = np.random.default_rng(self.seed)
        return ModelChooser(self.shelf, self.embedders, self.settings, rng)

    async def __call__(self, query: str, *offered: str, **headers: str) -> Any:
        names = offered or (POET, CODER)
        return await self.chooser.choose(request(**headers), query, dict.fromkeys(names))


@asynccontextmanager
async def choice(folder: Path, **how: Any) -> AsyncIterator[Choice]:
    one = Choice(folder, **how)
    try:
        yield one
    finally:
        one.chooser.close()


class Slow:
    """An embedder that takes its time."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.asked: list[str] = []

    def __call__(self, query: str) -> Any:
        self.asked.append(query)
        self.may_end.wait(10.0)
        return WORDS.embed(query)


def test_each_kind_of_query_goes_to_the_model_that_is_good_at_it(tmp_path: Path) -> None:
    async def run() -> None:
        Shelf(tmp_path).publish(table())
        async with choice(tmp_path) as choose:
            for query, model in ((VERSE, POET), (CODE, CODER), (CODE + " please", CODER)):
                decision = await choose(query)
                assert (decision.model, decision.reason) == (model, "capability")
                assert decision.version == choose.chooser.version == 1
            assert (await choose(CODE, POET)).model == POET, "there is no other"

    asyncio.run(run())


def test_a_request_may_say_what_it_prefers(tmp_path: Path) -> None:
    async def run() -> None:
        Shelf(tmp_path).publish(table(prices=(1.0, 9.0)))
        async with choice(tmp_path) as choose:
            assert (await choose(CODE)).model == CODER
            assert (await choose(CODE, margin="1")).model == POET, "anything is good enough"
            assert (await choose(CODE, margin="1", price_weight="0")).model == CODER
            seconds = {POET: 9.0, CODER: 0.1}
            weighed = {"margin": "1", "latency_weight": "20"}
            decision = await choose.chooser.choose(request(**weighed), VERSE, seconds)
            assert decision.model == CODER

    asyncio.run(run())


@pytest.mark.parametrize("name", ["margin", "price_weight", "latency_weight"])
@pytest.mark.parametrize("value", ["", "much", "-0.1", "nan", "inf", "1e999", "0,5"])
def test_a_preference_that_is_no_number_in_range_is_refused(
    tmp_path: Path, name: str, value: str
) -> None:
    async def run() -> None:
        async with choice(tmp_path) as choose:
            with pytest.raises(Refusal, match="expected a ") as refused:
                await choose(CODE, **{name: value})
            assert refused.value.status == 400
            assert "explore" not in refused.value.message, "the gateway's own business"

    asyncio.run(run())


def test_without_a_table_the_fastest_is_taken(tmp_path: Path) -> None:
    async def run() -> None:
        async with choice(tmp_path / "none") as choose:
            decision = await choose.chooser.choose(request(), CODE, {"a": 2.0, "b": 1.0, "c": None})
            assert (decision.model, decision.reason, decision.version) == ("b", "latency", 0)
            assert choose.chooser.version == 0

    asyncio.run(run())


def test_a_table_that_knows_none_of_those_offered_leaves_it_to_the_fastest(tmp_path: Path) -> None:
    async def run() -> None:
        Shelf(tmp_path).publish(table())
        async with choice(tmp_path) as choose:
            decision = await choose.chooser.choose(request(), CODE, {"a": 2.0, "b": 1.0})
            assert (decision.model, decision.reason) == ("b", "unknown model")
            assert (await choose(VERSE, "a", CODER)).model == CODER, "the one that is known"

    asyncio.run(run())


def test_a_late_embedding_leaves_the_ranking_of_all_and_is_there_for_the_next(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        Shelf(tmp_path).publish(table())
        slow = Slow()
        async with choice(tmp_path, embedders=lambda _: slow, embed_seconds=0.01) as choose:
            many = await asyncio.gather(*(choose(CODE) for _ in range(5)))
            assert {each.reason for each in many} == {"global ranking"}
            assert {each.model for each in many} == {POET}
            assert slow.asked == [CODE], "asked for once, however many wait"
            slow.may_end.set()
            await until(lambda: choose.chooser._kept)
            decision = await choose(CODE)
            assert (decision.model, decision.reason) == (CODER, "capability")
            assert slow.asked == [CODE]
            assert not choose.chooser._late

    asyncio.run(run())


def test_no_more_queries_wait_than_have_room_and_nothing_else_waits_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "N_LATE", 3)

    async def run() -> None:
        Shelf(tmp_path).publish(table())
        slow = Slow()
        async with choice(tmp_path, embedders=lambda _: slow, embed_seconds=0.001) as choose:
            for number in range(50):
                assert (await choose(f"{number}")).reason == "global ranking"
            assert len(choose.chooser._late) == 3
            assert await asyncio.wait_for(asyncio.to_thread(lambda: 7), 5.0) == 7
            slow.may_end.set()
            await until(lambda: not choose.chooser._late)
            assert slow.asked == ["0", "1", "2"]

    asyncio.run(run())


def test_a_client_that_goes_away_takes_no_embedding_with_it(tmp_path: Path) -> None:
    async def run() -> None:
        Shelf(tmp_path).publish(table())
        slow = Slow()
        async with choice(tmp_path, embedders=lambda _: slow) as choose:
            gone, stays = (asyncio.create_task(choose(CODE)) for _ in range(2))
            await until(lambda: slow.asked)
            gone.cancel()
            slow.may_end.set()
            assert (await stays).reason == "capability"
            assert gone.cancelled()

    asyncio.run(run())


@pytest.mark.parametrize("embed_seconds", [0.0, 5.0])
@pytest.mark.parametrize(
    ("embed", "said"),
    [
        (lambda _: 1 / 0, "a query could not be embedded: division by zero"),
        (lambda _: {}["a"], "a query could not be embedded: 'a'"),
        (lambda _: np.zeros(3, np.float32), "does not make what version 1 takes"),
        (lambda _: np.full(N_FEATURES, np.nan, np.float32), "does not make what version 1 takes"),
    ],
    ids=["raises", "raises another", "of another length", "no numbers"],
)
def test_an_embedder_that_fails_leaves_the_ranking_of_all_and_says_so_once(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    embed: Callable[[str], Any],
    said: str,
    embed_seconds: float,
) -> None:
    async def run() -> None:
        Shelf(tmp_path).publish(table())
        how = {"embedders": lambda _: embed, "embed_seconds": embed_seconds}
        async with choice(tmp_path, **how) as choose:
            for number in range(5):
                decision = await choose(f"{number}")
                assert (decision.model, decision.reason) == (POET, "global ranking")

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    (message,) = caplog.messages
    assert message.endswith(said)


def test_an_embedder_that_is_not_there_is_tried_again_with_the_next_version(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    is_there = False

    def embedders(name: str) -> Callable[[str], Any]:
        if not is_there:
            raise RuntimeError(f"{name} is broken")
        return WORDS.embed

    async def run() -> None:
        nonlocal is_there
        shelf = Shelf(tmp_path)
        shelf.publish(table())
        async with choice(tmp_path, embedders=embedders) as choose:
            assert (await choose(CODE)).reason == "global ranking"
            is_there = True
            shelf.publish(table())
            choose.chooser.refresh()
            assert (await choose(CODE)).model == CODER

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert caplog.messages == ["queries are not embedded: hashed-words:512 is broken"]


def test_embeddings_are_of_the_embedder_of_the_table(tmp_path: Path) -> None:
    slow, asked = Slow(), Counter[str]()

    def embedders(name: str) -> Callable[[str], Any]:
        asked[name] += 1
        return slow if name == "slow" else WORDS.embed

    async def run() -> None:
        shelf = Shelf(tmp_path)
        shelf.publish(table(embedder="slow"))
        async with choice(tmp_path, embedders=embedders) as choose:
            waiting = asyncio.create_task(choose(CODE))
            await until(lambda: slow.asked)
            shelf.publish(table(embedder="hashed-words:512"))
            choose.chooser.refresh()
            slow.may_end.set()
            assert (await waiting).version == 1, "decided by the table that it began with"
            assert not choose.chooser._kept
            assert (await choose(CODE)).version == 2
            shelf.publish(table(embedder="hashed-words:512"))
            choose.chooser.refresh()
            assert len(choose.chooser._kept) == 1, "the same embedder"
            assert asked == {"slow": 1, "hashed-words:512": 1}

    asyncio.run(run())


def test_only_so_many_embeddings_are_kept_the_last_used_ones(tmp_path: Path) -> None:
    async def run() -> None:
        Shelf(tmp_path).publish(table())
        slow = Slow()
        slow.may_end.set()
        async with choice(tmp_path, embedders=lambda _: slow, n_kept=2) as choose:
            for query in ("a", "b", "a", "c", "a", "b"):
                await choose(query)
            assert slow.asked == ["a", "b", "c", "b"]
            assert len(choose.chooser._kept) == 2
            await choose("")
            assert "" not in slow.asked, "nothing is asked"

    asyncio.run(run())


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "gone":
        path.unlink()
    elif how == "compressed":
        # The method of the first file in the archive's directory: none that anybody knows.
        at = data.rindex(b"PK\x01\x02", 0, data.index(b"PK\x01\x02") + 4)
        path.write_bytes(data[: at + 10] + b"\x63" + data[at + 11 :])
    else:
        path.write_bytes(b"PK" + b"\0" * 100)


@pytest.mark.parametrize("how", ["cut", "gone", "compressed", "other"])
def test_a_damaged_version_is_passed_over_and_the_next_is_taken_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    async def run() -> None:
        shelf = Shelf(tmp_path)
        shelf.publish(table())
        async with choice(tmp_path) as choose:
            shelf.publish(table(weights=[[-3.0, 3.0], [3.0, -3.0]]))
            damage(tmp_path / "capability-000002.npz", how)
            for _ in range(3):
                choose.chooser.refresh()
            assert (await choose(CODE)).model == CODER
            assert choose.chooser.version == 1
            shelf.publish(table(weights=[[-3.0, 3.0], [3.0, -3.0]]))
            choose.chooser.refresh()
            assert (await choose(CODE)).model == POET
            assert choose.chooser.version == (2 if how == "gone" else 3)

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    (message,) = caplog.messages
    assert message.startswith("the capability table stays at version 1: ")


def test_a_folder_that_is_none_is_reported_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()

    async def run() -> None:
        async with choice(tmp_path / "file") as choose:
            choose.chooser.refresh()
            assert (await choose(CODE)).reason == "latency"

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert len(caplog.messages) == 1


def test_a_share_of_requests_explores_and_says_what_that_costs(tmp_path: Path) -> None:
    async def run() -> None:
        Shelf(tmp_path).publish(table())
        preference = Preference(explore=0.25)
        async with choice(tmp_path, preference=preference, embed_seconds=0.0) as choose:
            decisions = [await choose(CODE) for _ in range(400)]
        reasons = Counter(each.reason for each in decisions)
        assert reasons.keys() == {"capability", "exploration"}
        assert 60 <= reasons["exploration"] <= 140
        for each in decisions:
            explores = each.reason == "exploration"
            assert each.model == (POET if explores else CODER)
            assert (each.regret > 0.5) == explores

    asyncio.run(run())


@pytest.mark.parametrize("settings", [{"embed_seconds": -1.0}, {"n_kept": 0}])
def test_what_cannot_be_waited_for_or_kept_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected seconds of at least 0 and something kept"):
        Choosing(**settings)


BODY = (
    b'{ "a":1e400, "b" :[ 1.0,\t2 ] ,"model":"auto","c":{"x":null , "y":"\\u00e9\xc3\xa9"},'
    b'"n":12345678901234567890123,"z":-0.0}'
)


def test_another_model_leaves_every_other_field_as_it_was_to_the_byte() -> None:
    named = with_model(BODY, 'org/m"\u00e9')
    before = msgspec.json.decode(BODY, type=dict[str, msgspec.Raw])
    after = msgspec.json.decode(named, type=dict[str, msgspec.Raw])
    assert list(before) == list(after)
    assert msgspec.json.decode(after.pop("model")) == 'org/m"\u00e9'
    del before["model"]
    assert {name: bytes(raw) for name, raw in before.items()} == {
        name: bytes(raw) for name, raw in after.items()
    }


@pytest.mark.parametrize("body", [b"[]", b"", b"{", b'{"\xff":1}', b'{"a":1}x'])
def test_a_body_that_is_no_object_has_no_model(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        with_model(body, "m")


# Before workers, two of each model.


@asynccontextmanager
async def two_kinds(
    folder: Path | None,
    *,
    journal: Journal | None = None,
    keys: Keys | None = None,
    **choosing: Any,
) -> AsyncIterator[Served]:
    workers = [
        OpenAIWorker(f"{model}-{n}", models=[model]) for model in (POET, CODER) for n in "01"
    ]
    settings = Settings(choosing=Choosing(**{"embed_seconds": 5.0, **choosing}), keeps_text=True)
    gateway = Gateway(settings, keys=lambda: keys, journal=journal, capability=folder)
    for worker in workers:
        await worker.start()
        gateway.add(worker.url, worker.name)
    await gateway.start("127.0.0.1", 0)
    served = Served(gateway, workers)
    try:
        await gateway.ready(n_workers=4, seconds=20.0)
        yield served
        served.check()
    finally:
        served.origin.close()
        await gateway.drain(1.0)
        for worker in workers:
            await worker.kill()


def playing(
    test: Callable[[Served], Coroutine[Any, Any, None]], folder: Path | None, **how: Any
) -> None:
    async def run() -> None:
        async with two_kinds(folder, **how) as served:
            await test(served)

    asyncio.run(run())


async def ask(served: Served, text: str, *headers: str, **fields: Any) -> Response:
    lines = [(b"x-triskele-explain", b"1"), *(h.encode().split(b": ") for h in headers)]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
    body = {"model": "auto", "messages": messages, **fields}
    return await served.ask("POST", CHAT, body, [(name, value) for name, value in lines])


def model_of(answer: Response) -> str:
    assert answer.status == 200, answer.body
    body = json.loads(answer.body)
    name = body["choices"][0]["message"]["content"].partition("-")[0]
    assert body["model"] == name, "the worker was asked for its own model"
    return str(name)


def test_auto_goes_to_a_worker_of_the_model_that_is_good_at_the_query(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    Shelf(tmp_path / "table").publish(table())

    async def test(served: Served) -> None:
        for text, model in ((VERSE, POET), (CODE, CODER)) * 3:
            answer = await ask(served, text, temperature=0.25)
            assert model_of(answer) == model
            assert answer.header(b"x-triskele-model") == model.encode()
            worker = (answer.header(b"x-triskele-worker") or b"").decode()
            assert worker.startswith(model)
            decision = json.loads(answer.header(b"x-triskele-decision") or b"")
            assert (decision["model"], decision["version"]) == (model, 1)
            assert {each["model"] for each in decision["candidates"]} == {POET, CODER}
            assert all(each["latency"] is not None for each in decision["candidates"])
        sent = [body for worker in served.workers for body in worker.asked]
        assert len(sent) == 6
        assert all(body["temperature"] == 0.25 and len(body["messages"]) == 2 for body in sent)
        assert (await served.chat(VERSE, model=CODER)).body.count(b"coder-"), "as it was named"

    playing(test, tmp_path / "table", journal=journal)
    journal.close()
    *auto, named = read(tmp_path / "journal")
    assert [record.model for record in auto] == [POET, CODER] * 3
    assert [record.query for record in auto] == [VERSE, CODE] * 3
    assert all(record.decision is not None for record in auto)
    assert auto[0].decision is not None
    assert auto[0].decision["reason"] == "capability"
    assert auto[0].worker is not None
    assert auto[0].worker.startswith(POET)
    assert (named.model, named.decision) == (CODER, None)


def test_headers_say_what_a_request_prefers_and_bad_ones_are_400(tmp_path: Path) -> None:
    Shelf(tmp_path).publish(table(prices=(1.0, 9.0)))

    async def test(served: Served) -> None:
        assert model_of(await ask(served, CODE)) == CODER
        assert model_of(await ask(served, CODE, "X-Triskele-Margin: 1")) == POET
        answer = await ask(served, CODE, "x-triskele-margin: 1", "x-triskele-price-weight: 0")
        assert model_of(answer) == CODER
        for bad in ("x-triskele-margin: 2", "x-triskele-latency-weight: x"):
            answer = await ask(served, CODE, bad)
            assert answer.status == 400
            assert message_of(answer).startswith("expected a ")
        n_asked = sum(len(worker.asked) for worker in served.workers)
        assert n_asked == 3, "no worker hears of a request that is refused"

    playing(test, tmp_path)


def test_a_key_says_what_is_preferred_where_a_request_does_not(tmp_path: Path) -> None:
    Shelf(tmp_path).publish(table(prices=(1.0, 9.0)))
    strict, frugal = "strict-0123456789ab", "frugal-0123456789ab"
    keys = parse_keys(f"strict {strict}\nfrugal {frugal} - - margin=1", source="test")

    async def test(served: Served) -> None:
        for key, model in ((strict, CODER), (frugal, POET)):
            assert model_of(await ask(served, CODE, f"authorization: Bearer {key}")) == model
        named = f"authorization: Bearer {frugal}", "x-triskele-margin: 0"
        assert model_of(await ask(served, CODE, *named)) == CODER

    playing(test, tmp_path, keys=keys)


def test_what_exploring_costs_is_in_the_metrics(tmp_path: Path) -> None:
    Shelf(tmp_path).publish(table())

    async def test(served: Served) -> None:
        for _ in range(40):
            assert (await ask(served, CODE)).status == 200
        text = (await served.ask("GET", "/metrics")).body.decode()
        read = dict(line.split(" ") for line in text.splitlines() if "triskele_auto_" in line[:15])
        router = served.gateway._chooser.router  # type: ignore[union-attr]
        assert float(read["triskele_auto_decisions_total"]) == 40
        assert float(read["triskele_auto_explored_total"]) == router.n_explored > 0
        assert float(read["triskele_auto_explored_regret_total"]) == router.regret > 0

    playing(test, tmp_path, preference=Preference(explore=0.5))


def test_a_new_version_is_taken_up_within_two_seconds_and_a_damaged_one_is_not(
    tmp_path: Path,
) -> None:
    shelf = Shelf(tmp_path)

    async def test(served: Served) -> None:
        answer = await ask(served, CODE)
        assert json.loads(answer.header(b"x-triskele-decision") or b"")["reason"] == "latency"
        assert model_of(answer) in (POET, CODER)

        async def until_version(number: int) -> None:
            async with asyncio.timeout(10.0):
                while served.gateway._chooser is None or served.gateway._chooser.version != number:
                    await asyncio.sleep(0.01)

        began = time.monotonic()
        shelf.publish(table())
        await until_version(1)
        assert time.monotonic() - began < 2.0 + 3.0, "on a machine that is busy"
        assert model_of(await ask(served, CODE)) == CODER
        shelf.publish(table(weights=[[-3.0, 3.0], [3.0, -3.0]]))
        damage(tmp_path / "capability-000002.npz", "compressed")
        await asyncio.sleep(1.5)
        assert model_of(await ask(served, CODE)) == CODER
        assert not any(task.done() for task in served.gateway._tasks), "all goes on"
        shelf.publish(table(weights=[[-3.0, 3.0], [3.0, -3.0]]))
        await until_version(3)
        assert model_of(await ask(served, CODE)) == POET

    playing(test, tmp_path)


def test_a_model_without_a_worker_is_not_chosen(tmp_path: Path) -> None:
    Shelf(tmp_path).publish(table())

    async def test(served: Served) -> None:
        for worker in ("coder-0", "coder-1"):
            served.gateway.change(worker, "drain")
        assert model_of(await ask(served, CODE)) == POET

    playing(test, tmp_path)


def test_auto_is_a_model_like_others_where_there_is_a_table_and_none_elsewhere(
    tmp_path: Path,
) -> None:
    async def names(served: Served) -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none") as client:
            listed = [model.id async for model in client.models.list()]
            for name in listed:
                assert (await client.models.retrieve(name)).id == name
        return listed

    async def with_table(served: Served) -> None:
        assert await names(served) == [POET, CODER, "auto"]

    async def without(served: Served) -> None:
        assert await names(served) == [POET, CODER]
        answer = await ask(served, CODE)
        assert answer.status == 404
        assert message_of(answer) == "the model 'auto' does not exist"
        assert (await served.ask("GET", "/v1/models/auto")).status == 404

    playing(with_table, tmp_path / "not there yet")
    playing(without, None)


def test_a_decision_is_kept_as_plain_values() -> None:
    router = module.CapabilityRouter(np.random.default_rng(0))
    decision = router.decide(table(), None, [POET, CODER], preference=Preference())
    plain = json.loads(json.dumps(described(decision)))
    assert (plain["model"], plain["reason"]) == (POET, "global ranking")
    assert [each["model"] for each in plain["candidates"]] == [POET, CODER]
