"""Our router in a real Ray Serve application on this machine: handles, streams, HTTP, deaths."""

import asyncio
import itertools
import json
import os
import socket
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import ray
from ray import serve
from ray.exceptions import ActorDiedError
from ray.serve.config import HTTPOptions, RequestRouterConfig
from ray.serve.handle import DeploymentHandle

from triskele.integrations.ray_serve import LearnedRequestRouter
from triskele.serve.routing.named import ROUTERS

ROUTER = "triskele.integrations.ray_serve:LearnedRequestRouter"
PATIENCE = 60.0
NUMBERS = itertools.count()


@serve.deployment
class Model:
    """Answers in OpenAI's form who it is, soon if it knows the system message already."""

    def __init__(self) -> None:
        self.name = serve.get_replica_context().replica_id.unique_id
        self.known: set[str] = set()

    async def __call__(self, call: dict[str, Any]) -> dict[str, Any]:
        system = str(call.get("messages", call.get("prompt")))[:200]
        await asyncio.sleep(call.get("seconds", 0.01 if system in self.known else 0.2))
        self.known.add(system)
        if call.get("is_refused"):
            raise ValueError("refused")
        if call.get("is_deadly"):
            os._exit(1)
        return {"replica": self.name, "usage": {"completion_tokens": 7}}

    async def stream(self, call: dict[str, Any]) -> Any:
        for _ in range(4):
            await asyncio.sleep(0.01)
            yield self.name


@serve.deployment
class Ingress:
    """Calls the model several times for one request, as an agent does."""

    def __init__(self, model: DeploymentHandle) -> None:
        self.model = model

    async def __call__(self, request: Any) -> list[str]:
        calls = await request.json() if hasattr(request, "json") else request
        answers = await asyncio.gather(*(self.model.remote(call) for call in calls))
        return [answer["replica"] for answer in answers]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=number))
    yield int(number)
    serve.shutdown()
    ray.shutdown()


Run = Callable[..., DeploymentHandle]


@pytest.fixture
def run(port: int) -> Iterator[Run]:
    # A handle of the same name would find the router of the test before.
    name = f"app-{next(NUMBERS)}"

    def start(n_replicas: int = 2, n_at_once: int = 100, **settings: Any) -> DeploymentHandle:
        return serve.run(model(n_replicas, n_at_once, **settings), name=name, route_prefix=None)

    yield start
    serve.delete(name, _blocking=False)


def model(n_replicas: int = 2, n_at_once: int = 100, **settings: Any) -> Any:
    return Model.options(
        num_replicas=n_replicas,
        max_ongoing_requests=n_at_once,
        ray_actor_options={"num_cpus": 0.1},
        health_check_period_s=1,
        request_router_config=RequestRouterConfig(
            request_router_class=ROUTER, request_router_kwargs={"n_pages": 1000} | settings
        ),
    ).bind()


def chat(group: int, question: int, **rest: Any) -> dict[str, Any]:
    system = {"role": "system", "content": f"You are number {group}. " * 400}
    user = {"role": "user", "content": f"Question {question}?"}
    return {"messages": [system, user]} | rest


def alone(number: int, **rest: Any) -> dict[str, Any]:
    return {"prompt": f"{number} and nothing else. " * 50} | rest


def replica(handle: DeploymentHandle, call: dict[str, Any]) -> str:
    return str(handle.remote(call).result(timeout_s=PATIENCE)["replica"])


def inside(handle: DeploymentHandle) -> LearnedRequestRouter:
    router = handle._router._asyncio_router._request_router  # type: ignore[union-attr]
    assert isinstance(router, LearnedRequestRouter)
    return router


def present(handle: DeploymentHandle) -> set[str]:
    return {replica_id.unique_id for replica_id in inside(handle).curr_replicas}


def is_fleet_of(handle: DeploymentHandle, n_replicas: int) -> bool:
    states = serve.status().applications[handle.app_name].deployments["Model"].replica_states
    return states == {"RUNNING": n_replicas} and len(present(handle)) == n_replicas


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_drained(handle: DeploymentHandle) -> bool:
    router = inside(handle)
    if router._open or router._sent or router._choosing:
        return False
    check = getattr(router._router, "check", None)
    assert check is not None
    check()
    return True


def test_shared_prefixes_stick_and_groups_spread(run: Run) -> None:
    handle = run()
    for number in range(4):
        # First calls are slow, which a router that learns takes for the replica's pace.
        replica(handle, alone(number))
    groups = [{replica(handle, chat(group, n)) for n in range(6)} for group in range(8)]
    assert all(len(names) == 1 for names in groups)
    assert len(set.union(*groups)) == 2
    wait_for(lambda: is_drained(handle))


def test_load_without_shared_prefixes_spreads(run: Run) -> None:
    handle = run(n_replicas=3)
    waiting = [handle.remote(alone(number, seconds=0.3)) for number in range(90)]
    shares = Counter(response.result(timeout_s=PATIENCE)["replica"] for response in waiting)
    assert len(shares) == 3
    assert min(shares.values()) > 15
    wait_for(lambda: is_drained(handle))


