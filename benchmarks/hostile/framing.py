"""Hostile HTTP: request lines, fields, lengths, chunks, pieces, and what is no HTTP at all."""

import json
import random
from collections.abc import Callable, Iterator

from benchmarks.hostile.case import PATHS, Case, request

HELLO = json.dumps(
    {"model": "mock", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}
).encode()
NASTY = (
    *(b"\0", b"\r", b"\n", b"\r\n", b" ", b"\t", b"\x0b", b"\x7f", b"\xff", b"\xc3\xa9", b"%00"),
    *(
        b"%0d%0a",
        b"..",
        b"//",
        b"\\",
        b"#",
        b"?",
        b":",
        b"@",
        b"*",
        b"{}",
        b"'",
        b'"',
        b"<x>",
        b";",
    ),
)
METHODS = (
    *(b"GET", b"HEAD", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT", b"post"),
    *(b"PRI", b"PROPFIND", b"FOO", b"", b"P\0ST", b"POST\t", b"G" * 5000, b"M-SEARCH", b"QUERY"),
)
TARGETS = (
    *(b"*", b"", b"/", b"//", b"v1/models", b"/v1/chat/completions/", b"/V1/Chat/Completions"),
    *(b"/v1/../v1/chat/completions", b"/v1/%63hat/completions", b"/v1/chat/completions#x", b"/?"),
    *(
        b"http://127.0.0.1/v1/models",
        b"http://evil.example/v1/chat/completions",
        b"http://",
        b"a:b",
    ),
    *(b"127.0.0.1:443", b"/v1/models/mock", b"/v1/models/%2e%2e", b"/v1/models/" + b"x" * 9000),
    *(b"/metrics", b"/health?x", b"/dashboard", b"/admin/status", b"/admin/", b"/admin/workers/x"),
    *(b"/admin/workers/%2f..%2f", b"/admin/workers/a/drain/b", b"/" + b"a" * 70_000, b"/\xff"),
    *(b"/v1/chat/completions?" + b"q" * 60_000, b"/v1/chat/completions?a b", b"/.git/config"),
)
VERSIONS = (
    *(b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/3.14", b"HTTP/1.10", b"http/1.1", b"HTTP/1,1"),
    *(
        b"",
        b"HTTP/",
        b"HTTP/1.1 ",
        b"HTTPS/1.1",
        b"HTTP/11",
        b"ICE/1.0",
        b"RTSP/1.0",
        b"HTTP/1.1\0",
    ),
)
LENGTHS = (
    *(b"+5", b"-1", b"0x10", b"1e3", b"5, 5", b"5,6", b"5 5", b"99999999999999999999999", b""),
    *(b"18446744073709551617", b"\xd9\xa5", b"5;", b'"5"', b"5.0", b"05", b"000000000000000005"),
    *(b"9223372036854775807", b"17000000", b"NaN", b"\t5", b"5\t", b"5\0", b"_5", b"1_0"),
)
CODINGS = (
    *(b"chunked, chunked", b"gzip, chunked", b"chunked, identity", b"xchunked", b"chunked\x0b"),
    *(
        b"identity",
        b"chunked;q=1",
        b"chunk",
        b"\x00chunked",
        b'"chunked"',
        b"chunked,",
        b", chunked",
    ),
    *(b"gzip", b"", b"cow", b"chun ked", b"\xefchunked", b"chunked\r\n x", b"deflate\t,chunked"),
)
SIZES = (
    *(b"-5", b"0x5", b"5;" + b"e" * 40_000, b"g", b"", b" 5", b"5 ", b"FFFFFFFFFFFFFFFFF", b"+5"),
    *(b"0" * 400 + b"5", b"5;a=b", b'5;a="\r\n"', b"5\t", b"7fffffffffffffff", b"5\n", b"5;\0"),
)
FIELDS = (
    *(b"host: other", b"Host: 127.0.0.1", b"x y: 1", b"x : 1", b": 1", b"x", b"x:1", b" x: folded"),
    *(b"\tx: folded", b"x: a\0b", b"x: a\rb", b"x: a\nsmuggled: 1", b"x: \xff\xfe", b"\xff: 1"),
    *(b"x: " + b"v" * 70_000, b"n" * 70_000 + b": 1", b"expect: 100-continue", b"expect: 200-ok"),
    *(b"connection: upgrade\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__", b"upgrade: x"),
    *(b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: eA==", b"te: trailers"),
    *(b"connection: close, keep-alive", b"connection: content-length", b"connection: host"),
    *(b"transfer-encoding: chunked", b"Transfer-Encoding : chunked", b"trailer: content-length"),
    *(b"content-length : 5", b"content-length:", b"CONTENT-LENGTH: 7", b"content-encoding: gzip"),
    *(b"authorization: " + b"B" * 9000, b"authorization: Bearer \xff", b"x-request-id: a\tb"),
    *(
        b"x-request-id: " + b"i" * 500,
        b"x-request-id: \xe9",
        b"x-session-id: \xff\xfe",
        b"x-session-id:",
    ),
    *(b"x-triskele-explain: 1", b"cookie: " + b"; ".join(b"a=b" for _ in range(9000)), b"{}: 1"),
)
FOREIGN = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    bytes.fromhex("16030100c8010000c40303") + bytes(range(190)),
    b"SSH-2.0-OpenSSH_9.9\r\n",
    b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n",
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\0\x0c",
    b"GET /v1/models\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    b"\x05\x01\x00",
    b"*1\r\n$4\r\nPING\r\n",
    b"EHLO x\r\n",
    b"\0" * 4096,
    b"\r\n" * 3000,
    b"A" * 100_000,
    b"\xff\xd8\xff\xe0" * 500,
)


def request_line(rng: random.Random) -> Case:
    """Spoil method, target or version."""
    what = rng.choice(("method", "target", "version", "bytes", "spaces"))
    method, target, version = b"POST", rng.choice(PATHS).encode(), b"HTTP/1.1"
    if what == "method":
        method = rng.choice(METHODS)
    elif what == "target":
        target = rng.choice(TARGETS)
        method = rng.choice((b"GET", b"POST", b"DELETE", b"PUT", b"OPTIONS"))
    elif what == "version":
        version = rng.choice(VERSIONS)
    elif what == "bytes":
        target = _insert(target, rng.choice(NASTY), rng)
    else:
        target = (
            rng.choice((b"  ", b"\t", b"", b" \t ")) + target + rng.choice((b" ", b"  x", b"\t"))
        )
    return Case(f"line {what}", (request(HELLO, method=method, target=target, version=version),))


def fields(rng: random.Random) -> Case:
    """Add, repeat and spoil fields."""
    chosen = rng.choices(FIELDS, k=rng.choice((1, 1, 1, 2, 3)))
    if rng.random() < 0.1:
        chosen += [b"x-%d: y" % number for number in range(rng.choice((90, 120, 5000)))]
    if rng.random() < 0.3:
        chosen[0] = _insert(chosen[0], rng.choice(NASTY), rng)
    data = request(HELLO, fields=tuple(chosen), target=rng.choice(PATHS).encode())
    if rng.random() < 0.15:
        data = data.replace(b"host: 127.0.0.1\r\n", b"", 1)
    if rng.random() < 0.1:
        data = data.replace(b"\r\n", rng.choice((b"\n", b"\r", b"\n\r", b"\r\r\n")))
    return Case("fields", (data,))


def lengths(rng: random.Random) -> Case:
    """Announce a length that is none, or not the body's."""
    kind = rng.random()
    if kind < 0.6:
        return Case("length value", (request(HELLO, length=rng.choice(LENGTHS)),))
    if kind < 0.8:
        n = max(0, len(HELLO) + rng.choice((-len(HELLO), -5, -1, 1, 5, 100_000)))
        data = request(HELLO, length=b"%d" % n)
        return Case("length wrong", (data,), half_close=rng.random() < 0.3)
    twice = (b"content-length: %d" % rng.choice((0, 1, len(HELLO), len(HELLO) + 1)),)
    return Case("length twice", (request(HELLO, fields=twice),))


def chunks(rng: random.Random) -> Case:
    """Spoil chunks."""
    middle = len(HELLO) // 2
    parts = [HELLO[:middle], HELLO[middle:]]
    framed = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts] + [b"0\r\n\r\n"]
    kind = rng.choice(("size", "bytes", "end", "trailer", "cut", "many", "well"))
    if kind == "size":
        framed[rng.randrange(2)] = rng.choice(SIZES) + b"\r\nhello\r\n"
    elif kind == "bytes":
        at = rng.randrange(2)
        framed[at] = _insert(framed[at], rng.choice(NASTY), rng)
    elif kind == "end":
        framed[2] = rng.choice((b"", b"0", b"0\r\n", b"0\n\n", b"0\r\r\n", b"00\r\n\r\n", b"\r\n"))
    elif kind == "trailer":
        lines = (
            b"content-length: 5",
            b"x: " + b"y" * 80_000,
            b"transfer-encoding: chunked",
            b"\0: 1",
        )
        framed[2] = b"0\r\n" + rng.choice(lines) + b"\r\n\r\n"
    elif kind == "cut":
        framed = framed[: rng.randrange(3)]
    elif kind == "many":
        framed = [b"1\r\n%c\r\n" % byte for byte in HELLO * 20] + [b"0\r\n\r\n"]
    data = request(length=None, fields=(b"transfer-encoding: chunked",))
    return Case(f"chunks {kind}", (data, b"".join(framed)), half_close=rng.random() < 0.1)


def smuggling(rng: random.Random) -> Case:
    """Frame a request in two ways, with another one hidden in it."""
    mark = f"b{rng.getrandbits(48):x}"
    hidden = request(HELLO, target=b"/v1/chat/completions?mark=" + mark.encode())
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(hidden), hidden)
    kind = rng.choice(("CL.TE", "TE.CL", "TE.TE", "CL.CL", "fold", "body", "chunk", "LF", "field"))
    if kind == "CL.TE":
        data = request(
            b"0\r\n\r\n" + hidden, fields=(rng.choice((b"T", b"t")) + b"ransfer-encoding: chunked",)
        )
    elif kind == "TE.CL":
        data = request(chunked, fields=(b"transfer-encoding: chunked",), length=b"4")
    elif kind == "TE.TE":
        coding = rng.choice(CODINGS)
        data = request(b"0\r\n\r\n" + hidden, fields=(b"transfer-encoding: " + coding,))
        if rng.random() < 0.5:
            data = request(
                b"0\r\n\r\n" + hidden,
                fields=(b"transfer-encoding: chunked", b"transfer-encoding: " + coding),
                length=None,
            )
    elif kind == "CL.CL":
        data = request(hidden, fields=(b"content-length: 0",))
    elif kind == "fold":
        folded = b"x: y\r\n " + rng.choice((b"content-length: 0", b"transfer-encoding: chunked"))
        data = request(hidden, fields=(folded,))
    elif kind == "body":
        # Framed well: it is a body, whatever it looks like.
        return Case("smuggling body", (request(hidden),), barred=mark, n_answers=1)
    elif kind == "chunk":
        # The extension hides a line end from those who look for LF only.
        data = request(
            b"1;\n" + b"a\r\n0\r\n\r\n" + hidden,
            length=None,
            fields=(b"transfer-encoding: chunked",),
        )
    elif kind == "LF":
        data = request(hidden, fields=(b"x: y\ncontent-length: 0",))
    else:
        name = rng.choice(
            (b"content-length ", b"content_length", b"content-length\0", b"\x0bcontent-length")
        )
        # One that is merely another name is passed on, and means nothing.
        data = request(hidden, fields=(name + b": 0",))
    return Case(f"smuggling {kind}", (data,), barred=mark)


