"""What is kept of a request, and its line of JSON.

The API key itself is never part of a record, and prompt and answer only where they were asked for.
In a line ``decision`` is JSON in a text, as in the column that it becomes: its parts differ from
router to router.
"""

from math import isfinite
from typing import Any

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request and what became of it.

    Attributes
    ----------
    id
        Of the request, as the client was told.
    time
        Unix time at which it was accepted.
    endpoint, model
        What was asked for.
    worker
        Name of the last worker that had it; ``None`` if none had.
    policy
        Of routing.
    key, session
        Name of the API key, and what ties a conversation together, where there are such.
    status
        HTTP status that the client was answered; 499 when it went away before.
    outcome
        ``finished``, ``refused`` (never sent to a worker), ``failed`` or ``cancelled``.
    error
        What went wrong.
    n_retries
        How many workers were tried after the first.
    stream
        Whether the answer was streamed.
    n_prompt, n_cached, n_output
        Tokens of the prompt, those of them that the worker had in its cache, and of the answer;
        ``None`` where nobody counted.
    predicted_ttft, ttft, predicted_latency, latency
        Seconds to the first token and to the end, from ``time`` on, as predicted and as they were.
    prompt, query, answer
        Text, only when asked for; ``query`` is the last turn of the prompt.
    decision
        What the router weighed, as plain values that JSON can hold.
    """

    id: str
    time: float
    endpoint: str
    model: str
    worker: str | None = None
    policy: str
    key: str | None = None
    session: str | None = None
    status: int
    outcome: str
    error: str | None = None
    n_retries: int = 0
    stream: bool = False
    n_prompt: int | None = None
    n_cached: int | None = None
    n_output: int | None = None
    predicted_ttft: float | None = None
    ttft: float | None = None
    predicted_latency: float | None = None
    latency: float
    prompt: str | None = None
    query: str | None = None
    answer: str | None = None
    decision: dict[str, Any] | None = None


class _Line(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A record as it is written."""

    decision: str | None = None  # type: ignore[assignment]


MAX_COUNT = 1 << 62
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(_Line)


def encode_line(record: Record) -> bytes:
    """Return the line of a record, its end included.

    Raises
    ------
    ValueError
        If a time is no number, a count no column can hold it, or something no JSON.
    """
    if not (isfinite(record.time) and isfinite(record.latency)):
        raise ValueError(f"expected times that are numbers, got {record.time}, {record.latency}")
    counts = (record.status, record.n_retries, record.n_prompt, record.n_cached, record.n_output)
    if any(count is not None and abs(count) > MAX_COUNT for count in counts):
        raise ValueError(f"expected counts of up to {MAX_COUNT}, got {counts}")
    try:
        if record.decision is not None:
            record = msgspec.structs.replace(record, decision=encode_decision(record.decision))
        return _ENCODER.encode(record) + b"\n"
    except (TypeError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise ValueError(f"expected values that JSON can hold: {error}") from None


def decode_line(line: bytes) -> Record | None:
    """Return the record of a line; ``None`` if the line is damaged."""
    try:
        return from_row(msgspec.structs.asdict(_DECODER.decode(line)))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def encode_decision(decision: dict[str, Any]) -> str:
    """Return the text of a decision."""
    return _ENCODER.encode(decision).decode()


def from_row(row: dict[str, Any]) -> Record:
    """Return a record of its fields by name, the decision as text; what is missing is default."""
    if row.get("decision") is not None:
        row["decision"] = msgspec.json.decode(row["decision"])
    return msgspec.convert(row, Record)
