import asyncio
import hmac
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest
from tests.serve.gateway.openai_worker import OpenAIWorker, Served, message_of, serving, until

from triskele.serve.gateway.administration import is_allowed, is_loopback
from triskele.serve.gateway.settings import Settings
from triskele.serve.http import Response
from triskele.serve.routing.named import ROUTERS

TOKEN = "a-token-of-enough-length"
BEARER = (b"authorization", b"Bearer " + TOKEN.encode())
LOCAL = Settings(allow_upstream=("127.0.0.1:*", "*.internal:8000"))
EVERYTHING = [
    ("GET", "/admin/status", None),
    ("GET", "/admin/workers", None),
    ("POST", "/admin/workers", {"url": "http://127.0.0.1:9"}),
    ("DELETE", "/admin/workers/a", None),
    ("POST", "/admin/workers/a/drain", None),
    ("POST", "/admin/workers/a/resume", None),
    ("PUT", "/admin/policy", {"policy": "random"}),
]


def administered(
    test: Callable[[Served], Coroutine[Any, Any, None]],
    settings: Settings = LOCAL,
    *,
    n_workers: int = 0,
    admin_token: str | None = None,
    host: str = "127.0.0.1",
) -> None:
    async def run() -> None:
        workers = [OpenAIWorker(f"w{n}") for n in range(n_workers)]
        async with serving(workers, settings, admin_token=admin_token, host=host) as served:
            await test(served)

    asyncio.run(run())


def json(answer: Response) -> Any:
    assert answer.header(b"cache-control") == b"no-store"
    return msgspec.json.decode(answer.body)


def test_a_worker_is_added_and_used_once_it_is_well() -> None:
    async def test(served: Served) -> None:
        worker = OpenAIWorker("new")
        await worker.start()
        try:
            asked = {"url": worker.url + "/", "name": "new-1"}
            answer = await served.ask("POST", "/admin/workers", asked)
            assert answer.status == 201
            told = json(answer)
            assert (told["name"], told["url"], told["state"]) == ("new-1", worker.url, "starting")
            await served.gateway.ready(seconds=5.0)
            assert (await served.chat()).status == 200
            assert len(worker.asked) == 1
        finally:
            await worker.kill()

    administered(test)


def test_a_worker_is_drained_finishes_what_it_has_and_is_resumed() -> None:
    async def test(served: Served) -> None:
        first, second = served.workers
        first.may_answer.clear()
        second.may_answer.clear()
        under_way = [asyncio.create_task(served.chat(f"question {n}")) for n in range(6)]
        await until(lambda: first.n_running + second.n_running == 6)
        assert first.n_running == 3, "lbgr shares equal work out"
        answer = await served.ask("GET", "/admin/workers")
        assert {each["name"]: each["in_flight"] for each in json(answer)["workers"]} == {
            first.listed_as: 3,
            second.listed_as: 3,
        }
        answer = await served.ask("POST", f"/admin/workers/{first.listed_as}/drain")
        assert answer.status == 200
        assert (json(answer)["state"], json(answer)["in_flight"]) == ("draining", 3)
        first.may_answer.set()
        second.may_answer.set()
        assert {(await task).status for task in under_way} == {200}
        for number in range(10):
            assert (await served.chat(f"later {number}")).status == 200
        assert len(first.asked) == 3, "nothing new goes there"
        again = await served.ask("POST", f"/admin/workers/{first.listed_as}/drain")
        assert again.status == 200, "once more is no error"
        assert json(again)["in_flight"] == 0
        answer = await served.ask("POST", f"/admin/workers/{first.listed_as}/resume")
        assert json(answer)["state"] == "starting"
        await served.gateway.ready(n_workers=2, seconds=5.0)
        for number in range(10):
            assert (await served.chat(f"much later {number}")).status == 200
        assert len(first.asked) > 3
        served.check()

    administered(test, n_workers=2)


