import pytest
from tests.evaluate.collect.calls import entry

from triskele.evaluate.collect.tokens import FRAME_TOKENS, TokenCounter, estimate_tokens


def test_an_ascii_character_is_a_quarter_of_a_token_and_another_is_one() -> None:
    assert estimate_tokens("abcd" * 10) == 10 + FRAME_TOKENS
    assert estimate_tokens("東京都") == 3 + FRAME_TOKENS
    assert estimate_tokens("abcd", None, "ü" * 4) == 5 + 2 * FRAME_TOKENS
    assert estimate_tokens() == 0


def test_estimates_are_corrected_by_what_was_counted() -> None:
    counter = TokenCounter()
    assert counter.scale("a", "answer") == 1.0
    for _ in range(100):
        counter.learn(entry(estimated_in=100, tokens_in=150, tokens_out=30))
    assert counter.scale("a", "answer") == pytest.approx(1.5, abs=0.02)
    assert counter.scale("a", "verdict") == counter.scale("b", "answer") == 1.0
    assert counter.reply("a", "answer", most=1024) == pytest.approx(30, abs=5)


def test_a_reply_is_never_expected_to_be_longer_than_it_may_be() -> None:
    counter = TokenCounter()
    assert counter.reply("a", "answer", most=50) == 50
    counter.learn(entry(tokens_out=500))
    assert counter.reply("a", "answer", most=50) == 50


def test_estimates_teach_nothing() -> None:
    counter = TokenCounter()
    counter.learn(entry(is_counted=False, estimated_in=100, tokens_in=500))
    counter.learn(entry(status="lost", estimated_in=100, tokens_in=500))
    assert counter.scale("a", "answer") == 1.0
