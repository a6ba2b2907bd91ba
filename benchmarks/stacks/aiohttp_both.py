"""aiohttp's server and aiohttp's client, on uvloop."""

import asyncio
import json
import sys

import aiohttp
import uvloop
from aiohttp import web


class Proxy:
    """Sends every request to one upstream."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self.upstream = upstream
        self.session = session

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass on a request, and its answer as it comes."""
        body = await request.read()
        headers = {"content-type": request.headers.get("content-type", "application/json")}
        url = self.upstream + request.path_qs
        async with self.session.request(request.method, url, data=body, headers=headers) as answer:
            kind = {"content-type": answer.headers["content-type"]}
            if answer.content_length is not None:
                whole = await answer.read()
                return web.Response(status=answer.status, body=whole, headers=kind)
            reply = web.StreamResponse(status=answer.status, headers=kind)
            await reply.prepare(request)
            async for piece in answer.content.iter_any():
                await reply.write(piece)
            await reply.write_eof()
            return reply


async def serve(upstream: str) -> None:
    """Listen until the process is ended."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        application = web.Application(client_max_size=1 << 26)
        application.router.add_route("*", "/{rest:.*}", Proxy(upstream, session).handle)
        runner = web.AppRunner(application, access_log=None, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1]))
