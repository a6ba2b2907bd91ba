import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triskele.evaluate.collect.judge import (
    JUDGE_PROMPT,
    check_template,
    fill_template,
    read_verdict,
    visible,
)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('{"reason": "B is wrong.", "verdict": "A"}', "A"),
        ('{"verdict":"T"}', "T"),
        ('{"verdict": " b "}', "B"),
        ('```json\n{"reason": "x", "verdict": "B"}\n```', "B"),
        ('```\n{"verdict": "A"}\n```', "A"),
        ('<think>It is {"verdict": "A"}?</think>\n{"verdict": "B"}', "B"),
        ('Let me see.\n\n{"reason": "uses {braces}", "verdict": "A"}', "A"),
        ('{"result": {"verdict": "T"}}', "T"),
        ('{"verdict": "A"}\n{"verdict": "A"}', "A"),
        ('{"verdict": "A"} and that is all', "A"),
        ("I prefer the first. [[A]]", "A"),
        ("Some words\n**Verdict: B**", "B"),
        ("verdict: t", "T"),
    ],
)
def test_a_verdict_is_read(text: str, verdict: str) -> None:
    assert read_verdict(text) == verdict


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "A is better.",
        "The verdict: A is better than B",
        '{"verdict": "C"}',
        '{"verdict": "AB"}',
        '{"verdict": ["A"]}',
        '{"verdict": null}',
        '{"winner": "A"}',
        '{"verdict": "A", "verdict": "B"}',
        '{"verdict": "A"} or rather {"verdict": "B"}',
        '{"verdict": "A"} {"verdict": "C"}',
        '{"verdict": "C"} [[A]]',
        "[[A]] [[B]]",
        "[[C]]",
        '{"verdict": "A',
        '<think>{"verdict": "A"}',
        "[" * 100_000,
        '{"a":' * 1500,
    ],
)
def test_what_is_none_or_more_than_one_is_not_guessed(text: str) -> None:
    assert read_verdict(text) is None


@given(st.text(alphabet='{}[]"ABT:,verdict \n<think/>', max_size=60))
def test_no_text_is_too_strange(text: str) -> None:
    assert read_verdict(text) in (None, "A", "B", "T")


@given(st.text(), st.sampled_from("ABT"))
def test_a_reason_does_not_change_the_verdict(reason: str, letter: str) -> None:
    assert read_verdict(json.dumps({"reason": reason, "verdict": letter})) == letter


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" 42 ", "42"),
        ("<think>hm\n\nhm</think>\n\n42", "42"),
        ("<thinking>hm</thinking>42", "42"),
        ("<think>cut off", ""),
        ("hm, hm\n</think>\n\n42", "42"),
        ("The tag </think> ends a thought.", "The tag </think> ends a thought."),
        ("42, but <think>hm</think>", "42, but <think>hm</think>"),
    ],
)
def test_thoughts_before_an_answer_are_not_part_of_it(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(), st.text(), st.text())
def test_every_text_stands_in_its_place_and_no_answer_holds_the_mark(
    prompt: str, answer_a: str, answer_b: str
) -> None:
    template = "{mark}|{prompt}|{answer_a}|{answer_b}|{other}"
    filled = fill_template(template, prompt=prompt, answer_a=answer_a, answer_b=answer_b)
    mark = filled[:14]
    assert filled == f"{mark}|{prompt}|{visible(answer_a)}|{visible(answer_b)}|{{other}}"
    assert mark not in prompt + answer_a + answer_b


def test_places_within_an_answer_stay_as_they_are() -> None:
    filled = fill_template(JUDGE_PROMPT, prompt="p", answer_a="{answer_b}", answer_b="secret")
    assert filled.count("secret") == 1
    assert "{answer_b}" in filled


def test_our_own_prompt_names_both_answers_and_asks_for_what_is_read() -> None:
    check_template(JUDGE_PROMPT)
    filled = fill_template(JUDGE_PROMPT, prompt="Why?", answer_a="One.", answer_b="Two.")
    assert filled.index("Why?") < filled.index("One.") < filled.index("Two.")
    assert '"verdict"' in filled


def test_a_template_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \{answer_a\} and \{answer_b\} in"):
        check_template("{prompt}")
