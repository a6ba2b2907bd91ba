from dataclasses import replace

from triskele.evaluate.collect.request import Dialect, Request, body_of, other_dialect

REQUEST = Request(model="m", prompt="Why?", system="Be brief.", max_tokens=9, temperature=0.5)


def test_a_body_holds_what_was_asked_and_nothing_else() -> None:
    assert body_of(REQUEST, Dialect()) == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Why?"},
        ],
        "max_tokens": 9,
        "temperature": 0.5,
    }
    assert body_of(Request(model="m", prompt="Why?", max_tokens=9), Dialect()) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Why?"}],
        "max_tokens": 9,
    }


def test_the_key_changes_with_all_that_the_reply_may_depend_on() -> None:
    others = [
        replace(REQUEST, model="n"),
        replace(REQUEST, prompt="How?"),
        replace(REQUEST, system=None),
        replace(REQUEST, max_tokens=10),
        replace(REQUEST, temperature=None),
    ]
    keys = {REQUEST.key("m"), REQUEST.key("n"), *(other.key("m") for other in others)}
    assert len(keys) == 7
    assert replace(REQUEST).key("m") == REQUEST.key("m")


def test_another_dialect_is_tried_once_per_parameter() -> None:
    refusal = "max_tokens Use 'max_completion_tokens' instead."
    first = other_dialect(Dialect(), refusal, REQUEST)
    assert first == Dialect(tokens_parameter="max_completion_tokens")
    assert other_dialect(first, refusal, REQUEST) is None
    second = other_dialect(first, "temperature Only the default is supported", REQUEST)
    assert second is not None
    assert body_of(REQUEST, second).keys() == {"model", "messages", "max_completion_tokens"}
    assert other_dialect(second, "temperature is not supported", REQUEST) is None
    assert other_dialect(Dialect(), "context too long", REQUEST) is None
    assert other_dialect(Dialect(), "temperature", replace(REQUEST, temperature=None)) is None
