"""The seam: who computes while whose messages travel, and how large a run is."""

from collections.abc import Generator

import pytest
import torch
from torch import Tensor

from triskele.optim.placement import Local, interleave, run_elements


def finished(run: Generator[None, None, list[Tensor]]) -> list[Tensor]:
    with pytest.raises(StopIteration) as stop:
        next(run)
    return stop.value.value


def test_one_process_shapes_without_waiting() -> None:
    updates = [torch.ones(2, 3), torch.ones(4, 2)]
    run = Local().run(updates, updates, lambda xs: [2 * x for x in xs], stacked=True)
    torch.testing.assert_close(finished(run), [2 * update for update in updates])


def staged(name: int, n_stages: int, log: list[tuple[int, int]]) -> Generator[None]:
    for stage in range(n_stages):
        log.append((name, stage))
        if stage < n_stages - 1:
            yield


def test_a_run_starts_before_older_ones_go_on() -> None:
    log: list[tuple[int, int]] = []
    interleave(staged(name, 3, log) for name in range(3))
    assert log == [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (2, 1), (1, 2), (2, 2)]


def test_runs_are_drawn_only_when_they_start() -> None:
    log: list[tuple[int, int]] = []
    drawn: list[int] = []

    def runs() -> Generator[Generator[None]]:
        for name in range(4):
            drawn.append(name)
            assert len(log) >= name, "an update is computed only when its run begins"
            yield staged(name, 1, log)

    interleave(runs())
    assert log == [(name, 0) for name in range(4)]


def test_at_most_as_many_runs_are_under_way_as_they_have_stages() -> None:
    alive: set[int] = set()
    most = 0

    def counted(name: int) -> Generator[None]:
        nonlocal most
        alive.add(name)
        most = max(most, len(alive))
        yield
        yield
        alive.remove(name)

    interleave(counted(name) for name in range(10))
    assert most == 3
    assert not alive


def test_an_error_in_one_run_is_raised() -> None:
    def broken() -> Generator[None]:
        yield
        raise FloatingPointError("shaping")

    with pytest.raises(FloatingPointError, match="shaping"):
        interleave([broken()])


@pytest.mark.parametrize(
    ("shapes", "n_owners", "expected"),
    [
        ([(100, 100)], 1, 64),
        ([(4, 4)], 3, 3 * 64),
        ([(10, 10), (4, 4)], 3, 3 * 100),
        ([(8, 10, 10)], 4, 4 * 200),
        ([(3, 10, 10)], 4, 4 * 100),
    ],
)
def test_a_run_holds_a_piece_for_every_owner(
    shapes: list[tuple[int, ...]], n_owners: int, expected: int
) -> None:
    parameters = [torch.empty(shape) for shape in shapes]
    room = run_elements(parameters, n_owners=n_owners, max_elements=64, stacked=True)
    assert room == expected


def test_a_kernel_that_is_one_matrix_is_one_piece() -> None:
    kernel = [torch.empty(8, 8, 3, 3)]
    assert run_elements(kernel, n_owners=2, max_elements=1, stacked=False) == 2 * 576