def test_a_worker_is_removed_and_finishes_what_it_has() -> None:
    async def test(served: Served) -> None:
        first, second = served.workers
        first.may_answer.clear()
        second.may_answer.clear()
        under_way = [asyncio.create_task(served.chat(f"question {n}")) for n in range(4)]
        await until(lambda: first.n_running + second.n_running == 4)
        answer = await served.ask("DELETE", f"/admin/workers/{first.listed_as}")
        assert answer.status == 200
        assert json(answer)["in_flight"] == first.n_running > 0
        first.may_answer.set()
        second.may_answer.set()
        assert {(await task).status for task in under_way} == {200}
        n_before = len(first.asked)
        for number in range(10):
            assert (await served.chat(f"later {number}")).status == 200
        assert len(first.asked) == n_before
        assert (await served.ask("DELETE", f"/admin/workers/{first.listed_as}")).status == 404
        back = await served.ask("POST", "/admin/workers", {"url": first.url})
        assert back.status == 201, "what was listed from the beginning may come back"

    administered(test, Settings(), n_workers=2)


def test_a_worker_is_listed_once() -> None:
    async def test(served: Served) -> None:
        first, second = served.workers
        urls = [first.url, first.url + "/", first.url.upper().replace("HTTP", "http")]
        for url in urls:
            answer = await served.ask("POST", "/admin/workers", {"url": url, "name": "other"})
            assert answer.status == 409, url
        named = {"url": "http://127.0.0.1:9", "name": second.listed_as}
        answer = await served.ask("POST", "/admin/workers", named)
        assert answer.status == 409
        assert "is listed already" in message_of(answer)
        assert len(served.gateway.fleet) == 2

    administered(test, n_workers=2)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254",
        "http://10.0.0.5:8000",
        "http://127.0.0.1.evil.example:80",
        "http://localhost:8000",
        "http://internal:8000",
        "http://x.internal:8001",
        "http://[::1]:8000",
        "http://127.1:8000",
        "http://2130706433:8000",
    ],
)
def test_an_address_that_is_not_allowed_is_refused_before_anything_is_asked_of_it(url: str) -> None:
    async def test(served: Served) -> None:
        answer = await served.ask("POST", "/admin/workers", {"url": url})
        assert answer.status == 403
        assert "are not allowed; see --allow-upstream" in message_of(answer)
        assert len(served.gateway.fleet) == 0

    administered(test)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "file:///etc/passwd",
        "127.0.0.1:8000",
        "http://",
        "http://:8000",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:port",
        "http://user:password@127.0.0.1:8000",
        "http://127.0.0.1:8000/?query",
        "http://127.0.0.1:8000/#fragment",
        "http://127.0.0.1:8000/a b",
        "http://127.0.0.1:8000/\r\nx: y",
        "http://[::1",
        "http://127.0.0.1:8000/é",
        "gopher://127.0.0.1:8000",
    ],
)
def test_what_is_no_address_is_malformed(url: str) -> None:
    async def test(served: Served) -> None:
        answer = await served.ask("POST", "/admin/workers", {"url": url})
        assert answer.status == 400
        assert "password" not in message_of(answer).replace("user, password, query", "")
        assert len(served.gateway.fleet) == 0

    administered(test)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "a b",
        "-a",
        "<b>",
        "é",
        "a\n",
        "a\r\nx: y",
        "a" * 101,
        "../policy",
        "%2e",
    ],
)
def test_hostile_names_are_refused(name: str) -> None:
    async def test(served: Served) -> None:
        asked = {"url": "http://127.0.0.1:9", "name": name}
        assert (await served.ask("POST", "/admin/workers", asked)).status == 400
        assert len(served.gateway.fleet) == 0

    administered(test)


def test_a_name_in_a_path_may_be_quoted_and_is_never_more_than_a_name() -> None:
    async def test(served: Served) -> None:
        url = "http://127.0.0.1:9/base"
        added = await served.ask("POST", "/admin/workers", {"url": url})
        assert json(added)["name"] == "127.0.0.1:9/base"
        assert (await served.ask("DELETE", "/admin/workers/127.0.0.1:9/base")).status == 404
        for hostile in ("%2e%2e", "%00", "%ff", "a%0d%0ab", "*", "x" * 2000):
            assert (await served.ask("DELETE", f"/admin/workers/{hostile}")).status == 404
        assert (await served.ask("DELETE", "/admin/workers/127.0.0.1%3a9%2Fbase")).status == 200

    administered(test)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b"[]", 400),
        (b"[" * 100_000, 400),
        (b"{}", 400),
        (b'{"url": 3}', 400),
        (b'{"url": null}', 400),
        (b'{"url": "http://127.0.0.1:9", "name": 3}', 400),
        (b'{"url": "http://127.0.0.1:9", "weight": 3}', 400),
    ],
)
def test_a_malformed_body_is_refused_in_one_line(body: bytes, status: int) -> None:
    async def test(served: Served) -> None:
        answer = await served.ask("POST", "/admin/workers", body)
        assert answer.status == status
        assert message_of(answer).startswith("malformed body: ")

    administered(test)


