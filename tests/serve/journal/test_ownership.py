import os
import subprocess
import sys
from pathlib import Path

import pytest

from triskele.serve.journal.ownership import LOCK, Ownership

HOLD = """
import sys
from pathlib import Path
from triskele.serve.journal.ownership import Ownership
one = Ownership(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_one_is_refused_until_the_first_gives_up(tmp_path: Path) -> None:
    first = Ownership(tmp_path)
    with pytest.raises(ValueError, match=f"process {os.getpid()} writes to {tmp_path}$"):
        Ownership(tmp_path)
    first.give_up()
    Ownership(tmp_path).give_up()


def test_the_lock_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(ValueError, match=f"process {child.pid} writes to"):
            Ownership(tmp_path)
        child.kill()
        child.wait()
    Ownership(tmp_path).give_up()


def test_an_owner_that_left_no_name_is_another_process(tmp_path: Path) -> None:
    first = Ownership(tmp_path)
    (tmp_path / LOCK).write_bytes(b"")
    with pytest.raises(ValueError, match="another process writes to"):
        Ownership(tmp_path)
    first.give_up()


def test_a_directory_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Ownership(tmp_path / "none")
