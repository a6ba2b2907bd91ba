"""The house's own HTTP room, ``triskele.serve.http``: what the gateway stands on."""

import asyncio
import json
import sys

import uvloop

from triskele.serve.http import Flow, Headers, HttpRequest, HttpServer, Origin, Reply


class Passing:
    """Writes an answer to a reply as it comes."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply

    def on_head(self, status: int, headers: Headers, length: int | None, flow: Flow) -> None:
        """Begin the answer."""
        kept = [field for field in headers if field[0] == b"content-type"]
        self.reply.start(status, kept, length=length)

    def on_body(self, data: bytes) -> None:
        """Pass on a piece."""
        self.reply.write(data)


async def serve(upstream: str) -> None:
    """Listen until the process is ended."""
    origin = Origin(upstream)

    async def proxy(request: HttpRequest, reply: Reply) -> None:
        head = b"%b %b HTTP/1.1\r\nhost: %b\r\ncontent-type: application/json\r\n"
        head += b"content-length: %d\r\n\r\n"
        head %= (
            request.method.encode(),
            request.path.encode(),
            origin.host_header,
            len(request.body),
        )
        await origin.exchange(head, request.body, Passing(reply))
        reply.end()

    server = HttpServer(proxy)
    await server.start("127.0.0.1", 0)
    print(json.dumps({"port": server.port}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1]))