def test_a_body_must_say_that_it_is_json() -> None:
    async def test(served: Served) -> None:
        for kind in (b"text/plain", b"application/x-www-form-urlencoded", b""):
            asked = {"url": "http://127.0.0.1:9"}
            headers = [(b"content-type", kind)]
            assert (await served.ask("POST", "/admin/workers", asked, headers)).status == 415
        assert len(served.gateway.fleet) == 0

    administered(test)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/admin/status", b"GET"),
        ("PUT", "/admin/workers", b"GET, POST"),
        ("GET", "/admin/workers/a", b"DELETE"),
        ("PUT", "/admin/workers/a/drain", b"POST"),
        ("POST", "/admin/policy", b"PUT"),
        ("OPTIONS", "/admin/policy", b"PUT"),
    ],
)
def test_a_method_that_a_page_has_not_is_refused_with_the_one_it_has(
    method: str, path: str, allow: bytes
) -> None:
    async def test(served: Served) -> None:
        answer = await served.ask(method, path)
        assert answer.status == 405
        assert answer.header(b"allow") == allow

    administered(test)


@pytest.mark.parametrize("path", ["/admin/", "/admin/x", "/admin/status/", "/admin/workers/a/b"])
def test_there_are_no_other_pages(path: str) -> None:
    async def test(served: Served) -> None:
        assert (await served.ask("GET", path)).status == 404

    administered(test)


def test_an_unknown_policy_is_refused_with_those_there_are() -> None:
    async def test(served: Served) -> None:
        answer = await served.ask("PUT", "/admin/policy", {"policy": "best"})
        assert answer.status == 400
        assert all(name in message_of(answer) for name in ROUTERS)
        assert json(await served.ask("GET", "/admin/status"))["policy"] == "lbgr"

    administered(test)


@pytest.mark.parametrize(
    "given",
    [None, b"", b"Bearer", b"Bearer ", b"Bearer wrong", b"Basic YTpi", b"Bearer \xff", b"x"],
)
def test_with_a_token_nobody_may_do_anything_without_it(given: bytes | None) -> None:
    async def test(served: Served) -> None:
        headers = [] if given is None else [(b"authorization", given)]
        for method, path, body in EVERYTHING:
            answer = await served.ask(method, path, body, headers)
            assert answer.status == 401, path
            assert answer.header(b"www-authenticate") == b"Bearer"
            assert TOKEN not in message_of(answer)
        assert (await served.ask("GET", "/admin/status", None, [BEARER])).status == 200
        assert len(served.gateway.fleet) == 0

    administered(test, admin_token=TOKEN)


def test_the_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[object, object]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    async def test(served: Served) -> None:
        for token in (TOKEN, TOKEN[:-1], "x"):
            await served.ask(
                "GET", "/admin/status", None, [(b"authorization", f"Bearer {token}".encode())]
            )

    monkeypatch.setattr(hmac, "compare_digest", compare)
    administered(test, admin_token=TOKEN)
    assert [a for a, _ in compared] == [TOKEN.encode(), TOKEN[:-1].encode(), b"x"]


def test_without_a_token_it_is_off_where_others_may_come_in() -> None:
    async def test(served: Served) -> None:
        for method, path, body in EVERYTHING:
            answer = await served.ask(method, path, body)
            assert answer.status == 403, path
            assert "no admin token is set" in message_of(answer)

    administered(test, host="0.0.0.0")


def test_with_a_token_it_is_on_where_others_may_come_in() -> None:
    async def test(served: Served) -> None:
        host = (b"host", b"gateway.example:8000")
        assert (await served.ask("GET", "/admin/status", None, [BEARER])).status == 200
        assert (await raw(served, b"GET /admin/status", host, BEARER)) == 200

    administered(test, admin_token=TOKEN, host="0.0.0.0")


