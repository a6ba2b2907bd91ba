import json
from math import inf

import pytest

from triskele.serve.routing.answer_lengths import N_KINDS, AnswerLengths


def test_answers_are_averaged_by_class() -> None:
    lengths = AnswerLengths(default=99.0)
    for n_output in (10, 20, 60):
        lengths.observe("code", n_output)
    lengths.observe("chat", 7)
    assert lengths.expect("code") == pytest.approx(30.0)
    assert lengths.expect("chat") == 7.0
    assert lengths.expect("poem") == 99.0


def test_answers_that_grow_longer_are_followed() -> None:
    lengths = AnswerLengths(weight=0.05)
    for _ in range(1000):
        lengths.observe("", 10)
    for _ in range(20):
        lengths.observe("", 110)
    assert lengths.expect("") == pytest.approx(110 - 100 * 0.95**20)


def test_restored_lengths_are_the_same() -> None:
    lengths, again = AnswerLengths(), AnswerLengths()
    for n_output in (1, 5, 9):
        lengths.observe("a", n_output)
    again.restore(json.loads(json.dumps(lengths.state())))
    for one in (lengths, again):
        one.observe("a", 100)
    assert again.expect("a") == lengths.expect("a") < inf


def test_of_too_many_kinds_the_one_seen_longest_ago_is_forgotten() -> None:
    lengths = AnswerLengths(default=99.0)
    for number in range(N_KINDS):
        lengths.observe(str(number), 7)
    lengths.observe("0", 7)
    lengths.observe("new", 7)
    assert [lengths.expect(kind) for kind in ("0", "1", "2", "new")] == [7, 99, 7, 7]
    again = AnswerLengths(default=99.0)
    again.restore(json.loads(json.dumps(lengths.state())))
    again.observe("newer", 7)
    assert [again.expect(kind) for kind in ("0", "2", "3")] == [7, 99, 7]
