import pytest

from triskele.serve.engine import SamplingParams


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"max_tokens": 0}, "max_tokens must be at least 1, got 0"),
        ({"temperature": -0.1}, r"temperature must be in \[0, 100\], got -0.1"),
        ({"temperature": float("nan")}, "got nan"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"top_p": 0.0}, r"top_p must be in \(0, 1\]"),
        ({"top_p": 1.1}, r"top_p must be in \(0, 1\]"),
        ({"min_p": 1.1}, "min_p must be"),
        ({"presence_penalty": 2.1}, "presence_penalty must be"),
        ({"frequency_penalty": -2.1}, "frequency_penalty must be"),
        ({"logit_bias": {3: 101}}, "logit_bias must be"),
        ({"logit_bias": {-3: 1}}, "tokens of logit_bias must be at least 0, got -3"),
        ({"logprobs": 65}, "logprobs must be"),
        ({"stop": ("a", "")}, "stop must be texts that are not empty"),
        ({"stop": ("a" * 257,)}, "stop must be at most 256 characters each, got 257"),
        ({"logit_bias": dict.fromkeys(range(1025), 1.0)}, "logit_bias must be at most 1024"),
        ({"stop": ("a",) * 65}, "stop must be at most 64 texts"),
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        SamplingParams(**wrong)  # type: ignore[arg-type]


def test_greedy_is_temperature_zero() -> None:
    assert SamplingParams(temperature=0).is_greedy
    assert not SamplingParams().is_greedy


def test_what_changes_logits_says_so() -> None:
    assert not SamplingParams(top_p=0.5, temperature=0.3).changes_logits
    assert SamplingParams(presence_penalty=0.1).changes_logits
    assert SamplingParams(logit_bias={1: 1.0}).changes_logits
