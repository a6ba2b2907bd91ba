import errno
import logging
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.serve.journal.records import full, record

from triskele.serve.journal import Journal, read, to_table, writer
from triskele.serve.journal.segments import Segment

# Appends and flushes for ever, and says up to which record it was told that all is written.
WRITE_FOR_EVER = """
import random, sys
from pathlib import Path
from tests.serve.journal.records import record
from triskele.serve.journal import Journal
directory, number, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)
journal = Journal(directory, max_bytes=20_000, flush_seconds=0.002)
while True:
    for _ in range(rng.randint(1, 60)):
        journal.append(record(number, prompt="x" * rng.choice([0, 0, 0, 3000])))
        number += 1
    if rng.random() < 0.5 and journal.flush():
        print(number, flush=True)
"""
# Writes until the system lets no file grow any more, then gives it room.
WRITE_UNTIL_FULL = """
import resource, sys, time
from pathlib import Path
from tests.serve.journal.records import full
from triskele.serve.journal import Journal
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
journal = Journal(Path(sys.argv[1]), flush_seconds=0.01)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_001, most))
for number in range(300):
    journal.append(full(number))
assert not journal.flush(0.2)
assert "File too large" in journal.error, journal.error
assert journal.n_errors and not journal.n_dropped
assert journal.n_written + journal.n_waiting == 300
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
assert journal.flush()
assert journal.close()
"""


def ids(directory: Path) -> list[int]:
    return [int(one.id) for one in read(directory)]


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def kill_writers(directory: Path, n_deaths: int) -> None:
    rng, number = random.Random(n_deaths), 0
    for seed in range(n_deaths):
        with subprocess.Popen(
            [sys.executable, "-c", WRITE_FOR_EVER, str(directory), str(number), str(seed)],
            stdout=subprocess.PIPE,
        ) as child:
            assert child.stdout is not None
            told = [child.stdout.readline()]
            time.sleep(rng.uniform(0.0, 0.25))
            child.kill()
            told += child.stdout.readlines()
        n_told = int(next(line for line in reversed(told) if line.endswith(b"\n")))
        found = ids(directory)
        assert found == list(range(len(found)))
        assert len(found) >= n_told
        number = len(found)
    journal = Journal(directory, flush_seconds=0.01)
    wait_for(lambda: len(list(directory.glob("*.jsonl"))) == 1)
    assert journal.close()
    assert ids(directory) == list(range(number))
    assert to_table(directory).num_rows == number
    assert not list(directory.glob("*.part"))


def test_whatever_was_flushed_outlives_processes_that_are_killed(tmp_path: Path) -> None:
    kill_writers(tmp_path, 20)


def test_records_are_written_on_their_own_after_a_while_and_read_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "new", flush_seconds=0.01)
    for number in range(2500):
        journal.append(record(number))
    wait_for(lambda: journal.n_written == 2500)
    assert (journal.n_waiting, journal.n_dropped, journal.error) == (0, 0, None)
    assert journal.close()
    assert ids(tmp_path / "new") == list(range(2500))


def test_finished_segments_become_parquet_while_records_come(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_bytes=30_000, flush_seconds=0.005, keep_segments=3)
    for number in range(8000):
        journal.append(record(number, prompt="p"))
        if number % 1000 == 0:
            assert journal.flush()
    assert journal.flush()
    wait_for(lambda: len(list(tmp_path.glob("*.jsonl"))) == 1)
    wait_for(lambda: len(list(tmp_path.glob("*.parquet"))) == 3)
    assert journal.close()
    found = ids(tmp_path)
    assert found == list(range(found[0], 8000))
    assert found[0] > 0


def test_age_finishes_a_segment_too(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_seconds=0.02, flush_seconds=0.005)
    journal.append(record(1))
    wait_for(lambda: list(tmp_path.glob("*.parquet")))
    assert journal.close()
    assert ids(tmp_path) == [1]


