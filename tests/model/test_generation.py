import pytest
import torch

from triskele.model import ModelConfig, Transformer, generate, sample

CONFIG = ModelConfig(vocab_size=61, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, max_seq_len=32)


@pytest.fixture(scope="module")
def model() -> Transformer:
    model = Transformer(CONFIG, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6.0)  # so that the greedy path wanders
    return model


def prompt() -> torch.Tensor:
    return torch.tensor([5, 17, 3])


def test_greedy_with_a_store_equals_greedy_by_full_recomputation(model: Transformer) -> None:
    expected = prompt()
    for _ in range(24):
        expected = torch.cat((expected, model(expected[None])[0, -1].argmax()[None]))
    generated = generate(model, prompt(), n_tokens=24, temperature=0)
    assert generated.tolist() == expected.tolist()
    assert len(set(generated.tolist())) > 5


def test_the_same_seed_draws_the_same_tokens(model: Transformer) -> None:
    def draw(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return generate(model, prompt(), n_tokens=20, generator=generator).tolist()

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_it_stops_after_the_stop_id(model: Transformer) -> None:
    free = generate(model, prompt(), n_tokens=20, temperature=0)
    stop = int(free[8])
    first = free.tolist().index(stop, 3)
    stopped = generate(model, prompt(), n_tokens=20, temperature=0, stop_id=stop)
    assert stopped.tolist() == free[: first + 1].tolist()


def test_no_tokens_asked_for_leaves_the_prompt(model: Transformer) -> None:
    assert generate(model, prompt(), n_tokens=0).tolist() == prompt().tolist()


def test_half_precision_models_generate() -> None:
    half = Transformer(CONFIG, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert generate(half, prompt(), n_tokens=4).shape == (7,)


def draws(logits: torch.Tensor, n: int = 400, **options: float) -> set[int]:
    generator = torch.Generator().manual_seed(0)
    return {int(sample(logits, generator=generator, **options)) for _ in range(n)}  # type: ignore[arg-type]


PROBABILITIES = torch.tensor([0.1, 0.5, 0.05, 0.3, 0.05])


def test_top_k_draws_among_the_k_likeliest() -> None:
    assert draws(PROBABILITIES.log(), top_k=2) == {1, 3}
    assert draws(PROBABILITIES.log(), top_k=99) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.01, {1}), (0.49, {1}), (0.6, {1, 3}), (0.85, {0, 1, 3})]
)
def test_top_p_draws_among_the_fewest_that_reach_it(top_p: float, kept: set[int]) -> None:
    assert draws(PROBABILITIES.log(), top_p=top_p) == kept


def test_frequencies_follow_the_probabilities_at_temperature_one() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([sample(PROBABILITIES.log(), generator=generator) for _ in range(4000)])
    shares = drawn.bincount(minlength=5) / len(drawn)
    torch.testing.assert_close(shares, PROBABILITIES, rtol=0, atol=0.03)


def test_low_temperature_sharpens_and_zero_takes_the_likeliest() -> None:
    assert draws(PROBABILITIES.log(), temperature=0.05) == {1}
    assert draws(PROBABILITIES.log(), temperature=0) == {1}


def test_impossible_requests_are_refused(model: Transformer) -> None:
    with pytest.raises(ValueError, match=r"fit max_seq_len=32, got 3 \+ 30"):
        generate(model, prompt(), n_tokens=30)
    with pytest.raises(ValueError, match=r"shape \(T,\), T >= 1, got \(0,\)"):
        generate(model, prompt()[:0], n_tokens=1)
    with pytest.raises(ValueError, match=r"got \(1, 3\)"):
        generate(model, prompt()[None], n_tokens=1)
    with pytest.raises(ValueError, match="temperature must not be negative, got -1"):
        sample(PROBABILITIES, temperature=-1)
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        sample(PROBABILITIES, top_k=0)
    with pytest.raises(ValueError, match=r"top_p must be in \(0, 1\], got 0"):
        sample(PROBABILITIES, top_p=0)
