"""A log that may die at any byte: what was written is read once, in order."""

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.serve.journal.records import record

from triskele.serve.journal import read
from triskele.serve.journal.log import Log
from triskele.serve.journal.record import encode_line

Write = Callable[[int, bytes], int]


def lines(numbers: Sequence[int]) -> bytes:
    return b"".join(encode_line(record(number)) for number in numbers)


def ids(directory: Path) -> list[int]:
    return [int(one.id) for one in read(directory)]


def opened(directory: Path, *, max_bytes: int = 1000, keep: int | None = None) -> Log:
    log = Log(directory, max_bytes=max_bytes, max_seconds=60.0, keep_segments=keep)
    log.open(0.0)
    return log


def filled(monkeypatch: pytest.MonkeyPatch, n_bytes: int) -> list[int]:
    """Let the disk have room for so many bytes; returns the room, to be changed."""
    room, write = [n_bytes], os.write

    def limited(file: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        n_done = write(file, data[: room[0]])
        room[0] -= n_done
        return n_done

    monkeypatch.setattr(os, "write", limited)
    return room


def test_segments_are_finished_by_length_and_pressed(tmp_path: Path) -> None:
    log = opened(tmp_path)
    for number in range(20):
        log.write(lines([number]), 0.0)
        log.rotate_if_due(0.0)
    assert len(log.unpressed) == 2
    while log.unpressed:
        log.press()
    assert len(list(tmp_path.glob("*.parquet"))) == 2
    assert len(list(tmp_path.glob("*.jsonl"))) == 1
    assert ids(tmp_path) == list(range(20))
    log.close()
    log.press()


def test_segments_are_finished_by_age_counted_from_their_first_line(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.rotate_if_due(1000.0)
    log.write(lines([1]), 1000.0)
    log.rotate_if_due(1059.0)
    assert not log.unpressed
    log.rotate_if_due(1060.0)
    assert len(log.unpressed) == 1
    log.close()


def test_only_the_newest_segments_are_kept_where_so_many_are_asked_for(tmp_path: Path) -> None:
    log = opened(tmp_path, max_bytes=1, keep=2)
    for number in range(5):
        log.write(lines([number]), 0.0)
        log.rotate_if_due(0.0)
        log.press()
    assert ids(tmp_path) == [3, 4]
    log.write(lines([5]), 0.0)
    log.close()
    assert ids(tmp_path) == [3, 4, 5]


def test_a_log_that_is_opened_again_goes_on_with_its_last_segment(tmp_path: Path) -> None:
    for number in range(3):
        log = opened(tmp_path)
        log.write(lines([number]), 0.0)
        log.close()
    assert len(list(tmp_path.glob("*.jsonl"))) == 1
    assert ids(tmp_path) == [0, 1, 2]


@pytest.mark.parametrize("n_room", [0, 1, 130, 131, 300, 600])
def test_on_a_full_disk_nothing_is_lost_or_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_room: int
) -> None:
    log = opened(tmp_path)
    room = filled(monkeypatch, n_room)
    with pytest.raises(OSError, match="No space left"):
        log.write(lines(range(9)), 0.0)
    log.check()
    assert ids(tmp_path) == list(range(log.n_written))
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            log.write(b"", 0.0)
    room[0] = 1 << 20
    log.write(b"", 0.0)
    assert ids(tmp_path) == list(range(9))
    assert log.n_written == 9
    log.close()


def test_where_a_cut_line_cannot_be_taken_back_it_is_at_the_next_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(tmp_path)
    room, truncate = filled(monkeypatch, 200), os.ftruncate

    def broken(file: int, length: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "ftruncate", broken)
    with pytest.raises(OSError, match="No space left"):
        log.write(lines(range(5)), 0.0)
    monkeypatch.setattr(os, "ftruncate", truncate)
    room[0] = 1 << 20
    log.write(b"", 0.0)
    assert ids(tmp_path) == list(range(5))
    log.close()


def test_a_directory_that_is_removed_is_made_again(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "journal"
    log = opened(directory)
    log.write(lines([1]), 0.0)
    shutil.rmtree(directory)
    log.write(lines([2]), 0.0)
    assert ids(directory) == [2]
    log.close()


def test_a_second_writer_is_refused_and_a_directory_that_is_none_is_tried_again(
    tmp_path: Path,
) -> None:
    log = opened(tmp_path / "a")
    with pytest.raises(ValueError, match="expected a journal of our own"):
        opened(tmp_path / "a")
    log.close()
    (tmp_path / "b").touch()
    other = Log(tmp_path / "b" / "c", max_bytes=1000, max_seconds=60.0, keep_segments=None)
    with pytest.raises(OSError, match="Not a directory"):
        other.open(0.0)
    (tmp_path / "b").unlink()
    other.write(lines([1]), 0.0)
    other.close()
    assert ids(tmp_path / "b" / "c") == [1]


@pytest.mark.parametrize("limits", [(0, 1.0, None), (1, 0.0, None), (1, 1.0, 0)])
def test_segments_of_nothing_are_refused(
    tmp_path: Path, limits: tuple[int, float, int | None]
) -> None:
    n_bytes, seconds, keep = limits
    with pytest.raises(ValueError, match="expected segments of at least a byte"):
        Log(tmp_path, max_bytes=n_bytes, max_seconds=seconds, keep_segments=keep)


class LogMachine(RuleBasedStateMachine):
    """Writes, rotations, pressings and deaths in any order, against a list of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(mkdtemp())
        self.log = opened(self.directory)
        self.written: list[int] = []
        self.n_given = 0

    def give(self, n: int) -> list[int]:
        self.n_given += n
        return list(range(self.n_given - n, self.n_given))

    @rule(n=st.integers(1, 6))
    def write(self, n: int) -> None:
        numbers = self.give(n)
        self.log.write(lines(numbers), 0.0)
        self.written += numbers

    @rule(now=st.sampled_from([0.0, 100.0]))
    def rotate(self, now: float) -> None:
        self.log.rotate_if_due(now)

    @rule()
    def press(self) -> None:
        self.log.press()

    @rule(n_room=st.integers(0, 900), n=st.integers(1, 6))
    def fill_the_disk(self, n_room: int, n: int) -> None:
        numbers, before = self.give(n), self.log.n_written
        with pytest.MonkeyPatch.context() as patch:
            filled(patch, n_room)
            try:
                self.log.write(lines(numbers), 0.0)
            except OSError:
                assert self.log.pending
        self.log.check()
        assert ids(self.directory) == self.written + numbers[: self.log.n_written - before]
        self.log.write(b"", 0.0)
        self.written += numbers

    @rule(n_torn=st.integers(0, 900), n=st.integers(1, 6))
    def die_while_writing(self, n_torn: int, n: int) -> None:
        numbers = self.give(n)
        torn = lines(numbers)[:n_torn]
        active = self.log._active
        assert active is not None
        self.die()
        with active.lines.open("ab") as file:
            file.write(torn)
        self.written += numbers[: torn.count(b"\n")]
        self.come_back()

    @precondition(lambda self: self.log.unpressed)
    @rule(data=st.data())
    def die_while_pressing(self, data: st.DataObject) -> None:
        segment = self.log.unpressed[0]
        kept = segment.lines.read_bytes()
        self.log.press()
        self.die()
        whole = segment.parquet.read_bytes()
        segment.lines.write_bytes(kept)
        if not data.draw(st.booleans(), label="had its name"):
            n_made = data.draw(st.integers(0, len(whole)))
            segment.part.write_bytes(whole[:n_made])
            segment.parquet.unlink()
        self.come_back()

    @rule()
    def close(self) -> None:
        self.log.close()
        self.come_back()

    def die(self) -> None:
        self.log._let_go()

    def come_back(self) -> None:
        assert ids(self.directory) == self.written
        self.log = opened(self.directory)

    @invariant()
    def what_was_written_is_read_once_and_in_order(self) -> None:
        self.log.check()
        assert ids(self.directory) == self.written

    def teardown(self) -> None:
        self.log.close()
        shutil.rmtree(self.directory)


TestAnyDeath = LogMachine.TestCase
TestAnyDeath.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
