"""DDP, FSDP2 and their kin in real processes: the parameters of one process, in few messages."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.optim import scenarios
from tests.optim.ranks import call_on_ranks
from torch import Tensor

# Of each parameter's norm, after a few steps in float32.
MAX_ERROR = 1e-5
RUNS = 4  # one for each group: fused, stacked, plain and convolution matrices
EXCHANGE = "c10d.alltoall_base_"
GATHER = "c10d._allgather_base_"
REDUCE = "c10d.allreduce_"


class World:
    """What every rank returned from every scenario."""

    def __init__(self, ranks: list[dict[str, Any]]) -> None:
        self.ranks = ranks

    def __getitem__(self, scenario: str) -> list[Any]:
        results = [rank[scenario] for rank in self.ranks]
        failures = [result for result in results if isinstance(result, str)]
        assert not failures, "\n".join(failures)
        return results


BOTH = (
    scenarios.ddp,
    scenarios.fsdp,
    scenarios.kinds,
    scenarios.layouts,
    scenarios.many_runs,
    scenarios.partial_gradients,
    scenarios.tensor_parallel,
)


@pytest.fixture(scope="module")
def two() -> World:
    return World(call_on_ranks(2, scenarios.all_of, [*BOTH, scenarios.options], timeout=120))


@pytest.fixture(scope="module")
def four() -> World:
    more = (scenarios.hsdp, scenarios.tensor_parallel_and_fsdp)
    return World(call_on_ranks(4, scenarios.all_of, [*BOTH, *more], timeout=120))


@pytest.fixture(params=["two", "four"])
def world(request: pytest.FixtureRequest) -> World:
    chosen: World = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture(scope="module")
def alone() -> dict[str, Tensor]:
    return scenarios.one_process()


@pytest.fixture(scope="module")
def perceptron() -> dict[str, Tensor]:
    return scenarios.one_perceptron()


def assert_same(parameters: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert parameters.keys() == expected.keys()
    for name, wanted in expected.items():
        error = (parameters[name] - wanted).norm() / wanted.norm().clamp(min=1e-9)
        assert error <= MAX_ERROR, name


def test_training_moves_what_has_a_gradient_and_nothing_else(alone: dict[str, Tensor]) -> None:
    start = scenarios.whole(scenarios.net())
    still = {name for name in start if torch.equal(start[name], alone[name])}
    assert still == {name for name in start if "frozen" in name or "unused" in name}


def test_ddp_trains_as_one_process_does(world: World, alone: dict[str, Tensor]) -> None:
    for result in world["ddp"]:
        assert_same(result["parameters"], alone)


def test_ddp_ranks_agree_to_the_bit(world: World) -> None:
    first, *others = (result["parameters"] for result in world["ddp"])
    for other in others:
        assert all(torch.equal(first[name], other[name]) for name in first)


def test_ddp_gathers_once_for_each_run(world: World) -> None:
    assert all(result["messages"] == {GATHER: RUNS} for result in world["ddp"])


def test_fsdp_trains_as_one_process_does(world: World, alone: dict[str, Tensor]) -> None:
    for result in world["fsdp"]:
        assert_same(result["parameters"], alone)


def test_fsdp_exchanges_shards_at_most_twice_for_each_run(world: World) -> None:
    for result in world["fsdp"]:
        messages = dict(result["messages"])
        # The others add up the covariance of the head and its second moments.
        assert messages.pop(REDUCE, 0) <= 2 * result["description"].count("soap")
        assert messages.keys() == {EXCHANGE}
        assert messages[EXCHANGE] <= 2 * RUNS


def test_fsdp_leaves_stacks_where_they_are_when_that_is_balanced(two: World) -> None:
    # Five experts in shards of three and two: six against five of ten, so no message.
    assert all(result["messages"][EXCHANGE] == 2 * (RUNS - 1) for result in two["fsdp"])


def test_sorting_parameters_and_laying_out_state_sends_no_message(world: World) -> None:
    assert all(result["construction"] == 0 for result in world["fsdp"])


def test_sharded_parameters_are_read_as_whole_ones_are(world: World) -> None:
    expected = scenarios.optimizer_of(scenarios.net()).describe()
    for result in world["fsdp"]:
        assert sorted(result["description"].splitlines()) == sorted(expected.splitlines())


def test_momenta_are_sharded_as_their_parameters_are(world: World) -> None:
    assert all(result["momenta"] == {"DTensor"} for result in world["fsdp"])


def test_replicated_shards_train_as_one_process_does(four: World, alone: dict[str, Tensor]) -> None:
    for result in four["hsdp"]:
        assert_same(result["parameters"], alone)
        assert result["messages"][EXCHANGE] <= 2 * RUNS


@pytest.mark.parametrize("wrap", ["ddp", "fsdp"])
def test_many_small_runs_under_way_at_once_do_not_get_mixed_up(
    world: World, alone: dict[str, Tensor], wrap: str
) -> None:
    for result in world["many_runs"]:
        assert_same(result[wrap], alone)


@pytest.mark.parametrize("name", scenarios.OPTIONS)
def test_options_act_on_shards_as_on_the_whole(two: World, name: str) -> None:
    expected = scenarios.one_process(**scenarios.OPTIONS[name])
    for result in two["options"]:
        assert_same(result[name]["parameters"], expected)


def test_an_update_floor_adds_one_message_for_each_run(two: World) -> None:
    for options, usual in zip(two["options"], two["fsdp"], strict=True):
        messages = {**usual["messages"]}
        messages[REDUCE] += RUNS
        assert options["update floor"]["messages"] == messages


def test_tensor_parallel_trains_as_one_process_does(
    world: World, perceptron: dict[str, Tensor]
) -> None:
    for result in world["tensor_parallel"]:
        assert_same(result, perceptron)


def test_shards_over_two_mesh_dimensions_are_gathered(
    four: World, perceptron: dict[str, Tensor]
) -> None:
    for result in four["tensor_parallel_and_fsdp"]:
        assert result["kinds"] == {"Gathered"}
        assert_same(result["parameters"], perceptron)


def cases() -> Iterator[tuple[str, int]]:
    for family in scenarios.FAMILIES:
        for layout in scenarios.LAYOUTS:
            at_home = family == "even stacks" and layout in ("shards of 0", "mixed precision")
            yield f"{family} {layout}", 0 if at_home else 1 if layout == "replicas" else 2


@pytest.mark.parametrize(("case", "n_messages"), list(cases()))
def test_every_layout_gives_the_results_of_one_process(
    world: World, case: str, n_messages: int
) -> None:
    for results in world["layouts"]:
        error, messages, kept = results[case]
        assert error <= 1e-5
        assert messages == n_messages
        assert kept, "shapes, precision and the updates themselves stay as they were"


def test_each_kind_of_parameter_gets_its_placement(world: World) -> None:
    for result in world["kinds"]:
        # Plain and copied tensors, and the one whose only shard is the whole; shards of two meshes.
        assert sorted(result["by rank"]) == [("Replicated", 3), ("Sharded", 2)]
        assert sorted(result["alone"]) == [("Local", 1), ("Sharded", 1)]


def test_partial_sums_are_refused_as_parameters(world: World) -> None:
    for result in world["kinds"]:
        assert result["partial"].startswith("expected shards or replicas, got placements (Partial")


def test_shards_of_an_unknown_cut_are_refused(world: World) -> None:
    assert all("as torch.chunk deals them, got" in result["odd"] for result in world["kinds"])


def test_gradients_that_are_partial_sums_are_added_up_first(world: World) -> None:
    for grad, total in world["partial_gradients"]:
        torch.testing.assert_close(grad, total)


def test_the_example_runs_under_torchrun() -> None:
    example = Path(__file__).parents[2] / "examples" / "ddp_dynmuon.py"
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(example)]
    run = subprocess.Popen(
        [sys.executable, *launch],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = run.communicate(timeout=120)
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
    assert run.returncode == 0, output
    losses = [float(line.split()[-1]) for line in output.splitlines() if "loss" in line]
    assert losses[-1] < 0.1 * losses[0]
