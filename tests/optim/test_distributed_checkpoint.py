"""Checkpoints of torch.distributed.checkpoint: saved by two ranks, read by four, two and one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.optim import checkpoints, scenarios
from tests.optim.ranks import call_on_ranks
from torch import Tensor

# Of each parameter's norm, after twice as many steps in float32 as the tests of one run take.
MAX_ERROR = 2e-5


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    call_on_ranks(2, checkpoints.train_and_save, str(folder))
    return folder


@pytest.fixture(scope="module")
def four(saved: Path) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = call_on_ranks(4, checkpoints.load_on_four, str(saved))
    return results


@pytest.fixture(scope="module")
def two(saved: Path) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = call_on_ranks(2, checkpoints.load_on_two, str(saved))
    return results


@pytest.fixture(scope="module")
def uninterrupted() -> dict[str, Tensor]:
    return scenarios.one_process(steps=2 * scenarios.STEPS, **checkpoints.MOMENTUM)


def assert_same(parameters: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, wanted in expected.items():
        error = (parameters[name] - wanted).norm() / wanted.norm().clamp(min=1e-9)
        assert error <= MAX_ERROR, name


def assert_continued(result: dict[str, Any], uninterrupted: dict[str, Tensor]) -> None:
    group = result["group"]
    assert group["step"] == scenarios.STEPS
    assert group["total_steps"] == 2 * scenarios.STEPS
    assert group["lr"] == 0.02
    assert group["schedule"] == scenarios.SCHEDULE
    assert group["p"] == scenarios.SCHEDULE((scenarios.STEPS - 1) / (2 * scenarios.STEPS))
    assert tuple(group["split"]) == (scenarios.WIDTH,) * 3
    assert result["momenta"] == {torch.float64}
    assert_same(result["parameters"], uninterrupted)


@pytest.mark.parametrize("kind", ["named", "bare"])
def test_four_ranks_continue_what_two_began(
    four: list[dict[str, Any]], uninterrupted: dict[str, Tensor], kind: str
) -> None:
    for rank in four:
        assert_continued(rank[kind], uninterrupted)


@pytest.mark.parametrize("kind", ["named", "bare"])
@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")
def test_one_process_continues_what_two_ranks_began(
    saved: Path, uninterrupted: dict[str, Tensor], kind: str
) -> None:
    assert_continued(checkpoints.load_and_train(saved / "fsdp", kind, None), uninterrupted)


@pytest.mark.parametrize("into", ["shards", "replicas"])
def test_shards_and_replicas_continue_what_the_other_began(
    two: list[dict[str, Any]], uninterrupted: dict[str, Tensor], into: str
) -> None:
    for rank in two:
        assert_continued(rank[into], uninterrupted)


def test_a_whole_state_can_be_handed_out_from_the_first_rank(two: list[dict[str, Any]]) -> None:
    expected = scenarios.one_process(steps=2 * scenarios.STEPS)
    for rank in two:
        assert_same(rank["handed out"], expected)


def test_reading_the_state_of_a_fresh_optimizer_takes_no_step() -> None:
    model = scenarios.net()
    before = scenarios.whole(scenarios.net())
    optimizer = scenarios.optimizer_of(model)
    checkpoints.get_state_dict(model, optimizer)
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    assert {g["step"] for g in optimizer.param_groups if g["algorithm"] == "dynmuon"} == {0}
