import pytest

from triskele.serve.http import HttpRequest
from triskele.serve.http.request import find_fault, parse_target


def test_the_first_field_of_a_name_is_found() -> None:
    request = HttpRequest("GET", "/", "", [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")])
    assert request.header(b"a") == b"1"
    assert request.header(b"b") == b"2"
    assert request.header(b"c") is None


@pytest.mark.parametrize(
    ("path", "query", "target"), [("/", "", "/"), ("/a", "b=c?d", "/a?b=c?d"), ("*", "", "*")]
)
def test_a_target_is_put_together_again(path: str, query: str, target: str) -> None:
    assert HttpRequest("GET", path, query, []).target == target


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", b"/", ("/", "")),
        ("GET", b"/a/b?c=d&e=%20?f", ("/a/b", "c=d&e=%20?f")),
        ("GET", b"/%2e%2e/x", ("/%2e%2e/x", "")),
        ("GET", b"//evil/x", ("//evil/x", "")),
        ("GET", b"http://evil:80/p?q=1", ("/p", "q=1")),
        ("GET", b"http://evil?q=1", ("/", "q=1")),
        ("GET", b"http://evil", ("/", "")),
        ("OPTIONS", b"*", ("*", "")),
        ("GET", b"*", None),
        ("GET", b"", None),
        ("GET", b"a", None),
        ("GET", b"/a#b", None),
        ("GET", b"http://evil/p#f", None),
        ("CONNECT", b"evil:80", None),
        ("CONNECT", b"/", None),
        ("GET", b"evil:80", None),
        ("GET", b"http:///p", None),
        ("GET", b"/\xff", None),
    ],
)
def test_a_target_gives_path_and_query_or_nothing(
    method: str, target: bytes, expected: tuple[str, str] | None
) -> None:
    assert parse_target(target, method) == expected


HOST = (b"host", b"here")
CHUNKED = (b"transfer-encoding", b"chunked")


@pytest.mark.parametrize(
    ("version", "headers"),
    [
        ("1.1", [HOST]),
        ("1.1", [HOST, (b"a", b"1"), (b"a", b"2")]),
        ("1.1", [HOST, (b"transfer-encoding", b"Chunked")]),
        ("1.0", []),
        ("1.0", [HOST]),
    ],
)
def test_a_plain_head_is_trusted(version: str, headers: list[tuple[bytes, bytes]]) -> None:
    assert find_fault(version, headers, dict(headers)) is None


@pytest.mark.parametrize(
    ("version", "headers", "fault"),
    [
        ("1.1", [], "expected a host"),
        ("1.1", [HOST, HOST], "expected one host"),
        ("1.0", [HOST, HOST], "expected one host"),
        ("2.0", [HOST], "expected HTTP/1.1, got HTTP/2.0"),
        ("0.9", [HOST], "expected HTTP/1.1"),
        ("1.1", [HOST, CHUNKED, CHUNKED], "expected one transfer-encoding"),
        ("1.1", [HOST, (b"transfer-encoding", b"gzip, chunked")], "expected no transfer coding"),
        ("1.0", [HOST, CHUNKED], "expected no transfer coding"),
    ],
)
def test_a_head_that_two_servers_could_read_differently_is_not(
    version: str, headers: list[tuple[bytes, bytes]], fault: str
) -> None:
    assert (find_fault(version, headers, dict(headers)) or "").startswith(fault)
