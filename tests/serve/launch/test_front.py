import asyncio
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from tests.serve.gateway.openai_worker import CHAT, OpenAIWorker, until
from tests.serve.launch.process import Process, failing, running

from triskele.serve.http import Origin, Response, fetch
from triskele.serve.journal import read

BODY = b'{"model": "toy", "messages": [{"role": "user", "content": "Hello"}], "stream": true}'
UPSTREAM = ("--upstream", "http://127.0.0.1:9")
TOKEN = "a-token-of-enough-length"


@asynccontextmanager
async def behind(*arguments: str, gap: float = 0.0, **environ: str) -> AsyncIterator["Front"]:
    """Start a server before one worker."""
    worker = OpenAIWorker()
    worker.gap = gap
    await worker.start()
    try:
        async with running("--upstream", worker.url, *arguments, environ=environ) as process:
            front = Front(process, worker)
            try:
                yield front
            finally:
                front.origin.close()
    finally:
        await worker.kill()


class Front:
    def __init__(self, process: Process, worker: OpenAIWorker) -> None:
        self.process = process
        self.worker = worker
        self.origin = Origin(process.url.replace("https", "http"))

    async def ask(self, target: str = CHAT, *, bearer: str | None = None) -> Response:
        headers = [(b"content-type", b"application/json")]
        if bearer is not None:
            headers.append((b"authorization", f"Bearer {bearer}".encode()))
        method, body = ("POST", BODY) if target == CHAT else ("GET", b"")
        return await fetch(self.origin, method, target, headers=headers, body=body)

    async def ready(self) -> None:
        async with asyncio.timeout(20.0):
            while (await self.ask("/ready")).status != 200:
                await asyncio.sleep(0.02)


def test_a_server_says_where_it_is_and_serves_until_told_to_stop() -> None:
    async def run() -> None:
        async with behind(gap=0.2) as front:
            await front.ready()
            assert front.process.url == f"http://127.0.0.1:{front.process.port}"
            under_way = asyncio.create_task(front.ask())
            await until(lambda: front.worker.n_running)
            front.process.signal()
            answer = await under_way
            assert answer.body.endswith(b"data: [DONE]\n\n"), "what is under way is finished"
            status, said = await front.process.ended()
            assert status == 0
            assert said == (
                f"triskele serve: {front.process.url}/v1, dashboard {front.process.url}/dashboard, "
                "1 worker; Ctrl-C stops\n"
            )

    asyncio.run(run())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_it_at_once(number: signal.Signals) -> None:
    async def run() -> None:
        async with behind() as front:
            await front.ready()
            front.worker.may_answer.clear()
            under_way = asyncio.create_task(front.ask())
            await until(lambda: front.worker.n_running)
            front.process.signal(number)
            await asyncio.sleep(0.3)
            assert front.process.process.returncode is None
            assert not under_way.done()
            front.process.signal(number)
            status, _ = await front.process.ended()
            assert status == -number
            await asyncio.gather(under_way, return_exceptions=True)

    asyncio.run(run())


def test_requests_that_had_to_be_cut_off_are_told_by_the_status() -> None:
    async def run() -> None:
        async with behind("--drain-seconds", "0.2") as front:
            await front.ready()
            front.worker.may_answer.clear()
            under_way = asyncio.create_task(front.ask())
            await until(lambda: front.worker.n_running)
            front.process.signal()
            status, _ = await front.process.ended()
            assert status == 1
            await asyncio.gather(under_way, return_exceptions=True)
            await until(lambda: front.worker.n_cancelled)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        (("--upstream", "x"), {}, "expected a URL like http://host:port, got 'x'"),
        ((*UPSTREAM, "--router", "best"), {}, "no router 'best'; there are: lbgr, "),
        ((*UPSTREAM, "--eviction", "best"), {}, "no eviction 'best'; there are: lru, "),
        ((*UPSTREAM, "--keys", "/none"), {}, "/none: No such file or directory"),
        ((*UPSTREAM, "--admin-token", "/none"), {}, "/none: No such file or directory"),
        ((*UPSTREAM, "--host", "203.0.113.1"), {}, "203.0.113.1"),
        ((*UPSTREAM, "--health-path", "x"), {}, "expected a path from / on"),
        ((*UPSTREAM, "--per-worker", "0"), {}, "expected room for at least one request"),
        (UPSTREAM, {"TRISKELE_ADMIN_TOKEN": "short"}, "a token of at least 16 characters"),
        (UPSTREAM, {"TRISKELE_ADMIN_TOKEN": "a\nb" * 9}, "expected one word of printable ASCII"),
        (UPSTREAM, {"TRISKELE_API_KEYS": ""}, "expected at least one key"),
        (UPSTREAM, {"TRISKELE_API_KEYS": "ann sk-short"}, "TRISKELE_API_KEYS, line 1: "),
        ((*UPSTREAM, *UPSTREAM), {}, "is listed already"),
        (
            (*UPSTREAM, "--tls-cert", __file__, "--tls-key", __file__),
            {},
            "expected a certificate chain and its key in ",
        ),
    ],
)
def test_a_mistake_is_one_line_and_a_status(
    arguments: tuple[str, ...], environ: dict[str, str], message: str
) -> None:
    status, said = asyncio.run(failing(*arguments, environ=environ))
    assert status == 1
    assert said.startswith("triskele serve: ")
    assert message in said
    assert said.count("\n") == 1


