import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.evaluate.collect.calls import entry

from triskele.evaluate.collect.ledger import Entry, Ledger, Settled, read_entries


class LedgerMachine(RuleBasedStateMachine):
    """A ledger that is written, torn and opened again never forgets a finished line."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(mkdtemp())
        self.path = self.folder / "ledger.jsonl"
        self.ledger = Ledger(self.path)
        self.expected: list[Entry] = []

    @rule(
        number=st.integers(0, 5),
        status=st.sampled_from(("done", "failed", "lost")),
        text=st.text(max_size=20),
        cost=st.integers(0, 9),
    )
    def append(self, number: int, status: str, text: str, cost: int) -> None:
        made = entry(f"k{number}", status=status, text=text, tokens_in=cost)
        if self.ledger.settled.done(made.key) is not None:
            return
        self.ledger.append(made)
        self.expected.append(made)

    @rule()
    def open_again(self) -> None:
        self.ledger.close()
        self.ledger = Ledger(self.path)

    @rule(share=st.floats(0, 1, exclude_max=True))
    def die_while_writing(self, share: float) -> None:
        made = entry("torn", text="half a line, with ü")
        before = self.path.read_bytes()
        self.ledger.append(made)
        line = self.path.read_bytes()[len(before) :]
        self.ledger.close()
        # Without its end alone, the line would still count.
        torn = line[: int(share * (len(line) - 1))]
        self.path.write_bytes(before + torn)
        assert read_entries(self.path) == self.expected
        self.ledger = Ledger(self.path)

    @rule()
    def leave_zeros_after_a_power_cut(self) -> None:
        self.ledger.close()
        with self.path.open("ab") as file:
            file.write(bytes(100))
        self.ledger = Ledger(self.path)

    @invariant()
    def nothing_is_forgotten(self) -> None:
        assert list(self.ledger) == self.expected
        self.ledger.check()
        assert read_entries(self.path) == self.expected
        settled = {made.key for made in self.expected if made.status != "lost"}
        for number in range(6):
            assert (self.ledger.settled.get(f"k{number}") is not None) == (f"k{number}" in settled)

    def teardown(self) -> None:
        self.ledger.close()
        shutil.rmtree(self.folder)


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)


def test_what_was_done_stays_and_what_failed_may_still_be_done() -> None:
    settled = Settled([entry("a", status="failed"), entry("b", status="lost")])
    assert settled.get("a") is not None
    assert settled.done("a") is None
    assert settled.get("b") is None
    settled.add(entry("a", text="late"))
    settled.add(entry("a", status="failed"))
    done = settled.done("a")
    assert done is not None
    assert done.text == "late"


def test_a_whole_last_line_without_its_end_counts(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.append(entry("a"))
    path.write_bytes(path.read_bytes()[:-1])
    with Ledger(path) as ledger:
        ledger.append(entry("b"))
        assert [made.key for made in ledger] == ["a", "b"]
        ledger.check()


def test_a_broken_line_in_the_middle_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.append(entry("a"))
    text = path.read_text() + "{}\n" + path.read_text()
    path.write_text(text)
    for read in (Ledger, read_entries):
        with pytest.raises(ValueError, match=r"ledger\.jsonl, line 2"):
            read(path)
    assert path.read_text() == text


def test_two_cannot_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path), pytest.raises(ValueError, match="another process is writing"):
        Ledger(path)
    Ledger(path).close()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    script = (
        "import os, pathlib, sys; from triskele.evaluate.collect.ledger import Ledger; "
        "ledger = Ledger(pathlib.Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)]).returncode == -9
    Ledger(path).close()


def test_a_full_disk_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.append(entry("a"))
        before = path.read_bytes()
        write = os.write

        def half(number: int, line: bytes) -> int:
            if len(line) < 100:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(number, bytes(line)[: len(line) // 2])

        monkeypatch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space left"):
            ledger.append(entry("b"))
        monkeypatch.undo()
        assert path.read_bytes() == before
        ledger.check()
        ledger.append(entry("b"))
        ledger.check()


def test_every_line_is_on_the_disk_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        monkeypatch.setattr(os, "fsync", lambda number: synced.append(path.stat().st_size))
        for number in range(3):
            ledger.append(entry(str(number)))
    assert len(synced) == 3
    assert synced == sorted(set(synced))
    assert synced[-1] == path.stat().st_size


def test_the_same_is_not_written_twice(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.append(entry("a"))
        with pytest.raises(AssertionError, match="asked twice"):
            ledger.append(entry("a"))


def test_a_ledger_that_is_not_there_has_no_entries(tmp_path: Path) -> None:
    assert read_entries(tmp_path / "none.jsonl") == []
    assert list(tmp_path.iterdir()) == []
