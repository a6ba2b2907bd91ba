import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from tests.serve.gateway.openai_worker import OpenAIWorker, Served, serving, until

from triskele.serve.gateway.health import Patience
from triskele.serve.gateway.member import Member
from triskele.serve.gateway.probing import N_BYTES, Probing
from triskele.serve.gateway.settings import Settings

QUICK = Settings(
    probing=Probing(seconds=0.3),
    patience=Patience(check_seconds=0.1, first_seconds=0.05, eager_wait=0.1),
)
CACHE = b'vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="400"} 1.0\n'


def probed(
    prepare: Callable[[OpenAIWorker], None],
    look: Callable[[Served, Member, OpenAIWorker], Awaitable[None]],
    settings: Settings = QUICK,
    *,
    credential: str | None = None,
) -> None:
    """Look at a worker that was prepared before anybody asked it."""

    async def run() -> None:
        worker = OpenAIWorker()
        prepare(worker)
        async with serving([worker], settings, is_ready=False, credential=credential) as served:
            await look(served, next(iter(served.gateway.fleet)), worker)

    asyncio.run(run())


def as_it_is(worker: OpenAIWorker) -> None:
    """Change nothing."""


async def ready(served: Served) -> None:
    await served.gateway.ready(seconds=10.0)


def test_a_worker_is_asked_how_it_is_what_it_serves_and_how_much_it_holds() -> None:
    async def look(served: Served, member: Member, worker: OpenAIWorker) -> None:
        assert member.health.state.value == "starting"
        await ready(served)
        assert worker.seen[:2] == ["/health", "/v1/models"]
        assert set(worker.seen[2:5]) == {"/server_info", "/get_server_info", "/metrics"}
        assert member.models == {"x", "y/z"}
        assert json.loads(bytes(member.catalogue["y/z"]))["owned_by"] == "me"
        assert member.worker.n_pages is None
        await until(lambda: len(worker.seen) > 8)
        assert set(worker.seen[5:]) == {"/health"}, "the rest is asked now and then only"

    probed(lambda worker: worker.models.__setitem__(slice(None), ["x", "y/z"]), look)


@pytest.mark.parametrize(
    ("path", "body", "n_pages"),
    [
        ("/server_info", b'{"n_pages": 100, "page_size": 16}', 25),
        ("/server_info", b'{"max_total_num_tokens": 6400}', 100),
        ("/get_server_info", b'{"max_total_num_tokens": 6400, "model_path": "m"}', 100),
        ("/metrics", b"# HELP x\nx 1\n" + CACHE, 100),
        ("/metrics", CACHE.replace(b"16", b"sixteen"), None),
        ("/metrics", CACHE.replace(b"400", b"9" * 5000), None),
        ("/metrics", b"x 1\n", None),
        ("/server_info", b'{"n_pages": -5, "page_size": 16}', None),
        ("/server_info", b'{"n_pages": 0, "page_size": 16}', None),
        ("/server_info", b'{"n_pages": 1, "page_size": 16}', None),
        ("/server_info", b'{"max_total_num_tokens": 9000000000000000000}', None),
        ("/server_info", b'{"max_total_num_tokens": 1' + b"0" * 400 + b"}", None),
        ("/server_info", b'{"max_total_num_tokens": "many"}', None),
        ("/server_info", b"[" * 100_000, None),
        ("/server_info", b"\xff", None),
    ],
)
def test_the_capacity_of_a_cache_is_known_of_three_kinds_of_engine(
    path: str, body: bytes, n_pages: int | None
) -> None:
    async def look(served: Served, member: Member, worker: OpenAIWorker) -> None:
        await ready(served)
        assert member.worker.n_pages == n_pages
        assert (await served.chat()).status == 200

    probed(lambda worker: worker.pages.__setitem__(path, (200, body)), look)


def test_where_there_is_no_health_the_models_are_asked_for() -> None:
    async def look(served: Served, member: Member, worker: OpenAIWorker) -> None:
        await ready(served)
        assert worker.seen[:3] == ["/health", "/v1/models", "/v1/models"]

    probed(lambda worker: worker.pages.clear(), look)