def test_a_port_in_use_is_one_line_and_a_status() -> None:
    async def run() -> None:
        worker = OpenAIWorker()
        await worker.start()
        try:
            status, said = await failing(*UPSTREAM, "--port", str(worker.port))
        finally:
            await worker.kill()
        assert status == 1
        assert "address already in use" in said
        assert str(worker.port) in said
        assert said.count("\n") == 1

    asyncio.run(run())


def test_options_that_contradict_are_explained() -> None:
    status, said = asyncio.run(failing())
    assert status == 2
    assert "expected --upstream URL, or --model DIR" in " ".join(said.replace("│", " ").split())


def test_keys_are_read_again_when_their_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("ann sk-0123456789abcdef\n")

    async def run() -> None:
        async with behind("--keys", str(path)) as front:
            await front.ready()
            assert (await front.ask()).status == 401
            assert (await front.ask(bearer="sk-0123456789abcdef")).status == 200
            path.write_text("ben sk-fedcba9876543210\n")
            async with asyncio.timeout(10.0):
                while (await front.ask(bearer="sk-fedcba9876543210")).status != 200:
                    await asyncio.sleep(0.1)
            assert (await front.ask(bearer="sk-0123456789abcdef")).status == 401
            path.write_text("nonsense\n")
            await asyncio.sleep(1.5)
            assert (await front.ask(bearer="sk-fedcba9876543210")).status == 200
            front.process.signal()
            _, said = await front.process.ended()
            assert "the 1 keys from before stay valid" in said
            assert "sk-" not in said

    asyncio.run(run())


def test_secrets_come_from_the_environment_or_from_files(tmp_path: Path) -> None:
    path = tmp_path / "upstream-key"
    path.write_text("from-the-file\n")

    async def run() -> None:
        async with behind(
            "--upstream-key", str(path), TRISKELE_ADMIN_TOKEN=TOKEN, TRISKELE_UPSTREAM_KEY="other"
        ) as front:
            await front.ready()
            assert (await front.ask()).status == 200
            assert front.worker.authorizations == {b"Bearer from-the-file"}
            assert (await front.ask("/admin/status")).status == 401
            assert (await front.ask("/admin/status", bearer=TOKEN)).status == 200

    asyncio.run(run())


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    async def run() -> None:
        async with behind(TRISKELE_ADMIN_TOKEN="", TRISKELE_UPSTREAM_KEY="") as front:
            await front.ready()
            assert (await front.ask("/admin/status")).status == 200
            assert front.worker.authorizations == {None}

    asyncio.run(run())


def test_a_journal_and_what_was_learned_are_there_after_the_end(tmp_path: Path) -> None:
    async def run() -> None:
        arguments = ("--journal", str(tmp_path / "j"), "--learned", str(tmp_path / "l"))
        async with behind(*arguments) as front:
            await front.ready()
            for _ in range(3):
                assert (await front.ask()).status == 200
            front.process.signal()
            assert (await front.process.ended())[0] == 0

    asyncio.run(run())
    records = list(read(tmp_path / "j"))
    assert [record.status for record in records] == [200] * 3
    assert (tmp_path / "l").stat().st_size > 100


def test_https_is_served_with_a_certificate(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    authority = trustme.CA()
    own = authority.issue_cert("127.0.0.1")
    own.private_key_pem.write_to_path(key)
    for part in own.cert_chain_pems:
        part.write_to_path(certificate, append=True)

    async def run() -> None:
        async with behind("--tls-cert", str(certificate), "--tls-key", str(key)) as front:
            assert front.process.url.startswith("https://127.0.0.1:")
            trusting = ssl.create_default_context()
            authority.configure_trust(trusting)
            front.origin = Origin(front.process.url, ssl=trusting)
            await front.ready()
            answer = await front.ask()
            assert answer.status == 200
            assert answer.body.endswith(b"data: [DONE]\n\n")
            front.origin.close()
            front.process.signal()
            assert (await front.process.ended())[0] == 0

    asyncio.run(run())