async def raw(served: Served, line: bytes, *headers: tuple[bytes, bytes]) -> int:
    """Return the status of a request whose every field is ours."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.gateway.port)
    fields = b"".join(b"%b: %b\r\n" % field for field in headers)
    writer.write(line + b" HTTP/1.1\r\n" + fields + b"connection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10.0)
    writer.close()
    await writer.wait_closed()
    return int(answer.split()[1])


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"127.0.0.1:8000", 200),
        (b"localhost", 200),
        (b"[::1]:8000", 200),
        (b"evil.example", 403),
        (b"evil.example:8000", 403),
        (b"127.0.0.1.evil.example:8000", 403),
        (b"localhost.evil.example", 403),
        (b"10.0.0.1:8000", 403),
        (b"", 403),
        (b"0.0.0.0:8000", 403),
    ],
)
def test_a_foreign_name_rebound_to_this_address_opens_nothing(host: bytes, status: int) -> None:
    async def test(served: Served) -> None:
        assert await raw(served, b"GET /admin/status", (b"host", host)) == status

    administered(test)


@pytest.mark.parametrize(
    ("field", "is_foreign"),
    [
        ((b"origin", b"http://evil.example"), True),
        ((b"origin", b"null"), True),
        ((b"origin", b"http://127.0.0.1:1"), True),
        ((b"origin", b"http://HERE"), False),
        ((b"sec-fetch-site", b"cross-site"), True),
        ((b"sec-fetch-site", b"same-site"), True),
        ((b"sec-fetch-site", b"same-origin"), False),
        ((b"sec-fetch-site", b"none"), False),
    ],
)
@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_page_of_another_site_changes_nothing(
    field: tuple[bytes, bytes], is_foreign: bool, token: str | None
) -> None:
    async def test(served: Served) -> None:
        here = f"127.0.0.1:{served.gateway.port}".encode()
        headers = [(field[0], field[1].replace(b"HERE", here))]
        headers += [BEARER] if token else []
        answer = await served.ask("PUT", "/admin/policy", {"policy": "random"}, headers)
        assert answer.status == (403 if is_foreign else 200)
        status = json(await served.ask("GET", "/admin/status", None, [BEARER]))
        assert status["policy"] == ("lbgr" if is_foreign else "random")

    administered(test, admin_token=token)


def test_no_page_of_another_site_may_read_anything() -> None:
    async def test(served: Served) -> None:
        asked = [(b"origin", b"http://evil.example"), (b"access-control-request-method", b"PUT")]
        for path in ("/admin/status", "/admin/policy", "/v1/models", "/metrics", "/dashboard"):
            for method in ("OPTIONS", "GET"):
                answer = await served.ask(method, path, None, asked)
                names = {name for name, _ in answer.headers}
                assert not any(name.startswith(b"access-control") for name in names)
                assert method == "GET" or answer.status in (403, 405)

    administered(test)


@pytest.mark.parametrize(
    ("url", "pattern", "matches"),
    [
        ("http://a.internal:8000", "*.internal:8000", True),
        ("http://A.INTERNAL:8000", "*.Internal:8000", True),
        ("http://a.internal", "*.internal:80", True),
        ("https://a.internal", "*.internal:443", True),
        ("https://a.internal", "*.internal:80", False),
        ("http://10.0.0.12:8000", "10.0.0.?:8000", False),
        ("http://10.0.0.1:8000", "10.0.0.?:8000", True),
        ("http://10.0.0.1:8001", "10.0.0.1:8000", False),
        ("http://evil.example/a.internal:8000", "*.internal:8000", False),
    ],
)
def test_patterns_are_of_hosts_and_ports(url: str, pattern: str, matches: bool) -> None:
    assert is_allowed(url, (pattern,)) is matches
    assert not is_allowed(url, ())


@pytest.mark.parametrize(
    ("address", "is_own"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)]
    + [(each, False) for each in ("0.0.0.0", "", "::", "10.0.0.1", "example", "127.0.0.1.x")],
)
def test_loopback_is_this_machine(address: str, is_own: bool) -> None:
    assert is_loopback(address) is is_own
