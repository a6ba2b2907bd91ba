"""A server over a tiny engine, and a client of it, on one event loop."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from tests.serve.engine.models import CONFIG, tiny_engine

from triskele.model import ByteTokenizer
from triskele.serve.chat_template import ChatTemplate
from triskele.serve.engine import Engine
from triskele.serve.engine.driver import Driver
from triskele.serve.engine.server import EngineServer, Served
from triskele.serve.http import Origin, Response, fetch

SERVED = Served(
    name="tiny",
    codec=ByteTokenizer(),
    template=ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}"),
    page_size=4,
    n_pages=64,
    max_seq_len=64,
)


@dataclass(frozen=True, slots=True)
class Site:
    """What a test of the server works with."""

    server: EngineServer
    driver: Driver
    engine: Engine
    origin: Origin

    async def get(self, target: str) -> Response:
        return await fetch(self.origin, "GET", target)

    async def post(self, target: str, **fields: Any) -> Response:
        return await fetch(self.origin, "POST", target, body=json.dumps(fields).encode())

    async def post_json(self, target: str, **fields: Any) -> Any:
        answer = await self.post(target, **fields)
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    async def stream(self, target: str, **fields: Any) -> list[Any]:
        """Post and return the events of the stream."""
        answer = await self.post(target, stream=True, **fields)
        assert answer.status == 200, answer.body
        assert answer.header(b"content-type") == b"text/event-stream"
        *blocks, done, rest = answer.body.decode().split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        return [json.loads(block.removeprefix("data: ")) for block in blocks]


@asynccontextmanager
async def serving(engine: Engine, **changes: Any) -> AsyncIterator[Site]:
    driver = Driver(engine)
    server = EngineServer(driver, replace(SERVED, **changes), now=lambda: 1234.5)
    await server.start("127.0.0.1", 0)
    origin = Origin(f"http://127.0.0.1:{server.port}")
    try:
        yield Site(server, driver, engine, origin)
    finally:
        origin.close()
        await server.drain(5.0)


def serve(
    use: Callable[[Site], Coroutine[Any, Any, None]],
    engine: Engine | None = None,
    **changes: Any,
) -> Engine:
    """Run a coroutine against a server; returns the engine as it was left."""
    engine = engine or tiny_engine(config=CONFIG)

    async def main() -> None:
        async with asyncio.timeout(60), serving(engine, **changes) as served:
            await use(served)

    asyncio.run(main())
    return engine