@pytest.mark.parametrize("policy", sorted(ROUTERS))
def test_every_policy_routes(run: Run, policy: str) -> None:
    handle = run(policy=policy)
    waiting = [handle.remote(chat(number % 5, number)) for number in range(40)]
    assert len([response.result(timeout_s=PATIENCE) for response in waiting]) == 40
    wait_for(lambda: is_drained(handle))


def test_lbgr_learns_from_answers_and_from_streams(run: Run) -> None:
    handle = run()
    for number in range(10):
        replica(handle, chat(number % 3, number))
        assert len(list(handle.options(stream=True).stream.remote(chat(1, number)))) == 4
    wait_for(lambda: is_drained(handle))
    errors = inside(handle)._router.errors()  # type: ignore[attr-defined]
    assert errors["ttft"].n == 10
    assert errors["latency"].n == 20


def test_exceptions_and_cancelled_calls_leave_nothing_reserved(run: Run) -> None:
    handle = run()
    for number in range(5):
        with pytest.raises(ValueError, match="refused"):
            handle.remote(alone(number, is_refused=True)).result(timeout_s=PATIENCE)
    given_up = [handle.remote(alone(number, seconds=30)) for number in range(6)]
    wait_for(lambda: len(inside(handle)._open) == 6)
    for response in given_up:
        response.cancel()
    wait_for(lambda: is_drained(handle))


def test_what_holds_no_prompt_is_routed_by_load(run: Run) -> None:
    handle = run()
    strange: list[Any] = [{}, {"prompt": [1, "two", None]}, {"messages": 5}, {"prompt": "\ud800"}]
    names = {replica(handle, call) for call in strange * 3}
    assert len(names) == 2
    wait_for(lambda: is_drained(handle))


def test_full_replicas_make_requests_wait_and_lose_none(run: Run) -> None:
    handle = run(n_at_once=2)
    waiting = [handle.remote(chat(0, number, seconds=0.05)) for number in range(40)]
    shares = Counter(response.result(timeout_s=PATIENCE)["replica"] for response in waiting)
    assert shares.total() == 40
    assert len(shares) == 2
    wait_for(lambda: is_drained(handle))


def test_a_killed_replicas_requests_go_on_and_its_successor_is_used(run: Run) -> None:
    handle = run()
    before = {group: replica(handle, chat(group, 0)) for group in range(6)}
    dead = before[0]
    in_flight = [handle.remote(chat(group, 1, seconds=1.0)) for group in before]
    wait_for(lambda: all(sent.replica for sent in inside(handle)._open.values()))
    with pytest.raises(ActorDiedError):
        handle.remote(chat(0, 2, is_deadly=True)).result(timeout_s=PATIENCE)
    for group, response in enumerate(in_flight):
        if before[group] == dead:
            # Ray gives what had begun on a dead replica back to its caller.
            with pytest.raises(ActorDiedError):
                response.result(timeout_s=PATIENCE)
        else:
            assert response.result(timeout_s=PATIENCE)["replica"] == before[group]
    for group in before:
        assert replica(handle, chat(group, 3)) != dead
    wait_for(lambda: len(inside(handle).curr_replicas) == 2)
    (successor,) = present(handle) - set(before.values())
    waiting = [handle.remote(alone(number, seconds=0.3)) for number in range(30)]
    assert successor in {response.result(timeout_s=PATIENCE)["replica"] for response in waiting}
    wait_for(lambda: is_drained(handle))


def test_replicas_that_join_are_used_and_those_that_leave_are_not(run: Run) -> None:
    gone: set[str] = set()
    for n_replicas in (2, 3, 1):
        # Each run replaces all replicas, a few at a time.
        handle = run(n_replicas=n_replicas)
        replica(handle, alone(n_replicas))
        wait_for(lambda: is_fleet_of(handle, n_replicas) and not gone & present(handle))  # noqa: B023
        waiting = [handle.remote(alone(number, seconds=0.3)) for number in range(30)]
        used = {response.result(timeout_s=PATIENCE)["replica"] for response in waiting}
        assert used == present(handle)
        gone |= used
    wait_for(lambda: is_drained(handle))


def test_an_ingress_over_http_calls_the_model_several_times_at_once(port: int) -> None:
    entrance = Ingress.options(ray_actor_options={"num_cpus": 0.1}).bind(model())
    serve.run(entrance, name="agent", route_prefix="/agent")
    calls = [chat(number % 4, number, seconds=0.05) for number in range(12)]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/agent",
        data=json.dumps(calls).encode(),
        headers={"content-type": "application/json"},
    )
    for _ in range(5):
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            names = json.load(answer)
        assert len(names) == 12
        assert len(set(names)) == 2
    for group in range(4):
        assert len(set(names[group::4])) == 1
    serve.delete("agent")


def test_settings_that_mean_nothing_are_refused() -> None:
    router = LearnedRequestRouter.__new__(LearnedRequestRouter)
    for settings, message in [
        ({"policy": "fastest"}, "no policy 'fastest'; there are: lbgr, "),
        ({"eviction": "belady"}, "no eviction 'belady'; there are: lru, "),
        ({"page_size": 0}, "pages of at least one token"),
    ]:
        with pytest.raises(ValueError, match=message):
            router.initialize_state(**settings)
