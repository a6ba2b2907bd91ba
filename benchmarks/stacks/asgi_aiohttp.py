"""A plain ASGI application on uvicorn, with aiohttp's client."""

import sys
from typing import Any

import aiohttp

from benchmarks.stacks.asgi_server import serve


class Proxy:
    """Sends every request to one upstream."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass on a request, and its answer as it comes."""
        if scope["type"] != "http":
            await self.live(receive, send)
            return
        pieces, more = [], True
        while more:
            message = await receive()
            pieces.append(message.get("body", b""))
            more = message.get("more_body", False)
        assert self.session is not None
        async with self.session.request(
            scope["method"],
            self.upstream + scope["path"],
            data=b"".join(pieces),
            headers={"content-type": "application/json"},
        ) as answer:
            kept = (b"content-type", b"content-length")
            headers = [(k.lower(), v) for k, v in answer.raw_headers if k.lower() in kept]
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            async for piece in answer.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})

    async def live(self, receive: Any, send: Any) -> None:
        """Open the client when the server starts, close it when it ends."""
        await receive()
        connector = aiohttp.TCPConnector(limit=0)
        self.session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.session.close()
        await send({"type": "lifespan.shutdown.complete"})


if __name__ == "__main__":
    serve(Proxy(sys.argv[1]))
