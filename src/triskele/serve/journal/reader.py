"""Reading a journal, also while it is written.

The order is that of appending, which is the order in which requests ended.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from triskele.serve.journal.columns import SCHEMA, to_batch, to_records
from triskele.serve.journal.record import Record
from triskele.serve.journal.segments import Segment, segments, whole_lines

ROWS_PER_BATCH = 4096


def read(directory: Path, *, since: float | None = None) -> Iterator[Record]:
    """Yield the records that are there when reading begins, and perhaps some that come meanwhile.

    Parameters
    ----------
    directory
        Of a journal.
    since
        Unix time; records of requests accepted before it are left out.

    Raises
    ------
    FileNotFoundError
        If there is no such directory.
    """
    for segment in segments(directory):
        for batch in _batches(segment, since):
            records = to_records(batch) if isinstance(batch, pa.RecordBatch) else batch
            for record in records:
                if since is None or record.time >= since:
                    yield record


def to_table(directory: Path, *, since: float | None = None) -> pa.Table:
    """Return the records of :func:`read` as a table of one row each.

    ``decision`` is JSON text. Columns that an older journal lacks are null.
    """
    tables = [SCHEMA.empty_table()]
    for segment in segments(directory):
        for batch in _batches(segment, since):
            rows = batch if isinstance(batch, pa.RecordBatch) else to_batch(batch)
            tables.append(pa.Table.from_batches([rows]))
    table = pa.concat_tables(tables, promote_options="permissive").select(SCHEMA.names)
    return table if since is None else table.filter(pc.field("time") >= since)


def _batches(segment: Segment, since: float | None) -> Iterator[pa.RecordBatch | list[Record]]:
    """Yield the contents of a segment, in whichever of its files they are now."""
    # It may become Parquet between two looks, and be dropped after that.
    for attempt in (_parquet_batches, _line_batches, _parquet_batches):
        try:
            yield from attempt(segment, since)
        except FileNotFoundError:
            continue
        return


def _line_batches(segment: Segment, _: float | None) -> Iterator[list[Record]]:
    yield from whole_lines(segment.lines)


def _parquet_batches(segment: Segment, since: float | None) -> Iterator[pa.RecordBatch]:
    with segment.parquet.open("rb") as file, parquet.ParquetFile(file) as pressed:
        groups = list(range(pressed.num_row_groups))
        if since is not None:
            groups = [group for group in groups if _may_hold(pressed, group, since)]
        yield from pressed.iter_batches(batch_size=ROWS_PER_BATCH, row_groups=groups)


def _may_hold(pressed: parquet.ParquetFile, group: int, since: float) -> bool:
    """Tell by its statistics whether a row group has anything from ``since`` on."""
    at = pressed.schema_arrow.get_field_index("time")
    statistics = pressed.metadata.row_group(group).column(at).statistics
    return statistics is None or not statistics.has_min_max or bool(statistics.max >= since)
