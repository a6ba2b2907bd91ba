import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.serve.http.wire import get, post

from triskele.serve.http import HttpRequest, Limits
from triskele.serve.http.request_parser import N_PIECES, Refusal, RequestParser

Taken = tuple[HttpRequest, bool, bool]
POST = b"POST / HTTP/1.1\r\nHost: here\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def parse(
    *pieces: bytes, limits: Limits | None = None
) -> tuple[list[Taken], tuple[int, str] | None]:
    """Return the requests in what has come, and what was refused."""
    taken: list[Taken] = []
    parser = RequestParser(limits or Limits(), lambda *each: taken.append(each))
    try:
        for piece in pieces:
            parser.feed(piece)
    except Refusal as refusal:
        return taken, (refusal.status, refusal.message)
    return taken, None


def bytewise(data: bytes) -> list[bytes]:
    return [data[n : n + 1] for n in range(len(data))]


def test_a_request_is_handed_on_whole() -> None:
    data = post("/v1/x?y=1", b"abc", "X-A: One ", "X-a: two", "Empty:")
    taken, refusal = parse(data)
    assert refusal is None
    [(request, keeps_alive, is_old)] = taken
    assert (request.method, request.path, request.query) == ("POST", "/v1/x", "y=1")
    assert request.body == b"abc"
    assert request.headers == [
        (b"host", b"here"),
        (b"x-a", b"One "),
        (b"x-a", b"two"),
        (b"empty", b""),
        (b"content-length", b"3"),
    ]
    assert (keeps_alive, is_old) == (True, False)


@pytest.mark.parametrize(
    ("version", "lines", "expected"),
    [
        ("1.1", [], (True, False)),
        ("1.1", ["Connection: close"], (False, False)),
        ("1.1", ["Connection: keep-alive, close"], (False, False)),
        ("1.0", [], (False, True)),
        ("1.0", ["Connection: keep-alive"], (True, True)),
        ("1.1", ["Connection: Upgrade", "Upgrade: websocket"], (True, False)),
        ("1.1", ["Connection: Upgrade, close", "Upgrade: websocket"], (False, False)),
        ("1.0", ["Connection: Upgrade", "Upgrade: websocket"], (False, True)),
    ],
)
def test_what_becomes_of_the_connection_is_read_from_the_head(
    version: str, lines: list[str], expected: tuple[bool, bool]
) -> None:
    taken, refusal = parse(get("/", *lines, version=version))
    assert refusal is None
    assert taken[0][1:] == expected


def test_an_offer_of_another_protocol_is_declined_and_the_body_read() -> None:
    # As Java's own client makes it with every request.
    lines = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA")
    data = post("/a?b", b"abc", *lines) + get("/next")
    for pieces in ([data], bytewise(data)):
        taken, refusal = parse(*pieces)
        assert refusal is None
        assert [(each[0].target, each[0].body, each[1]) for each in taken] == [
            ("/a?b", b"abc", True),
            ("/next", b"", True),
        ]
        assert taken[0][0].header(b"upgrade") is None


@pytest.mark.parametrize(
    ("rest", "body"),
    [
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b'3;a=b;c="d"\r\nabc\r\n0;e\r\n\r\n', b"abc"),
        (b"1\r\na\r\n2\r\nbc\r\n0\r\nHost: evil\r\nX: y\r\n\r\n", b"abc"),
        (b"0\r\n\r\n", b""),
        (b"0003\r\nabc\r\n000\r\n\r\n", b"abc"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    ],
)
def test_chunks_are_put_together_and_trailers_left_out(rest: bytes, body: bytes) -> None:
    for pieces in ([CHUNKED + rest], bytewise(CHUNKED + rest)):
        taken, refusal = parse(*pieces)
        assert refusal is None
        [(request, keeps_alive, _)] = taken
        assert (request.body, keeps_alive) == (body, True)
        assert request.headers == [(b"host", b"here"), (b"transfer-encoding", b"chunked")]


