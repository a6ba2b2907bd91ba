from math import inf, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serve.journal.records import full, record

from triskele.serve.journal import Record
from triskele.serve.journal.record import decode_line, encode_line

texts = st.text(st.characters(exclude_categories=["Cs"]))
finite = st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | finite | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
records = st.builds(
    record,
    st.integers(0, 999),
    worker=st.none() | texts,
    prompt=st.none() | texts,
    ttft=st.none() | finite,
    latency=finite,
    n_output=st.none() | st.integers(0, 2**40),
    decision=st.none() | st.dictionaries(texts, plain, max_size=3),
)


@settings(deadline=None)
@given(records)
def test_a_line_says_all_of_a_record(one: Record) -> None:
    line = encode_line(one)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode_line(line) == one


@settings(deadline=None)
@given(records, st.data())
def test_a_line_that_is_cut_is_no_record(one: Record, data: st.DataObject) -> None:
    line = encode_line(one)
    assert decode_line(line[: data.draw(st.integers(0, len(line) - 2))]) is None


@pytest.mark.parametrize("line", [b"", b"\n", b"\0\0\0\n", b"{}\n", b"[]\n", b'{"id": "\xff"}\n'])
def test_what_is_no_record_is_none(line: bytes) -> None:
    assert decode_line(line) is None


def test_a_line_of_a_later_version_is_still_a_record() -> None:
    line = encode_line(full(1)).replace(b"{", b'{"something_new":[1,2],', 1)
    assert decode_line(line) == full(1)


@pytest.mark.parametrize(
    "changes",
    [
        {"time": nan},
        {"latency": inf},
        {"prompt": "\ud800"},
        {"decision": {"x": object()}},
        {"decision": {"x": 2**70}},
        {"decision": {(1, 2): 3}},
        {"n_output": 2**63},
        {"status": -(2**63)},
    ],
)
def test_what_json_cannot_hold_is_refused(changes: dict[str, Any]) -> None:
    try:
        line = encode_line(record(1, **changes))
    except ValueError:
        return
    assert decode_line(line) is not None
    assert "decision" in changes


def test_a_decision_without_end_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["again"] = loop
    with pytest.raises(ValueError, match="JSON can hold"):
        encode_line(record(1, decision=loop))
