import errno
import io
import logging
import os
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from tests.serve.journal.records import full, record
from tests.serve.journal.test_record import records

from triskele.serve.journal import Record, read
from triskele.serve.journal.record import encode_line
from triskele.serve.journal.segments import (
    Segment,
    press,
    segments,
    truncate_torn,
    whole_lines,
)


def lines(n: int) -> bytes:
    return b"".join(encode_line(full(number)) for number in range(n))


def ids(path: Path, n_bytes: int = 1 << 16) -> list[str]:
    return [one.id for some in whole_lines(path, n_bytes=n_bytes) for one in some]


def test_segments_are_told_by_their_names_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in (
        "journal-0000000010.jsonl",
        "journal-0000000002.parquet",
        "journal-0000000002.jsonl",
        "journal-0000000003.parquet.part",
        "journal-4.jsonl",
        "lock",
        "notes.jsonl",
    ):
        (tmp_path / name).touch()
    assert [segment.number for segment in segments(tmp_path)] == [2, 3, 10]
    assert segments(tmp_path)[0].lines.name == "journal-0000000002.jsonl"


@settings(deadline=None)
@given(st.integers(0, 9), st.integers(0, 200), st.sampled_from([1, 300, 1 << 16]))
def test_a_torn_last_line_is_neither_read_nor_kept(
    tmp_path_factory: pytest.TempPathFactory, n: int, n_torn: int, n_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "x.jsonl"
    path.write_bytes(lines(n) + encode_line(full(n))[:-1][:n_torn])
    assert ids(path, n_bytes) == [str(number) for number in range(n)]
    assert truncate_torn(path) == len(lines(n))
    assert path.read_bytes() == lines(n)


def test_a_line_whose_rest_comes_while_it_is_read_ends_the_reading(tmp_path: Path) -> None:
    first, second, third = (encode_line(record(number)) for number in range(3))

    class Growing(io.RawIOBase):
        """A file at whose end there is more the next time one looks."""

        pieces: ClassVar = [first + second[:46], b"", second[46:], b"", third, b""]

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            piece = self.pieces.pop(0)
            buffer[: len(piece)] = piece
            return len(piece)

    class Opened(type(tmp_path)):  # type: ignore[misc]
        def open(self, *_: object) -> io.BufferedReader:
            return io.BufferedReader(Growing())

    assert ids(Opened(tmp_path)) == ["0"]


def test_a_torn_line_longer_than_a_chunk_is_cut_off_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    for before in (b"", b"{}\n"):
        path.write_bytes(before + b"x" * 200_000)
        assert truncate_torn(path) == len(before)
        assert path.read_bytes() == before


def test_damaged_lines_are_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(encode_line(record(1)) + b"\0\0\n" + encode_line(record(2)))
    with caplog.at_level(logging.WARNING):
        assert ids(path) == ["1", "2"]
    assert [one.getMessage() for one in caplog.records] == [
        f"{path}, line 2 is damaged and left out"
    ]


def test_pressing_makes_parquet_of_lines(tmp_path: Path) -> None:
    segment = Segment(tmp_path, 3)
    segment.lines.write_bytes(lines(2000))
    before = list(read(tmp_path))
    press(segment)
    assert [path.name for path in tmp_path.iterdir()] == [segment.parquet.name]
    assert list(read(tmp_path)) == before
    assert parquet.read_metadata(segment.parquet).num_rows == 2000
    assert segment.parquet.stat().st_mode & 0o077 == 0


def test_a_segment_without_records_becomes_an_empty_file(tmp_path: Path) -> None:
    segment = Segment(tmp_path, 1)
    segment.lines.touch()
    press(segment)
    assert segment.parquet.exists()
    assert list(read(tmp_path)) == []


def test_pressing_that_fails_leaves_the_lines_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = Segment(tmp_path, 1)
    segment.lines.write_bytes(lines(20))
    segment.part.write_bytes(b"left by one that died")

    def full_disk(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space left"):
            press(segment)
    assert [path.name for path in tmp_path.iterdir()] == [segment.lines.name]
    assert len(list(read(tmp_path))) == 20
    press(segment)
    assert [path.name for path in tmp_path.iterdir()] == [segment.parquet.name]
    assert len(list(read(tmp_path))) == 20


@settings(deadline=None)
@given(st.lists(records, min_size=1, max_size=6), st.sampled_from([1, 300, 1 << 16]))
def test_parquet_and_lines_say_the_same(
    tmp_path_factory: pytest.TempPathFactory, some: list[Record], n_bytes: int
) -> None:
    segment = Segment(tmp_path_factory.mktemp("journal"), 1)
    segment.lines.write_bytes(b"".join(map(encode_line, some)))
    assert list(read(segment.directory)) == some
    press(segment, n_bytes=n_bytes)
    assert list(read(segment.directory)) == some


@pytest.mark.parametrize(
    "damaged",
    [
        b"\0\0\0\n",
        b"{}\n",
        b"\n",
        b"[1]\n",
        b'{"id": "half',
        encode_line(record(9)).replace(b"llama", b"\xff\xfe"),
        encode_line(record(9)).replace(b'"status":200,', b""),
        encode_line(record(9)).replace(b"200", b'"200"'),
    ],
)
@pytest.mark.parametrize("n_bytes", [1, 1 << 16])
def test_pressing_leaves_damaged_lines_out_and_keeps_all_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damaged: bytes, n_bytes: int
) -> None:
    segment = Segment(tmp_path, 1)
    after = encode_line(full(2)) if damaged.endswith(b"\n") else b""
    segment.lines.write_bytes(encode_line(full(1)) + damaged + after)
    before = [one.id for one in read(tmp_path)]
    caplog.clear()
    press(segment, n_bytes=n_bytes)
    said = f"{segment.lines}, line 2 is damaged and left out"
    assert [one.getMessage() for one in caplog.records] == [said] * (
        after != b"" and damaged != b"\n"
    )
    assert [one.id for one in read(tmp_path)] == before == ["1", "2"][: 1 + bool(after)]