@pytest.mark.parametrize(
    "data",
    [
        # Framing that two servers could read differently.
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        POST + b"Content-Length: 3, 3\r\n\r\nabc",
        POST + b"Content-Length: +3\r\n\r\nabc",
        POST + b"Content-Length: -3\r\n\r\nabc",
        POST + b"Content-Length: 0x3\r\n\r\nabc",
        POST + b"Content-Length: 1_0\r\n\r\n0123456789",
        POST + b"Content-Length: 1 0\r\n\r\n0123456789",
        POST + b"Content-Length:\r\n\r\n",
        POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
        POST + b"Transfer-Encoding: gzip\r\n\r\nabc",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n",
        POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"3\nabc\n0\n\n",
        CHUNKED + b"3\r\nabcX0\r\n\r\n",
        CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n",
        CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n",
        CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n",
        CHUNKED + b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        CHUNKED + b"3;a\nabc\r\n0\r\n\r\n",
        CHUNKED + b"3;a=\x01\r\nabc\r\n0\r\n\r\n",
        CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n",
        # Lines and fields that are none.
        b"GET / HTTP/1.1\nHost: here\n\n",
        b"GET / HTTP/1.1\r\nHost: here\nA: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: here\rA: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : here\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: here\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: here\r\nA: b\r\n c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: here\r\nA: b\x00c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: here\r\nA: b\x01c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: here\r\nA: b\x7fc\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: here\r\nA\x00: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: here\r\n: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: here\r\nnothing\r\n\r\n",
        # Hosts.
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: here\r\nHost: there\r\n\r\n",
        # Request lines.
        b"get / HTTP/1.1\r\nHost: here\r\n\r\n",
        b"FOO / HTTP/1.1\r\nHost: here\r\n\r\n",
        b"GET\t/ HTTP/1.1\r\nHost: here\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: here\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: here\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: here\r\n\r\n",
        b"GET /a#b HTTP/1.1\r\nHost: here\r\n\r\n",
        b"GET a HTTP/1.1\r\nHost: here\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: here\r\n\r\n",
        b"GET evil:80 HTTP/1.1\r\nHost: here\r\n\r\n",
        b"CONNECT / HTTP/1.1\r\nHost: here\r\n\r\n",
        b"CONNECT evil:80 HTTP/1.1\r\nHost: here\r\n\r\n",
        b"CONNECT evil:80 HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\nabc",
        b"GET /\r\nHost: here\r\n\r\n",
        b"GET / HTTP/0.9\r\nHost: here\r\n\r\n",
        b"GET / HTTP/1.7\r\nHost: here\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: here\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(data: bytes) -> None:
    for pieces in ([data], bytewise(data)):
        taken, refusal = parse(get("/first"), *pieces)
        assert [request.path for request, _, _ in taken] == ["/first"]
        assert refusal is not None
        assert refusal[0] == 400


def test_what_follows_the_last_request_is_refused() -> None:
    taken, refusal = parse(get("/", "Connection: close") + get("/smuggled"))
    assert len(taken) == 1
    assert refusal is not None


def test_an_error_of_whoever_takes_requests_is_not_taken_for_the_clients() -> None:
    def take(request: HttpRequest, keeps_alive: bool, is_old: bool) -> None:
        raise RuntimeError("mine")

    with pytest.raises(httptools.HttpParserCallbackError):
        RequestParser(Limits(), take).feed(get("/"))


HEAD_LIMITS = Limits(header_bytes=200, n_headers=10)


@pytest.mark.parametrize("n_before", [0, 1, 50, 199])
def test_the_longest_head_is_the_same_however_it_comes(n_before: int) -> None:
    empty = len(get("/", "X: "))
    longest = get("/", "X: " + "x" * (200 - empty))
    too_long = get("/", "X: " + "x" * (201 - empty))
    assert len(longest) == 200
    before = post("/", b"b" * n_before)
    for data in (longest, longest * 20, before + longest, longest + before + longest):
        for pieces in ([data], bytewise(data)):
            assert parse(*pieces, limits=HEAD_LIMITS)[1] is None
    for data in (too_long, before + too_long, longest * 3 + too_long):
        for pieces in ([data], bytewise(data), [data[:60], data[60:]], [data[:-1], data[-1:]]):
            taken, refusal = parse(*pieces, limits=HEAD_LIMITS)
            assert refusal is not None
            assert refusal[0] == 431
            assert len(taken) == data.count(b"HTTP/1.1") - 1


@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nX", b"GET / HTTP/1.1\r\nX: "])
def test_a_head_without_end_is_cut_off(start: bytes) -> None:
    n_fed = 0
    parser = RequestParser(HEAD_LIMITS, lambda *_: None)
    status = None
    for piece in (start, *[b"x" * 50] * 10):
        try:
            parser.feed(piece)
            n_fed += len(piece)
        except Refusal as refusal:
            status = refusal.status
            break
    assert status == 431
    assert n_fed <= 200


def test_too_many_fields_are_refused() -> None:
    assert parse(get("/", *["X: y"] * 9), limits=HEAD_LIMITS)[1] is None
    assert parse(get("/", *["X: y"] * 10), limits=HEAD_LIMITS)[1] == (
        431,
        "more than 10 header fields",
    )


BODY_LIMITS = Limits(body_bytes=100, header_bytes=200)


def test_a_body_that_is_too_long_is_refused_before_it_comes() -> None:
    head, _, _ = post("/", b"x" * 101).partition(b"x")
    assert (parse(head, limits=BODY_LIMITS)[1] or (0,))[0] == 413
    assert parse(post("/", b"x" * 100), limits=BODY_LIMITS)[1] is None


def test_chunks_that_are_too_many_are_refused_when_they_come() -> None:
    chunk = b"a\r\n0123456789\r\n"
    assert parse(CHUNKED, *[chunk] * 10, b"0\r\n\r\n", limits=BODY_LIMITS)[1] is None
    for pieces in ([CHUNKED, *[chunk] * 11], [CHUNKED + chunk * 11]):
        assert (parse(*pieces, limits=BODY_LIMITS)[1] or (0,))[0] == 413


@pytest.mark.parametrize("start", [b"0\r\nX: ", b"0\r\n", b"1;", b"1"])
def test_framing_without_end_is_cut_off(start: bytes) -> None:
    parser = RequestParser(BODY_LIMITS, lambda *_: None)
    parser.feed(CHUNKED + start)
    filler = b"A: b\r\n" * 10 if start == b"0\r\n" else (b"0" if start == b"1" else b"x") * 50
    status = None
    for _ in range(100):
        try:
            parser.feed(filler)
        except Refusal as refusal:
            status = refusal.status
            break
    assert status == 400


def test_a_body_in_very_many_pieces_is_the_same_body() -> None:
    body = bytes(n % 251 for n in range(3 * N_PIECES))
    chunks = [b"1\r\n%b\r\n" % body[n : n + 1] for n in range(len(body))]
    taken, refusal = parse(CHUNKED, *chunks, b"0\r\n\r\n" + get("/next"))
    assert refusal is None
    assert [request.body for request, _, _ in taken] == [body, b""]
    assert type(taken[0][0].body) is bytes


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\n", True),
        (b"POST / HTTP/1.0\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\n", False),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: other\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n", False),
    ],
)
def test_a_client_that_waits_to_be_asked_is_known(data: bytes, expected: bool) -> None:
    parser = RequestParser(Limits(), lambda *_: None)
    parser.feed(data)
    assert parser.awaits_consent is expected


