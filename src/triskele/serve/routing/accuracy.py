"""How good the predictions were: errors of the last outcomes, as a report."""

from collections import deque
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """Errors of predictions, predicted minus observed, in seconds.

    Attributes
    ----------
    n
        Outcomes that the report covers.
    bias, mean_absolute
        Mean of the errors and of their sizes.
    relative
        Median size of the errors relative to what was observed.
    """

    n: int
    bias: float
    mean_absolute: float
    relative: float


class Errors:
    """The last predictions and what was observed.

    Parameters
    ----------
    n_kept
        How many outcomes are remembered.
    """

    def __init__(self, *, n_kept: int = 1000) -> None:
        self._pairs: deque[tuple[float, float]] = deque(maxlen=n_kept)

    def add(self, predicted: float, observed: float) -> None:
        """Remember an outcome."""
        self._pairs.append((predicted, observed))

    def report(self) -> ErrorReport | None:
        """Return the report, or ``None`` before the first outcome."""
        if not self._pairs:
            return None
        predicted, observed = np.array(self._pairs).T
        error = predicted - observed
        return ErrorReport(
            n=len(error),
            bias=float(error.mean()),
            mean_absolute=float(np.abs(error).mean()),
            relative=float(np.median(np.abs(error) / np.maximum(observed, 1e-9))),
        )
