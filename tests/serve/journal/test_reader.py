import threading
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from tests.serve.journal.records import full, record

from triskele.serve.journal import Journal, Record, read, to_table
from triskele.serve.journal.columns import SCHEMA, to_batch
from triskele.serve.journal.log import Log
from triskele.serve.journal.record import encode_line
from triskele.serve.journal.segments import Segment, press


def write(directory: Path, number: int, records: list[Record], *, is_pressed: bool) -> None:
    segment = Segment(directory, number)
    segment.lines.write_bytes(b"".join(map(encode_line, records)))
    if is_pressed:
        press(segment)


def test_segments_of_both_kinds_are_read_in_the_order_of_writing(tmp_path: Path) -> None:
    records = [full(number) if number % 3 else record(number) for number in range(9)]
    write(tmp_path, 1, records[:3], is_pressed=True)
    write(tmp_path, 2, records[3:6], is_pressed=False)
    write(tmp_path, 12, records[6:], is_pressed=True)
    assert list(read(tmp_path)) == records
    table = to_table(tmp_path)
    assert table.column("id").to_pylist() == [str(number) for number in range(9)]
    assert table.schema.names == SCHEMA.names
    assert table.slice(1, 1).equals(pa.Table.from_batches([to_batch([records[1]])]))


def test_lines_do_not_count_where_there_is_parquet_of_them(tmp_path: Path) -> None:
    write(tmp_path, 1, [record(1), record(2)], is_pressed=True)
    write(tmp_path, 1, [record(1), record(2)], is_pressed=False)
    assert [one.id for one in read(tmp_path)] == ["1", "2"]
    assert to_table(tmp_path).num_rows == 2


@pytest.mark.parametrize("since", [0.0, 1001.0, 1004.5, 1007.0, 2000.0])
def test_what_came_before_is_left_out(tmp_path: Path, since: float) -> None:
    for number in range(4):
        some = [record(2 * number + 1), record(2 * number)]
        write(tmp_path, number + 1, some, is_pressed=number < 3)
    expected = [number for number in (1, 0, 3, 2, 5, 4, 7, 6) if 1000.0 + number >= since]
    assert [int(one.id) for one in read(tmp_path, since=since)] == expected
    assert list(map(int, to_table(tmp_path, since=since).column("id").to_pylist())) == expected


def test_a_file_of_an_older_version_is_read(tmp_path: Path) -> None:
    older = pa.Table.from_batches([to_batch([full(1)])]).drop_columns(["session", "decision"])
    parquet.write_table(older, Segment(tmp_path, 1).parquet)
    write(tmp_path, 2, [full(2)], is_pressed=True)
    one, two = read(tmp_path)
    assert (one.session, one.decision, one.key) == (None, None, "ann")
    assert two == full(2)
    assert to_table(tmp_path).column("session").to_pylist() == [None, "s"]


def test_a_journal_that_is_not_there_is_an_error_and_an_empty_one_is_not(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(read(tmp_path / "none"))
    assert list(read(tmp_path)) == []
    assert to_table(tmp_path).num_rows == 0


def test_lines_that_become_parquet_between_two_looks_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 1, [record(1)], is_pressed=False)
    write(tmp_path, 2, [record(2)], is_pressed=False)
    look = Path.open

    def late(path: Path, mode: str = "r") -> object:
        if path.suffix == ".parquet" and not path.exists() and Segment(tmp_path, 1).lines.exists():
            try:
                return look(path, mode)
            finally:
                press(Segment(tmp_path, 1))
        return look(path, mode)

    monkeypatch.setattr(Path, "open", late)
    assert [one.id for one in read(tmp_path)] == ["1", "2"]


def test_a_segment_that_is_dropped_while_reading_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, 1, [record(1)], is_pressed=False)
    write(tmp_path, 2, [record(2)], is_pressed=True)
    reading = read(tmp_path)
    assert next(reading).id == "1"
    Segment(tmp_path, 2).parquet.unlink()
    assert list(reading) == []


def test_reading_goes_on_while_lines_are_written_rotated_and_pressed(tmp_path: Path) -> None:
    log = Log(tmp_path, max_bytes=20_000, max_seconds=60.0, keep_segments=None)
    log.open(0.0)
    n_lines, n_written, is_done = 6000, [0], threading.Event()

    def keep_writing() -> None:
        for number in range(n_lines):
            log.write(encode_line(record(number)), 0.0)
            n_written[0] = number + 1
            log.rotate_if_due(0.0)
            if number % 500 == 0:
                log.press()
        is_done.set()

    writing = threading.Thread(target=keep_writing)
    writing.start()
    while not is_done.is_set():
        before = n_written[0]
        ids = [int(one.id) for one in read(tmp_path)]
        assert ids == list(range(len(ids)))
        assert len(ids) >= before
    writing.join()
    log.close()
    assert len(list(read(tmp_path))) == n_lines


def test_what_a_journal_has_flushed_can_be_read_at_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in range(100):
        journal.append(full(number))
    assert journal.flush()
    assert list(read(tmp_path)) == [full(number) for number in range(100)]
    assert journal.close()
