import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from triskele.serve.journal.lines import append_line, numbered_lines


def test_lines_come_back_with_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.jsonl"
    assert list(numbered_lines(path)) == []
    for line in (b"one", b"two"):
        append_line(path, line)
    assert list(numbered_lines(path)) == [(1, b"one"), (2, b"two")]
    assert path.stat().st_mode & 0o777 == 0o600


def test_several_lines_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one line"):
        append_line(tmp_path / "file", b"one\ntwo")


def test_a_torn_line_is_not_read_and_spoils_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one\ntw")
    assert list(numbered_lines(path)) == [(1, b"one")]
    append_line(path, b"three")
    assert list(numbered_lines(path)) == [(1, b"one"), (2, b"tw"), (3, b"three")]


def test_a_full_disk_leaves_nothing_of_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    append_line(path, b"one")
    write, room = os.write, [2]

    def little(file: int, data: memoryview) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        n = write(file, data[: room[0]])
        room[0] -= n
        return n

    monkeypatch.setattr(os, "write", little)
    with pytest.raises(OSError, match="No space"):
        append_line(path, b"two")
    monkeypatch.undo()
    assert path.read_bytes() == b"one\n"


def test_many_writers_never_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def write(name: str) -> None:
        for number in range(50):
            append_line(path, f"{name} {number} {'x' * 5000}".encode())

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [line.decode().split() for _, line in numbered_lines(path)]
    assert len(lines) == 200
    assert all(len(words[2]) == 5000 for words in lines)
    assert [int(words[1]) for words in lines if words[0] == "a"] == list(range(50))


def test_a_writer_that_is_killed_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "file"
    script = f"""
from pathlib import Path
from triskele.serve.journal.lines import append_line
number = 0
while True:
    append_line(Path({str(path)!r}), b"%d " % number + b"x" * 100_000)
    number += 1
    print(number, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(5):
            writer.stdout.readline()
        writer.kill()
    append_line(path, b"after")
    lines = [line for _, line in numbered_lines(path)]
    whole = [line for line in lines if len(line.split(b" ")[-1]) == 100_000]
    assert [int(line.split()[0]) for line in whole] == list(range(len(whole)))
    assert len(whole) >= 5
    assert lines[-1] == b"after"
