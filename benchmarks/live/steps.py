"""Iterations as workers measured them, and the cost model that they are evidence for."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triskele.serve.engine.step_log import COLUMNS
from triskele.serve.simulate import CostModel
from triskele.serve.simulate.cost import fit_cost

Steps = NDArray[np.float64]
"""One row per iteration, in the columns of ``COLUMNS``."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What some iterations tell of the engine.

    Attributes
    ----------
    cost
        The time of an iteration.
    bias
        What the fit said of all iterations together over what was measured; the cost model has been
        divided by it.
    spread
        Median relative error of one iteration.
    n_steps
        Iterations measured.
    """

    cost: CostModel
    bias: float
    spread: float
    n_steps: int

    @property
    def row(self) -> dict[str, Any]:
        """The figures, for a record."""
        cost = {field.name: getattr(self.cost, field.name) for field in fields(self.cost)}
        found = {"n_steps": self.n_steps, "bias": self.bias, "spread": self.spread, **cost}
        return {"part": "calibration", **{k: float(f"{v:.4g}") for k, v in found.items()}}


def counts(paths: Sequence[Path]) -> list[int]:
    """Return how many steps each worker has written so far."""
    return [len(_read(path)) for path in paths]


def since(paths: Sequence[Path], skipped: Sequence[int]) -> Steps:
    """Return the steps of all workers but the first ``skipped`` of each."""
    return np.concatenate([_read(path)[n:] for path, n in zip(paths, skipped, strict=True)])


def seconds_of(steps: Steps) -> float:
    """Return how long all of them took together."""
    return 1e-3 * float(steps[:, 3].sum())


def calibration_of(steps: Steps, *, kv_tokens: int) -> Calibration:
    """Fit a cost model, by way of the file that the simulator's command reads."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "steps.csv"
        np.savetxt(path, steps, "%.6g", ",", header=",".join(COLUMNS), comments="")
        cost = fit_cost(path, kv_tokens=kv_tokens)
    # The fit is of relative errors: every iteration counts alike. What a queue takes is their sum.
    bias = 1 / pace(steps, cost)
    cost = scaled(cost, 1 / bias)
    errors = np.abs(_expected(steps, cost) / (1e-3 * steps[:, 3]) - 1)
    return Calibration(cost, bias, float(np.median(errors)), len(steps))


def pace(steps: Steps, cost: CostModel) -> float:
    """Return how long iterations took together, over what a cost model says of them."""
    return seconds_of(steps) / float(_expected(steps, cost).sum())


def scaled(cost: CostModel, factor: float) -> CostModel:
    """Return the cost of a machine that takes so many times as long."""
    names = ("token", "weights", "overhead", "attention", "cache")
    return replace(cost, **{name: factor * getattr(cost, name) for name in names})


def _expected(steps: Steps, cost: CostModel) -> NDArray[np.float64]:
    return np.array([cost.seconds(int(n), attended, kv) for n, attended, kv, _ in steps])


def _read(path: Path) -> Steps:
    return np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2).reshape(-1, len(COLUMNS))