def injection(rng: random.Random) -> Case:
    """Try to break out of what is passed on: target, id, session."""
    mark = f"b{rng.getrandbits(48):x}"
    hidden = b" HTTP/1.1\r\nhost: x\r\n\r\nPOST /v1/completions?mark=" + mark.encode()
    breaks = (b"\r\n", b"\n", b"\r", b"%0d%0a", b"\xe5\x98\x8a\xe5\x98\x8d", b"\\r\\n", b"\x85")
    hidden = hidden.replace(b"\r\n", rng.choice(breaks)).replace(
        b" ", rng.choice((b" ", b"%20", b"+"))
    )
    # Behind a real end of the head it would be a request of its own, and rightly so.
    hidden = hidden.replace(b"\r\n\r\n", b"\r\n").replace(b"\n\n", b"\n")
    where = rng.choice(("target", "id", "session", "type"))
    if where == "target":
        data = request(HELLO, target=b"/v1/completions?x=" + hidden)
        return Case("injection target", (data,), barred=mark)
    name = {"id": b"x-request-id", "session": b"x-session-id", "type": b"content-type"}[where]
    hidden = hidden.partition(b"HTTP/1.1")[2]
    data = request(HELLO, fields=(name + b": a" + hidden,))
    return Case(f"injection {where}", (data,), barred=mark)


