"""Records for tests, told apart by number."""

from typing import Any

from triskele.serve.journal import Record


def record(number: int, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "id": str(number),
        "time": 1000.0 + number,
        "endpoint": "/v1/completions",
        "model": "llama",
        "policy": "lbgr",
        "status": 200,
        "outcome": "finished",
        "latency": 0.5,
    }
    return Record(**(fields | changes))


def full(number: int) -> Record:
    return record(
        number,
        worker="w1",
        key="ann",
        session="s",
        error="broken – off\n",
        n_retries=2,
        stream=True,
        n_prompt=900,
        n_cached=512,
        n_output=40,
        predicted_ttft=0.1,
        ttft=0.2,
        predicted_latency=0.3,
        prompt="who? \u2028 \U0001f40c",
        answer="\x00\n",
        decision={"w1": 0.5, "w2": [1, None, "x"], "nested": {"a": True}},
    )
