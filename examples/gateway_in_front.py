"""A gateway before two workers, all in one process: who answers what. A second, CPU."""

import asyncio
import json
from collections import Counter

from triskele.serve.gateway import Gateway, Settings
from triskele.serve.http import Application, HttpRequest, HttpServer, Origin, Reply, fetch


def toy_worker(name: str) -> Application:
    """Return what answers every chat with a name, later the longer the prompt is."""

    async def answer(request: HttpRequest, reply: Reply) -> None:
        if request.path == "/v1/models":
            reply.send(200, b'{"object": "list", "data": [{"id": "toy", "object": "model"}]}')
        elif request.method == "POST":
            await asyncio.sleep(len(request.body) / 1e5)
            message = {"role": "assistant", "content": f"{name} here"}
            reply.send(200, json.dumps({"choices": [{"message": message}]}).encode())
        else:
            reply.send(404, b"{}")

    return answer


async def main() -> None:
    """Ask for eight turns on three topics."""
    gateway = Gateway(Settings())
    servers = {name: HttpServer(toy_worker(name)) for name in ("north", "south")}
    for name, server in servers.items():
        await server.start("127.0.0.1", 0)
        gateway.add(f"http://127.0.0.1:{server.port}", name)
    await gateway.start("127.0.0.1", 0)
    await gateway.ready(n_workers=2)

    client = Origin(f"http://127.0.0.1:{gateway.port}")
    answered: dict[str, Counter[str]] = {topic: Counter() for topic in ("tides", "moons", "winds")}

    async def ask(topic: str, turn: int) -> None:
        text = f"Of {topic}: " * 200 + f"question {turn}?"
        body = {"model": "toy", "messages": [{"role": "user", "content": text}]}
        headers = [(b"content-type", b"application/json"), (b"x-triskele-explain", b"1")]
        answer = await fetch(
            client, "POST", "/v1/chat/completions", headers=headers, body=json.dumps(body).encode()
        )
        answered[topic][(answer.header(b"x-triskele-worker") or b"nobody").decode()] += 1

    for turn in range(8):
        await asyncio.gather(*(ask(topic, turn) for topic in answered))
    for topic, workers in answered.items():
        print(topic, *(f"{name} {n}" for name, n in workers.most_common()), sep="   ")

    client.close()
    await gateway.drain(5.0)
    await asyncio.gather(*(server.drain(5.0) for server in servers.values()))


asyncio.run(main())