def pieces(rng: random.Random) -> Case:
    """Send a good request in odd pieces, slowly, or close one side."""
    data = request(HELLO, target=rng.choice(PATHS).encode())
    kind = rng.choice(("bytes", "cuts", "slow", "half", "cut short", "close after"))
    if kind == "bytes":
        return Case(
            "pieces of a byte", tuple(data[n : n + 1] for n in range(len(data))), n_answers=1
        )
    if kind in ("cuts", "slow"):
        cuts = sorted(rng.sample(range(1, len(data)), rng.randint(1, 12)))
        parts = tuple(data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True))
        return Case(f"pieces {kind}", parts, pause=0.03 if kind == "slow" else 0.001, n_answers=1)
    if kind == "half":
        return Case("half-closed", (data[: rng.randrange(len(data))],), half_close=True)
    if kind == "cut short":
        return Case("cut short", (data[: rng.randrange(len(data))],))
    return Case("half-closed after", (data,), half_close=True)


def pipelines(rng: random.Random) -> Case:
    """Send many requests at once, the last of them perhaps spoilt."""
    good = (
        request(HELLO),
        request(method=b"GET", target=b"/health", length=None),
        request(method=b"GET", target=b"/v1/models", length=None),
        request(HELLO, target=b"/v1/embeddings"),
        request(method=b"OPTIONS", target=b"*", length=None),
        request(b"[", target=b"/v1/completions"),
    )
    n = rng.choice((2, 5, 20, 60))
    chosen = [rng.choice(good) for _ in range(n)]
    if rng.random() < 0.5:
        chosen.append(rng.choice(FOREIGN))
    return Case("pipeline", (b"".join(chosen),), n_answers=n)