def test_another_path_may_be_asked_for_and_has_no_substitute() -> None:
    async def look(served: Served, member: Member, worker: OpenAIWorker) -> None:
        await until(lambda: member.health.error)
        assert member.health.error == "/livez answered 404"
        assert member.health.state.value == "starting"
        worker.pages["/livez"] = (200, b"")
        await ready(served)
        assert member.health.error is None

    settings = Settings(probing=Probing(path="/livez", seconds=1.0), patience=QUICK.patience)
    probed(as_it_is, look, settings)


@pytest.mark.parametrize(
    ("path", "status", "body", "error"),
    [
        ("/health", 503, b"", "/health answered 503"),
        ("/v1/models", 500, b"", "/v1/models answered 500"),
        ("/v1/models", 200, b"<html>", "/v1/models did not list models: JSON is malformed"),
        ("/v1/models", 200, b"", "/v1/models did not list models: Input data was truncated"),
        ("/v1/models", 200, b"\xff\xfe", "/v1/models did not list models: "),
        ("/v1/models", 200, b"[" * 100_000, "/v1/models did not list models: "),
        (
            "/v1/models",
            200,
            b'{"data": [' + b"[" * 100_000,
            "/v1/models did not list models: it is nested too deeply",
        ),
        ("/v1/models", 200, b'{"data": [{"id": "\xff"}]}', "it is not UTF-8"),
        ("/v1/models", 200, b'{"data": []}', "/v1/models listed no model"),
        ("/v1/models", 200, b'{"data": [{}]}', "/v1/models did not list models: "),
        ("/v1/models", 200, b'{"data": [{"id": 3}]}', "/v1/models did not list models: "),
        ("/v1/models", 200, b" " * (N_BYTES + 1), "the answer is longer than it may be"),
    ],
)
def test_a_hostile_answer_is_a_bad_check_with_one_clear_line(
    path: str, status: int, body: bytes, error: str
) -> None:
    async def look(served: Served, member: Member, worker: OpenAIWorker) -> None:
        await until(lambda: member.health.error)
        said = member.health.error or ""
        assert error in said
        assert "\n" not in said
        assert len(said) < 200
        assert member.health.state.value == "starting"
        assert (await served.chat()).status == 503
        n_checks = len(worker.seen)
        await asyncio.sleep(0.3)
        assert len(worker.seen) - n_checks < 20, "it is not asked all the time"
        del worker.pages[path]
        worker.pages["/health"] = (200, b"")
        await ready(served)
        assert member.health.error is None

    probed(lambda worker: worker.pages.__setitem__(path, (status, body)), look)


def test_a_worker_that_does_not_answer_is_not_waited_for_long() -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def run() -> None:
        listener = await asyncio.start_server(stall, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        async with listener, serving([], QUICK) as served:
            member = served.gateway.add(f"http://127.0.0.1:{port}")
            await until(lambda: member.health.error)
            assert member.health.error == "no answer within 0.3 s"

    asyncio.run(run())


def test_nobody_there_is_said_so() -> None:
    async def run() -> None:
        gone = OpenAIWorker()
        await gone.start()
        await gone.kill()
        async with serving([], QUICK) as served:
            member = served.gateway.add(gone.url)
            await until(lambda: member.health.error)
            assert (member.health.error or "").startswith("no connection: ")

    asyncio.run(run())


def test_checks_carry_the_workers_credential() -> None:
    async def look(served: Served, member: Member, worker: OpenAIWorker) -> None:
        await ready(served)
        assert worker.authorizations == {b"Bearer upstream-secret"}

    probed(as_it_is, look, credential="upstream-secret")


def test_a_worker_that_returns_with_another_model_serves_that() -> None:
    async def look(served: Served, member: Member, worker: OpenAIWorker) -> None:
        await ready(served)
        await worker.kill()
        await until(lambda: member.health.state.value == "down")
        worker.models = ["new"]
        await worker.start()
        await ready(served)
        assert (await served.chat(model="new")).status == 200
        assert (await served.chat()).status == 404

    probed(as_it_is, look)


@pytest.mark.parametrize("path", ["", "health", "/a b", "/é", "/a\r\nx: y"])
def test_a_path_that_cannot_be_asked_for_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="expected a path from / on"):
        Probing(path=path)


def test_no_time_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="expected seconds above 0"):
        Probing(seconds=0.0)
