"""Starlette on uvicorn, with httpx's client."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from benchmarks.stacks.asgi_server import serve


def application(upstream: str) -> Starlette:
    """Return an application that sends every request to one upstream."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    client = httpx.AsyncClient(base_url=upstream, limits=limits, timeout=600, trust_env=False)

    async def handle(request: Request) -> Response:
        kind = request.headers.get("content-type", "application/json")
        asked = client.build_request(
            request.method,
            request.url.path,
            content=await request.body(),
            headers={"content-type": kind},
        )
        answer = await client.send(asked, stream=True)
        kind = answer.headers["content-type"]
        if "content-length" in answer.headers:
            return Response(await answer.aread(), answer.status_code, media_type=kind)
        return StreamingResponse(
            answer.aiter_raw(),
            answer.status_code,
            media_type=kind,
            background=BackgroundTask(answer.aclose),
        )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with client:
            yield

    route = Route("/{rest:path}", handle, methods=["GET", "POST"])
    return Starlette(routes=[route], lifespan=lifespan)


if __name__ == "__main__":
    serve(application(sys.argv[1]))
