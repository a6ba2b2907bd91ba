"""An endpoint on this machine that answers as told, breaks as told, and remembers who asked what.

It lives in a thread of its own, so that a command that blocks can be tested against it.
"""

import asyncio
import json
import re
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

KEY = "sk-very-secret-0123456789abcdef"
Fault = Callable[[web.Request], Awaitable[web.StreamResponse]]


class MockServer:
    """An OpenAI-compatible endpoint; models answer with their name, judges prefer later names."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.faults: list[Fault] = []
        self.reply: Callable[[dict[str, Any]], str] = reply_to
        self.hold_after: int | None = None
        self.n_most_at_once = 0
        self._n_at_once = 0
        self._held = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "MockServer":
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(30)
        assert not self._thread.is_alive()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def times_asked(self) -> Counter[str]:
        """How often each body came."""
        return Counter(json.dumps(body, sort_keys=True) for body in self.bodies)

    def wait_until_held(self) -> None:
        """Wait until a request is held back."""
        assert self._held.wait(60)

    def release(self) -> None:
        """Hold nothing back any more."""
        self.hold_after = None
        self._loop.call_soon_threadsafe(self._release.set)

    def _serve(self) -> None:
        asyncio.run(self._live())

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing, self._release = asyncio.Event(), asyncio.Event()
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self._port = runner.addresses[0][1]
        self._ready.set()
        await self._closing.wait()
        self._release.set()
        await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        self._n_at_once += 1
        self.n_most_at_once = max(self.n_most_at_once, self._n_at_once)
        try:
            if self.hold_after is not None and len(self.bodies) > self.hold_after:
                self._held.set()
                await self._release.wait()
            if self.faults:
                return await self.faults.pop(0)(request)
            # Others get a turn, so that calls overlap.
            await asyncio.sleep(0)
            return web.json_response(completion(self.reply(body), body))
        finally:
            self._n_at_once -= 1

    async def hang(self, request: web.Request) -> web.StreamResponse:
        """Do not answer until the server closes."""
        await self._release.wait()
        return web.Response(status=500)


def reply_to(body: dict[str, Any]) -> str:
    """Say one's name; as a judge, prefer the answer of the later one."""
    text = str(body["messages"][-1]["content"])
    if not body["model"].startswith("judge"):
        return f"I am {body['model']}."
    said = re.findall(r"I am (\S+)\.", text)
    assert len(said) == 2, text
    verdict = "T" if said[0] == said[1] else "A" if said[0] > said[1] else "B"
    return json.dumps({"reason": "by name", "verdict": verdict})


def completion(text: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return a chat completion, with usage that counts words."""
    n_in = sum(len(str(message["content"]).split()) for message in body["messages"])
    return {
        "object": "chat.completion",
        "model": body["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": n_in, "completion_tokens": len(text.split())},
    }


def status(code: int, message: str = "no", **headers: str) -> Fault:
    """Answer with an error whose message quotes the key, as some endpoints do."""

    async def answer(request: web.Request) -> web.StreamResponse:
        key = request.headers.get("Authorization", "none")
        error = {"error": {"message": f"{message} ({key})"}}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response(error, status=code, headers=named)

    return answer


def body(content: object, code: int = 200) -> Fault:
    """Answer with any JSON."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(content, status=code)

    return answer


async def malformed(request: web.Request) -> web.StreamResponse:
    """Answer with half of some JSON."""
    return web.Response(text='{"choices": [', content_type="application/json")


async def truncated(request: web.Request) -> web.StreamResponse:
    """Answer with fewer bytes than were promised."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"choices"')
    assert request.transport is not None
    request.transport.close()
    return response


async def reset(request: web.Request) -> web.StreamResponse:
    """Reset the connection."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()
