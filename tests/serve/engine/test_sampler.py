import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

from triskele.serve.engine.sampler import draw
from triskele.serve.engine.sampling import SamplingParams
from triskele.serve.engine.sequence import Sequence

PROBABILITIES = [0.4, 0.3, 0.15, 0.1, 0.05]
LOGITS = torch.tensor(PROBABILITIES).log()


def sequence(params: SamplingParams, *, seed: int = 0) -> Sequence:
    return Sequence("a", [0], params, seed=seed)


def shares(params: SamplingParams, n: int = 4000) -> list[float]:
    """How often each token is drawn, by many sequences at once."""
    logits = LOGITS.expand(n, -1)
    drawn = draw(logits, [sequence(params, seed=seed) for seed in range(n)])
    counts = Counter(each.token for each in drawn)
    return [counts[token] / n for token in range(len(PROBABILITIES))]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (SamplingParams(), PROBABILITIES),
        (SamplingParams(temperature=0), [1, 0, 0, 0, 0]),
        (SamplingParams(top_k=1), [1, 0, 0, 0, 0]),
        (SamplingParams(top_k=2), [4 / 7, 3 / 7, 0, 0, 0]),
        (SamplingParams(top_k=99), PROBABILITIES),
        (SamplingParams(top_p=0.8), [8 / 17, 6 / 17, 3 / 17, 0, 0]),
        (SamplingParams(top_p=0.01), [1, 0, 0, 0, 0]),
        (SamplingParams(min_p=0.3), [8 / 17, 6 / 17, 3 / 17, 0, 0]),
        (SamplingParams(top_k=3, top_p=0.5), [4 / 7, 3 / 7, 0, 0, 0]),
        (SamplingParams(logit_bias={0: -100.0}), [0, 1 / 2, 1 / 4, 1 / 6, 1 / 12]),
    ],
)
def test_tokens_are_drawn_as_often_as_they_should(
    params: SamplingParams, expected: list[float]
) -> None:
    assert shares(params) == pytest.approx(expected, abs=0.035)


def test_temperature_is_a_power_of_the_probabilities() -> None:
    squares = [p**2 for p in PROBABILITIES]
    expected = [square / sum(squares) for square in squares]
    assert shares(SamplingParams(temperature=0.5)) == pytest.approx(expected, abs=0.035)


def test_what_is_in_the_batch_changes_nothing() -> None:
    kinds = [
        SamplingParams(),
        SamplingParams(temperature=0),
        SamplingParams(top_k=3),
        SamplingParams(top_p=0.7, temperature=2.0),
        SamplingParams(min_p=0.2, logprobs=2),
        SamplingParams(presence_penalty=1.0),
    ]
    logits = torch.randn(60, 50, generator=torch.Generator().manual_seed(0))
    many = [sequence(kinds[n % 6], seed=n) for n in range(60)]
    together = [each.token for each in draw(logits, many)]
    alone = [draw(logits[n : n + 1], [sequence(kinds[n % 6], seed=n)])[0].token for n in range(60)]
    assert together == alone


def test_penalties_are_taken_from_tokens_that_were_seen() -> None:
    params = SamplingParams(temperature=0, frequency_penalty=0.2, presence_penalty=0.1)
    one = sequence(params)
    one.n_seen = {0: 1}
    # 0.3 off: ln 0.4 - 0.3 < ln 0.3.
    assert draw(LOGITS[None], [one])[0].token == 1
    other = sequence(replace(params, frequency_penalty=0.0))
    other.n_seen = {0: 5}
    assert draw(LOGITS[None], [other])[0].token == 0


def test_log_probabilities_are_told_before_bias_and_temperature() -> None:
    asking = SamplingParams(temperature=0, logit_bias={3: 50.0}, logprobs=2)
    silent = SamplingParams(temperature=0)
    told, untold = draw(LOGITS.expand(2, -1), [sequence(asking), sequence(silent)])
    assert untold.logprobs is None
    assert told.logprobs is not None
    assert told.token == told.logprobs.token == 3
    assert told.logprobs.logprob == pytest.approx(math.log(0.1))
    assert [token for token, _ in told.logprobs.top] == [0, 1]
    none = draw(LOGITS[None], [sequence(replace(asking, logprobs=0))])[0]
    assert none.logprobs is not None
    assert none.logprobs.top == ()


def test_a_token_without_probability_is_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    found = {
        draw(logits, [sequence(params, seed=seed)])[0].token
        for seed in range(200)
        for params in (SamplingParams(), SamplingParams(top_p=0.99))
    }
    assert found == {1, 3}


def test_half_precision_is_drawn_from_in_single() -> None:
    drawn = draw(LOGITS.bfloat16()[None], [sequence(SamplingParams(logprobs=1))])
    assert drawn[0].logprobs is not None