def test_where_a_request_stands_is_known() -> None:
    parser = RequestParser(Limits(), lambda *_: None)
    assert (parser.is_partial, parser.is_body) == (False, False)
    parser.feed(b"PO")
    assert (parser.is_partial, parser.is_body) == (True, False)
    parser.feed(post("/", b"abc")[2:-1])
    assert (parser.is_partial, parser.is_body) == (True, True)
    parser.feed(b"c")
    assert (parser.is_partial, parser.is_body) == (False, False)


TOKENS = st.text("abcXYZ09-_", min_size=1, max_size=8)
VALUES = st.text("ab \t,;=\xe9", max_size=8).map(str.strip)
BODIES = st.binary(max_size=60)


@st.composite
def valid_requests(draw: st.DrawFn) -> tuple[bytes, tuple[str, str, list[object], bytes]]:
    """Draw a request: its bytes, and what they say."""
    method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS"]))
    target = "/" + draw(st.text("abc/%20._-?&=", max_size=12))
    named = draw(st.lists(st.tuples(TOKENS.map(lambda name: "x-" + name), VALUES), max_size=4))
    fields = [("Host", "here"), *named]
    body = draw(BODIES)
    if draw(st.booleans()):
        fields.append(("Transfer-Encoding", "chunked"))
        cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=4)))
        pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        coded = b"".join(b"%X;e=1\r\n%b\r\n" % (len(each), each) for each in pieces if each)
        coded += b"0\r\n" + draw(st.sampled_from([b"", b"X-Trailer: t\r\n"])) + b"\r\n"
    else:
        fields.append(("Content-Length", str(len(body))))
        coded = body
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1")
    data = f"{method} {target} HTTP/1.1\r\n".encode() + lines + b"\r\n" + coded
    said = [(name.lower().encode(), value.encode("latin-1")) for name, value in fields]
    return data, (method, target, list(said), body)


