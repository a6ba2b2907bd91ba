"""Hostile bodies: JSON that is none, or too deep, or of the wrong kind everywhere."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.hostile.case import PATHS, Case, request

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1 << 31, 1 << 63, -(1 << 63), 10**30, 1e308, -0.0, 5e-324),
    *(
        "",
        "\0",
        "\ud800",
        "💥" * 50,
        "a" * 70_000,
        "../../etc/passwd",
        "{{7*7}}",
        "\r\nx: y",
        "NaN",
    ),
    *([], {}, [[]], [None], [{}], [[[[[]]]]], {"": None}, {"__proto__": {}}, [1, "a", None, {}]),
    *([0] * 5000, ["x"] * 5000, [-1], [1 << 32], [1.5], [True], [[1, 2], "a"], {"role": "user"}),
)
FIELDS = (
    *("model", "messages", "prompt", "input", "stream", "max_tokens", "max_completion_tokens"),
    *("tools", "user", "prompt_cache_key", "ignore_eos", "n", "stop", "temperature", "logit_bias"),
)
RAW = (
    *(b"", b" ", b"null", b"true", b"0", b"[]", b'""', b"{", b"}", b"{}", b"[" * 100_000, b"\0"),
    *(
        b'{"a":' * 100_000,
        b"[" * 900 + b"]" * 900,
        b"\xef\xbb\xbf{}",
        '{"model":"mock"}'.encode("utf-16"),
    ),
    *(b'{"model":"mock","model":"other"}', b'{"model":NaN}', b'{"max_tokens":1e999}', b"{'a':1}"),
    *(b'{"max_tokens":' + b"9" * 100_000 + b"}", b'{"model":"\\ud800"}', b'{"model":"\\u0000"}'),
    *(
        b'{"model":"mock","messages":[' + b"{}," * 50_000 + b"{}]}",
        b'{"model":"\xff\xfe"}',
        b"\xff",
    ),
    *(
        b'{"model":"mock","messages":' + b'[{"content":' * 3000 + b"1" + b"}]" * 3000 + b"}",
        b"\x1f\x8b\x08",
    ),
    *(
        b'{"model":"mock"}trailing',
        b'{"model":"mock",}',
        b"// comment\n{}",
        b'{"model":"mo\nck"}',
        b"-",
    ),
    *(
        b'{"' + b"k" * 200_000 + b'":1}',
        b'{"stream":"true"}',
        b"--x\r\ncontent-disposition: form-data",
    ),
)
ADMIN = (
    (b"POST", b"/admin/workers", {"url": "http://127.0.0.1:1", "name": "x"}),
    (b"PUT", b"/admin/policy", {"policy": "lbgr"}),
    (b"POST", b"/admin/workers/nobody/drain", {}),
    (b"DELETE", b"/admin/workers/nobody", {}),
)
URLS = (
    *(
        "file:///etc/passwd",
        "http://",
        "http://[::1",
        "http://127.0.0.1:99999",
        "http://a:b@c",
        "ftp://x",
    ),
    *(
        "http://169.254.169.254/latest",
        "http://127.0.0.1:80\r\nx: y",
        "http://\ud800",
        "http://x#y",
        "//x",
    ),
    *(
        "http://127.1",
        "http://0x7f000001",
        "http://localhost:0",
        "http://xn--",
        "http://" + "a" * 5000,
    ),
)


def good(rng: random.Random) -> dict[str, Any]:
    """Return a good request."""
    return {
        "model": "mock",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"number {rng.random()}"},
        ],
        "max_tokens": rng.choice((1, 16, 100)),
        "stream": rng.random() < 0.5,
        "user": "somebody",
    }


def odd_fields(rng: random.Random) -> bytes:
    """Put odd values where others belong."""
    body = good(rng)
    for _ in range(rng.choice((1, 1, 2, 4))):
        body[rng.choice(FIELDS)] = rng.choice(ODD)
    return json.dumps(body).encode()


def odd_messages(rng: random.Random) -> bytes:
    """Spoil the messages."""
    body = good(rng)
    message = {"role": rng.choice(("user", *ODD)), "content": rng.choice(("hello", *ODD))}
    message[rng.choice(("role", "content", "tool_calls", "name"))] = rng.choice(ODD)
    parts = [
        {"type": "text", "text": rng.choice(ODD)},
        {"type": "image_url", "image_url": rng.choice(ODD)},
    ]
    if rng.random() < 0.4:
        message["content"] = rng.choices((*parts, rng.choice(ODD)), k=rng.randint(1, 6))
    body["messages"] = rng.choices(
        (message, rng.choice(ODD), {"content": None}), k=rng.randint(1, 5)
    )
    return json.dumps(body).encode()


def mutated(rng: random.Random) -> bytes:
    """Change the bytes of a good body."""
    data = bytearray(json.dumps(good(rng)).encode())
    for _ in range(rng.choice((1, 2, 5))):
        at = rng.randrange(len(data))
        kind = rng.randrange(3)
        if kind == 0:
            data[at] = rng.randrange(256)
        elif kind == 1:
            del data[at : at + rng.randint(1, 10)]
        else:
            data[at:at] = rng.choice(
                (b"[", b'"', b"\\", b"{", b"\0", b"\xff", b",", b"\\u12", b"1e9")
            )
    return bytes(data)


def cut(rng: random.Random) -> bytes:
    """Cut a good body short."""
    data = json.dumps(good(rng)).encode()
    return data[: rng.randrange(len(data))]


def raw(rng: random.Random) -> bytes:
    """Take one of the worst."""
    return rng.choice(RAW)


MAKERS: tuple[tuple[Callable[[random.Random], bytes], int], ...] = (
    (odd_fields, 35),
    (odd_messages, 25),
    (mutated, 20),
    (cut, 8),
    (raw, 12),
)


def cases(n: int, rng: random.Random, *, token: bytes) -> Iterator[Case]:
    """Yield ``n`` cases, a twentieth of them for the admin API, which ``token`` opens."""
    makers, weights = zip(*MAKERS, strict=True)
    for maker in rng.choices(makers, weights, k=n):
        if rng.random() < 0.05:
            yield administrative(maker(rng), rng, token)
            continue
        target = rng.choice(PATHS).encode()
        data = request(maker(rng), target=target)
        yield Case(f"body {maker.__name__}", (data,), n_answers=1)


def administrative(body: bytes, rng: random.Random, token: bytes) -> Case:
    """Return a request to the admin API; none that would succeed in taking a worker away."""
    method, target, form = rng.choice(ADMIN)
    if rng.random() < 0.8:
        spoilt = dict(form)
        for name in spoilt:
            spoilt[name] = rng.choice((*ODD, *URLS))
        body = json.dumps(spoilt).encode()
    key = (b"authorization: Bearer " + token,) if rng.random() < 0.9 else ()
    return Case(
        "body admin", (request(body, method=method, target=target, fields=key),), n_answers=1
    )
