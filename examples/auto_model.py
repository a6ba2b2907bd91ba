"""Requests for "auto": a table of capabilities chooses between two models. A second, CPU."""

import asyncio
import json
import tempfile
from pathlib import Path

from triskele.serve.gateway import Gateway, Settings
from triskele.serve.gateway.choosing import Choosing
from triskele.serve.http import Application, HttpRequest, HttpServer, Origin, Reply, fetch
from triskele.serve.routing.capability_table import CapabilityTable, Shelf, table_of
from triskele.serve.routing.query_embedding import HashedWords

EASY, HARD = "Translate this sentence into Polish", "Prove this theorem by induction"
MODELS, PRICES = ("small", "large"), (1.0, 8.0)


def toy_worker(model: str) -> Application:
    """Return what serves one model, which answers with its name."""

    async def answer(request: HttpRequest, reply: Reply) -> None:
        if request.method == "GET":
            said = {"data": [{"id": model, "object": "model"}]}
        else:
            said = {"choices": [{"message": {"role": "assistant", "content": f"{model} here"}}]}
        reply.send(200, json.dumps(said).encode())

    return answer


def known() -> CapabilityTable:
    """Return a table: both are good near EASY, only the large one near HARD; `loop` fits these."""
    points = [HashedWords(512).embed(text) for text in (EASY, HARD)]
    weights = [[2.0, 2.0], [-2.0, 2.0]]  # log odds, by landmark and model
    return table_of(MODELS, prices=PRICES, bias=[0, 0], points=points, gamma=3.0, weights=weights)


async def main(folder: Path) -> None:
    """Publish the table, and ask four questions."""
    Shelf(folder).publish(known())
    gateway = Gateway(Settings(choosing=Choosing(embed_seconds=0.0)), capability=folder)
    servers = {model: HttpServer(toy_worker(model)) for model in MODELS}
    for model, server in servers.items():
        await server.start("127.0.0.1", 0)
        gateway.add(f"http://127.0.0.1:{server.port}", model)
    await gateway.start("127.0.0.1", 0)
    await gateway.ready(n_workers=len(MODELS))
    client = Origin(f"http://127.0.0.1:{gateway.port}")
    for text in (f"{EASY}: the shop is closed", f"{HARD}: n < 2^n", EASY, HARD):
        body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": text}]})
        answer = await fetch(client, "POST", "/v1/chat/completions", body=body.encode())
        print(json.loads(answer.body)["choices"][0]["message"]["content"], text, sep="   ")
    client.close()
    for served in (gateway, *servers.values()):
        await served.drain(5.0)


with tempfile.TemporaryDirectory() as temporary:
    asyncio.run(main(Path(temporary)))
