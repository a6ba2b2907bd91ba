"""The exponent p over training: which power of the singular values an update keeps.

DynMuon (arXiv 2605.17109) lets p fall from positive (strong directions first) to mildly negative
(weak directions later) along a logistic curve in the fraction of training q = t / T:

    p(q) = p_min + (p_max − p_min) / (1 + exp((q − τ) / w))

A schedule is any callable of q; the shapes here also accept q as a tensor, so that a captured
graph can advance p on the device. A schedule knows nothing of steps, matrices or learning rates.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor

Fraction = TypeVar("Fraction", float, Tensor)
Schedule = Callable[[Any], Any]
Shape = Literal["logistic", "constant", "linear", "cosine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerSchedule:
    """The exponent as a function of the training fraction.

    Parameters
    ----------
    shape
        ``"logistic"`` falls from ``start`` to ``end`` around ``midpoint`` over a few ``width``;
        ``"linear"`` and ``"cosine"`` go from ``start`` at q = 0 to ``end`` at q = 1;
        ``"constant"`` stays at ``start``.
    start, end
        The exponents before and after (p_max and p_min in the paper), each in [−0.5, 1]. The
        logistic does not quite reach ``start`` at q = 0: with midpoint = width it begins at
        end + 0.73·(start − end).
    midpoint, width
        τ and w of the logistic, as fractions of training.

    Raises
    ------
    ValueError
        For an unknown shape, an exponent outside [−0.5, 1] or a width that is not positive.

    Examples
    --------
    >>> PowerSchedule(shape="constant", start=0.0)(0.3)
    0.0
    """

    shape: Shape = "logistic"
    start: float = 0.25
    end: float = -0.25
    midpoint: float = 0.04
    width: float = 0.04

    def __post_init__(self) -> None:
        if self.shape not in get_args(Shape):
            raise ValueError(f"shape must be one of {get_args(Shape)}, got {self.shape!r}")
        for name in ("start", "end"):
            value = getattr(self, name)
            if not -0.5 <= value <= 1.0:
                raise ValueError(f"{name} must lie in [-0.5, 1], got {value}")
        if not self.width > 0.0:
            raise ValueError(f"width must be positive, got {self.width}")

    def __call__(self, q: Fraction) -> Fraction:
        """Return p at the training fraction ``q`` (held at its ends outside [0, 1])."""
        q = q.clamp(0.0, 1.0) if isinstance(q, Tensor) else min(max(q, 0.0), 1.0)
        return self.start + (self.end - self.start) * self._progress(q)

    def to_dict(self) -> dict[str, str | float]:
        """Return the fields as plain data, for a ``state_dict``."""
        return asdict(self)

    def _progress(self, q: Fraction) -> Fraction:
        """How far from ``start`` (0) to ``end`` (1) the exponent has moved."""
        if self.shape == "constant":
            return q * 0.0
        if self.shape == "linear":
            return q
        if self.shape == "cosine":
            return 0.5 - 0.5 * _cos(math.pi * q)
        return _sigmoid((q - self.midpoint) / self.width)


def _sigmoid(x: Fraction) -> Fraction:
    if isinstance(x, Tensor):
        return torch.sigmoid(x)
    if x < 0.0:
        return 1.0 - _sigmoid(-x)
    return 1.0 / (1.0 + math.exp(-x))


def _cos(x: Fraction) -> Fraction:
    return torch.cos(x) if isinstance(x, Tensor) else math.cos(x)