@settings(max_examples=150, deadline=None)
@given(st.lists(valid_requests(), min_size=1, max_size=5), st.data())
def test_however_a_stream_is_cut_it_has_the_same_requests(
    requests: list[tuple[bytes, tuple[str, str, list[object], bytes]]], data: st.DataObject
) -> None:
    stream = b"".join(each for each, _ in requests)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=30)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    for cut in ([stream], [each for each in pieces if each], bytewise(stream)):
        taken, refusal = parse(*cut)
        assert refusal is None
        assert [each[1:] for each in taken] == [(True, False)] * len(requests)
        read = [each[0] for each in taken]
        # A question mark with nothing behind it is the one thing that is not kept.
        assert [
            (each.method, each.target.rstrip("?"), each.headers, each.body) for each in read
        ] == [(said[0], said[1].rstrip("?"), said[2], said[3]) for _, said in requests]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(valid_requests(), min_size=1, max_size=3),
    st.lists(
        st.tuples(st.integers(0, 2000), st.sampled_from("xid"), st.binary(min_size=1, max_size=3)),
        max_size=6,
    ),
    st.integers(1, 50),
)
@example([(get("/"), ("GET", "/", [], b""))], [(0, "i", b"\r")], 1)
def test_damaged_requests_are_taken_or_refused_the_same_however_they_are_cut(
    requests: list[tuple[bytes, object]], damages: list[tuple[int, str, bytes]], n_bytes: int
) -> None:
    stream = bytearray(b"".join(each for each, _ in requests))
    for place, kind, noise in damages:
        n = place % (len(stream) + 1)
        stream[n : n + (0 if kind == "i" else len(noise))] = b"" if kind == "d" else noise
    whole = bytes(stream)
    outcomes = []
    for cut in ([whole], [whole[n : n + n_bytes] for n in range(0, len(whole), n_bytes)]):
        taken, refusal = parse(*[each for each in cut if each])
        assert refusal is None or refusal[0] in (400, 413, 431)
        outcomes.append(([each[0] for each in taken], refusal and refusal[0]))
    assert outcomes[0] == outcomes[1]