def test_two_processes_do_not_write_to_one_directory(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(ValueError, match="expected a journal of our own") as refusal:
        Journal(tmp_path)
    assert "\n" not in str(refusal.value)
    assert journal.close()
    assert Journal(tmp_path).close()


def test_what_has_no_room_is_dropped_and_counted_without_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, flush_seconds=1000.0, n_queued=10)
    for number in range(25):
        journal.append(record(number))
    assert (journal.n_dropped, journal.n_waiting) == (15, 10)
    assert journal.flush()
    monkeypatch.setattr(writer, "MAX_TEXT", 100)
    for number in range(25, 30):
        journal.append(record(number, prompt="x" * 30, answer="y" * 10))
    assert journal.n_dropped == 15 + 3
    assert journal.flush()
    journal.append(record(30, prompt="x" * 99))
    assert journal.n_dropped == 18
    assert journal.close()
    journal.append(record(99))
    assert journal.n_dropped == 19
    assert ids(tmp_path) == [*range(10), 25, 26, 30]


def test_a_record_that_json_cannot_hold_takes_no_other_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path)
    with caplog.at_level(logging.WARNING):
        for one in (record(1), record(2, prompt="\ud800"), record(3, decision={"x": object()})):
            journal.append(one)
        journal.append(record(4))
        assert journal.flush()
    assert (journal.n_dropped, journal.n_waiting, journal.error) == (2, 0, None)
    assert journal.close()
    assert ids(tmp_path) == [1, 4]
    assert len(caplog.records) == 2


def test_a_directory_that_cannot_be_written_to_is_no_reason_not_to_serve(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    directory = tmp_path / "file" / "journal"
    with caplog.at_level(logging.INFO):
        journal = Journal(directory, flush_seconds=0.005)
        assert "Not a directory" in str(journal.error)
        for number in range(5):
            journal.append(record(number))
        wait_for(lambda: journal.n_errors > 3)
        assert (journal.n_waiting, journal.n_dropped) == (5, 0)
        (tmp_path / "file").unlink()
        assert journal.flush()
        wait_for(lambda: journal.error is None)
    assert journal.close()
    assert ids(directory) == list(range(5))
    assert [one.levelname for one in caplog.records] == ["WARNING", "INFO"]


def test_a_disk_that_fills_up_and_has_room_again_costs_nothing(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", WRITE_UNTIL_FULL, str(tmp_path)], check=True)
    assert list(read(tmp_path)) == [full(number) for number in range(300)]


def test_closing_gives_up_in_time_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, flush_seconds=0.01)
    journal.append(record(1))
    assert journal.flush()

    def full_disk(file: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full_disk)
    journal.append(record(2))
    began = time.monotonic()
    assert not journal.close(0.2)
    assert time.monotonic() - began < 10.0
    assert "No space left" in str(journal.error)
    assert ids(tmp_path) == [1]
    wait_for(lambda: not any(one.name == "journal" for one in threading.enumerate()))


def test_parquet_that_cannot_be_made_does_not_keep_lines_from_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PRESS_AGAIN_SECONDS", 0.05)
    journal = Journal(tmp_path, max_bytes=100, flush_seconds=0.005)
    # A directory where the half-made file would be: it can be neither removed nor opened.
    Segment(tmp_path, 1).part.mkdir()
    for number in range(5):
        journal.append(record(number))
        assert journal.flush()
    wait_for(lambda: journal.error is not None)
    Segment(tmp_path, 1).part.rmdir()
    wait_for(lambda: journal.error is None)
    assert list(tmp_path.glob("*.parquet"))
    assert journal.close()
    assert ids(tmp_path) == list(range(5))


def test_an_append_takes_next_to_no_time(tmp_path: Path) -> None:
    journal = Journal(tmp_path, n_queued=1 << 20)
    one, n = record(1), 20_000
    began = time.perf_counter()
    for _ in range(n):
        journal.append(one)
    seconds = (time.perf_counter() - began) / n
    assert journal.close(30.0)
    assert seconds < 1e-4


@pytest.mark.parametrize("limits", [{"flush_seconds": 0.0}, {"n_queued": 0}, {"max_bytes": 0}])
def test_a_journal_that_holds_nothing_is_refused(tmp_path: Path, limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected (to hold|segments)"):
        Journal(tmp_path, **limits)
