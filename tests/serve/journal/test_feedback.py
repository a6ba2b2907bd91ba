from math import inf, nan
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triskele.serve.journal import Feedback, append_feedback, read_feedback
from triskele.serve.journal.feedback import FILE

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
said = st.builds(
    Feedback,
    id=texts,
    time=st.floats(0, 4e9),
    score=st.floats(0, 1),
    source=texts,
    comment=st.none() | texts,
)


@given(said)
def test_a_line_says_all_of_it(one: Feedback) -> None:
    line = msgspec.json.encode(one)
    assert b"\n" not in line
    assert msgspec.json.decode(line, type=Feedback) == one


def feedback(number: int, **changes: Any) -> Feedback:
    fields: dict[str, Any] = {"id": str(number), "time": 1000.0 + number, "source": "ann"}
    return Feedback(**(fields | {"score": 0.5} | changes))


def test_what_was_said_is_read_in_order_and_since_a_time(tmp_path: Path) -> None:
    assert list(read_feedback(tmp_path)) == []
    several = [feedback(1), feedback(2, score=None, better_than="1"), feedback(3, comment="no\nso")]
    for each in several:
        append_feedback(tmp_path, each)
    assert list(read_feedback(tmp_path)) == several
    assert list(read_feedback(tmp_path, since=1002.0)) == several[1:]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": None}, "neither"),
        ({"score": 1.5}, "from 0 to 1"),
        ({"score": nan}, "from 0 to 1"),
        ({"time": inf}, "a time"),
        ({"id": ""}, "the id"),
        ({"source": ""}, "a source"),
        ({"better_than": "1"}, "another request"),
    ],
)
def test_what_says_nothing_or_cannot_be_meant_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        feedback(1, **changes)


def test_damaged_lines_are_named_and_passed_over(tmp_path: Path) -> None:
    append_feedback(tmp_path, feedback(1))
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"id":"7","time":1,"score":2,"source":"x"}\n\xff\xfe\n{"id":\n\n')
    append_feedback(tmp_path, feedback(2))
    heard: list[str] = []
    found = list(read_feedback(tmp_path, on_problem=heard.append))
    assert found == [feedback(1), feedback(2)]
    assert [problem.split(":")[0].split()[-1] for problem in heard] == ["2", "3", "4"]


def test_a_field_of_a_later_version_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"id":"1","time":1,"score":1,"source":"x","later":[1]}\n')
    assert len(list(read_feedback(tmp_path))) == 1