def sizes(rng: random.Random) -> Case:
    """Send too much, or announce it."""
    kind = rng.choice(("announced", "long body", "long chunks", "blanks"))
    if kind == "announced":
        return Case("17 MiB announced", (request(b"x", length=b"17825792"),))
    if kind == "blanks":
        return Case(
            "blanks", (request(b" " * rng.choice((10, 10_000, 1 << 20)) + HELLO),), n_answers=1
        )
    size = rng.choice((1 << 16, 1 << 20, 3 << 20))
    body = b'{"model":"mock","prompt":"' + b"p" * size + b'"}'
    if kind == "long body":
        return Case(kind, (request(body, target=b"/v1/completions"),), n_answers=1)
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    head = request(length=None, fields=(b"transfer-encoding: chunked",), target=b"/v1/completions")
    return Case(kind, (head, framed), n_answers=1)


def foreign(rng: random.Random) -> Case:
    """Speak something else."""
    if rng.random() < 0.5:
        return Case("foreign", (rng.choice(FOREIGN),), half_close=rng.random() < 0.3)
    return Case("noise", (rng.randbytes(rng.choice((1, 10, 100, 4096, 20_000))),))


def mutation(rng: random.Random) -> Case:
    """Change a good request here and there."""
    data = bytearray(request(HELLO, target=rng.choice(PATHS).encode()))
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(len(data))
        kind = rng.randrange(4)
        if kind == 0:
            data[at] = rng.randrange(256)
        elif kind == 1:
            del data[at : at + rng.randint(1, 6)]
        elif kind == 2:
            data[at:at] = rng.choice(NASTY)
        else:
            data[at:at] = data[at : at + rng.randint(1, 30)]
    return Case("mutation", (bytes(data),))


FAMILIES: tuple[tuple[Callable[[random.Random], Case], int], ...] = (
    (request_line, 10),
    (fields, 14),
    (lengths, 10),
    (chunks, 12),
    (smuggling, 14),
    (injection, 6),
    (pieces, 6),
    (pipelines, 5),
    (sizes, 1),
    (foreign, 6),
    (mutation, 16),
)


def cases(n: int, rng: random.Random) -> Iterator[Case]:
    """Yield ``n`` cases."""
    makers, weights = zip(*FAMILIES, strict=True)
    for maker in rng.choices(makers, weights, k=n):
        yield maker(rng)


def _insert(data: bytes, what: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + what + data[at:]
