from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triskele.train import BatchOptions, ModelOptions, TrainConfig, TuneOptions
from triskele.train.config import RECIPES, SIZES
from triskele.train.plan import (
    PASSES_AT_MOST,
    STEPS_AT_LEAST,
    TOKENS_AT_ONCE,
    TOKENS_PER_PARAMETER,
    changes,
    interval,
    make_plan,
)


def plan_of(*, n_train_tokens=10**6, vocab_size=1000, world_size=1, device="cpu", **fields):
    config = TrainConfig(data=Path("text"), out=Path("run"), **fields)
    return make_plan(
        config,
        vocab_size=vocab_size,
        n_train_tokens=n_train_tokens,
        data="text",
        device=device,
        precision="fp32",
        world_size=world_size,
    )


@pytest.mark.parametrize("size", SIZES)
def test_every_size_makes_a_plan_of_its_shape(size):
    plan = plan_of(size=size)
    assert plan.model.d_model == SIZES[size].d_model
    assert plan.model.max_seq_len == plan.context == SIZES[size].context
    assert plan.batch == SIZES[size].batch


def test_the_largest_size_is_what_it_is_called():
    model = plan_of(size="124m", vocab_size=50304, model=ModelOptions(tie_embeddings=True)).model
    assert 0.9 < model.n_params / 124e6 < 1.1


def test_the_vocabulary_is_rounded_up_for_fast_products():
    assert plan_of(vocab_size=1000).model.vocab_size == 1024
    assert plan_of(vocab_size=1024).model.vocab_size == 1024


@pytest.mark.parametrize("optimizer", RECIPES)
def test_what_is_not_given_comes_from_the_recipe(optimizer):
    plan, recipe = plan_of(optimizer=optimizer), RECIPES[optimizer]
    assert (plan.lr, plan.embedding_lr, plan.head_lr, plan.adam_lr) == (
        recipe.lr,
        recipe.embedding_lr,
        recipe.head_lr,
        recipe.adam_lr,
    )
    assert (plan.momentum, plan.weight_decay) == (recipe.momentum, recipe.weight_decay)


def test_what_is_given_wins_even_if_it_is_zero():
    plan = plan_of(lr=0.5, tune=TuneOptions(weight_decay=0.0, momentum=0.5))
    assert (plan.lr, plan.weight_decay, plan.momentum) == (0.5, 0.0, 0.5)


def test_steps_follow_from_the_parameters_if_there_is_much_text():
    plan = plan_of(n_train_tokens=10**12)
    tokens = plan.total_steps * plan.tokens_per_step
    assert tokens == pytest.approx(TOKENS_PER_PARAMETER * plan.model.n_params, rel=0.01)


def test_steps_follow_from_the_text_if_there_is_little():
    plan = plan_of(n_train_tokens=10**6)
    tokens = plan.total_steps * plan.tokens_per_step
    assert tokens == pytest.approx(PASSES_AT_MOST * 10**6, rel=0.01)


def test_a_scrap_of_text_still_gets_some_steps():
    assert plan_of(n_train_tokens=300).total_steps == STEPS_AT_LEAST


@given(
    batch=st.integers(1, 600),
    context=st.integers(1, 2048),
    device=st.sampled_from(["cpu", "cuda"]),
)
def test_the_part_of_a_batch_seen_at_once_divides_it_and_is_bounded(batch, context, device):
    plan = plan_of(batch=BatchOptions(size=batch, context=context), device=device)
    assert batch % plan.micro == 0
    assert plan.micro == 1 or plan.micro * context <= TOKENS_AT_ONCE[device]


def test_a_batch_that_processes_cannot_share_evenly_is_refused():
    with pytest.raises(ValueError, match="multiple of the 3 processes, got 32"):
        plan_of(world_size=3, batch=BatchOptions(size=32))


def test_a_part_that_does_not_divide_the_batch_is_refused():
    with pytest.raises(ValueError, match="must divide the 32 sequences per process, got 5"):
        plan_of(batch=BatchOptions(size=32, micro=5))


def test_equal_plans_show_no_changes_and_nested_ones_are_named():
    plan = plan_of().to_dict()
    assert changes(plan, plan_of().to_dict()) == []
    other = plan_of(seed=3, model=ModelOptions(n_layers=9)).to_dict()
    assert changes(plan, other) == ["model.n_layers was 4, is now 9", "seed was 0, is now 3"]


@pytest.mark.parametrize(
    ("given_", "steps", "expected"), [(7, 100, 7), (None, 400, 10), (None, 3, 1)]
)
def test_intervals_spread_events_over_the_run(given_, steps, expected):
    assert interval(given_, steps, 40) == expected
