import threading
import time
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triskele.loop.verdict import (
    FILE,
    History,
    Verdict,
    alone,
    append_verdict,
    history_of,
    read_verdicts,
)


def test_verdicts_are_read_as_they_were_written(tmp_path: Path) -> None:
    several = [
        Verdict(time=1.0, until=1.0, n=7, reasons=("a", "b"), quarantined={"x": "y"}),
        Verdict(time=2.0, kind="rollback", published=True, version=1, current=2, until=2.0),
    ]
    for verdict in several:
        append_verdict(tmp_path, verdict)
    assert list(read_verdicts(tmp_path)) == several
    with (tmp_path / FILE).open("ab") as file:
        file.write(b"nonsense\n{}\n")
    heard: list[str] = []
    assert list(read_verdicts(tmp_path, on_problem=heard.append)) == several
    assert [problem.split(":")[0].split()[-1] for problem in heard] == ["3", "4"]
    assert list(read_verdicts(tmp_path)) == several


def test_what_is_remembered_follows_from_the_verdicts(tmp_path: Path) -> None:
    assert history_of(tmp_path) == History()
    assert history_of(tmp_path).current_since == -inf
    for verdict in (
        Verdict(time=11.0, since=0.0, until=10.0, published=True, version=1),
        Verdict(time=21.0, since=10.0, until=20.0, refused=True, changed={"m": 15.0}),
        Verdict(time=22.0, kind="amendment", published=True, version=2, current=1),
        Verdict(time=31.0, since=20.0, until=30.0, changed={"n": 25.0}),
    ):
        append_verdict(tmp_path, verdict)
    assert history_of(tmp_path) == History(
        until=30.0, current_since=10.0, refused=((10.0, 20.0),), changed={"m": 15.0, "n": 25.0}
    )
    append_verdict(tmp_path, Verdict(time=40.0, kind="release"))
    assert history_of(tmp_path).refused == ()
    append_verdict(tmp_path, Verdict(time=50.0, kind="rollback", until=50.0))
    assert history_of(tmp_path).until == history_of(tmp_path).current_since == 50.0


@given(st.lists(st.builds(Verdict, time=st.floats(0, 9), until=st.floats(0, 9))))
def test_what_was_looked_at_is_never_new_again(verdicts: list[Verdict]) -> None:
    history = History()
    for verdict in verdicts:
        after = history.after(verdict)
        assert after.until >= history.until
        history = after


def test_a_folder_is_for_one_at_a_time(tmp_path: Path) -> None:
    with alone(tmp_path / "new"), pytest.raises(ValueError, match="another loop"):  # noqa: SIM117
        with alone(tmp_path / "new"):
            pass
    with alone(tmp_path / "new"):
        pass


def test_an_operator_waits_for_a_turn_to_end(tmp_path: Path) -> None:
    begun, ended = threading.Event(), list[str]()

    def turn() -> None:
        with alone(tmp_path):
            begun.set()
            time.sleep(0.2)
            ended.append("turn")

    turning = threading.Thread(target=turn)
    turning.start()
    begun.wait()
    with alone(tmp_path, patience=60.0):
        ended.append("operator")
    turning.join()
    assert ended == ["turn", "operator"]
