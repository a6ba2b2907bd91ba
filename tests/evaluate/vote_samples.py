"""Small files of votes in every form that is read."""

import csv
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

Rows = Sequence[Mapping[str, object]]

FORMS = (".parquet", ".csv", ".jsonl", ".ndjson", ".json", ".csv.gz", ".jsonl.gz")


def write_rows(path: Path, rows: Rows) -> Path:
    """Write rows in the form that the path ends in; a ``.json`` file is one list."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".parquet":
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)
        return path
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    if plain.suffix == ".csv":
        with plain.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
    elif plain.suffix == ".json":
        plain.write_text(json.dumps(rows))
    else:
        plain.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return path


def vote(winner: object = "model_a", **more: object) -> dict[str, object]:
    """Return a row in LMArena's columns."""
    return {"question_id": "q", "model_a": "x", "model_b": "y", "winner": winner} | more
