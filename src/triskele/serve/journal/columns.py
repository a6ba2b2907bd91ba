"""Records as columns of Arrow and back."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from triskele.serve.journal.record import Record, encode_decision, from_row

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("time", pa.float64(), nullable=False),
        pa.field("endpoint", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("worker", pa.string()),
        pa.field("policy", pa.string(), nullable=False),
        pa.field("key", pa.string()),
        pa.field("session", pa.string()),
        pa.field("status", pa.int64(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("n_retries", pa.int64(), nullable=False),
        pa.field("stream", pa.bool_(), nullable=False),
        pa.field("n_prompt", pa.int64()),
        pa.field("n_cached", pa.int64()),
        pa.field("n_output", pa.int64()),
        pa.field("predicted_ttft", pa.float64()),
        pa.field("ttft", pa.float64()),
        pa.field("predicted_latency", pa.float64()),
        pa.field("latency", pa.float64(), nullable=False),
        pa.field("prompt", pa.large_string()),
        pa.field("query", pa.large_string()),
        pa.field("answer", pa.large_string()),
        pa.field("decision", pa.large_string()),
    ]
)


def to_batch(records: Sequence[Record]) -> pa.RecordBatch:
    """Return records as rows of ``SCHEMA``."""
    columns = []
    for field in SCHEMA:
        values = [getattr(record, field.name) for record in records]
        if field.name == "decision":
            values = [None if value is None else encode_decision(value) for value in values]
        columns.append(pa.array(values, field.type))
    return pa.record_batch(columns, schema=SCHEMA)


def to_records(batch: pa.RecordBatch) -> Iterator[Record]:
    """Yield the rows of a batch; columns that it lacks are taken as their defaults."""
    names = [name for name in batch.schema.names if name in SCHEMA.names]
    columns = [batch.column(name).to_pylist() for name in names]
    for values in zip(*columns, strict=True):
        yield from_row(dict(zip(names, values, strict=True)))
