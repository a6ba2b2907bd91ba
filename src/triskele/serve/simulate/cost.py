"""How long one iteration of a serving engine takes, from published calibrations or measured steps.

An iteration computes ``n`` tokens: chunks of prompts and one token for each running answer. Its
time is

    t = t₀ + max(t_w, a·n) + c·Σ e·(ctx − e/2) + d·Σ kv

with t₀ the scheduler's overhead, t_w the time to read the weights once, a the time per token at
full utilisation, e the new tokens of a prompt whose context reaches ctx, and kv the context of a
running answer. Coefficients in milliseconds.

Sources of the presets: the measured operator times that Vidur publishes for A100, A40 and H100
(arXiv 2405.05465), rescaled by parameter count; a roofline for attention; Preble (arXiv 2407.00023)
for key-value capacities. ``l40-all-in`` spreads every cost over prompt tokens: its 6,400 tokens per
second are what the published table of KVRouting (arXiv 2601.18999) implies. The model does not know
of network, tokenizer or sampling.
"""

import csv
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar, nnls


@dataclass(frozen=True, slots=True)
class CostModel:
    """Coefficients of one iteration's time, and the room for key-value pages.

    Attributes
    ----------
    token
        a: milliseconds per token computed.
    weights
        t_w: milliseconds to read the weights, the floor of an iteration.
    overhead
        t₀: milliseconds of every iteration.
    attention
        c: milliseconds per new token of a prompt and token of its context.
    cache
        d: milliseconds per token of context of a running answer.
    kv_tokens
        Capacity of the key-value cache in tokens.
    """

    token: float
    weights: float = 0.0
    overhead: float = 0.0
    attention: float = 0.0
    cache: float = 0.0
    kv_tokens: int = 200_000

    def __post_init__(self) -> None:
        """Refuse what would let time stand still or run back."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"expected {field.name} to be at least 0, got {value}")
        if self.token + self.weights + self.overhead <= 0:
            raise ValueError("expected an iteration that takes time, got a cost model of zeros")
        if self.kv_tokens < 1:
            raise ValueError(f"expected room for at least one token, got {self.kv_tokens}")

    def seconds(self, n_tokens: int, n_attended: float, n_kv: float) -> float:
        """Return the time of one iteration.

        Parameters
        ----------
        n_tokens
            Tokens computed.
        n_attended
            Σ e·(ctx − e/2) over the prompts in it.
        n_kv
            Σ kv over the running answers in it.
        """
        linear = self.token * n_tokens
        return 1e-3 * (
            self.overhead
            + (linear if linear > self.weights else self.weights)
            + self.attention * n_attended
            + self.cache * n_kv
        )

    def prompt_seconds(self, n_prompt: int, n_cached: int = 0) -> float:
        """Return the work of a prompt apart from fixed costs: what it takes of full throughput."""
        new = n_prompt - n_cached
        return 1e-3 * (self.token * new + self.attention * new * (n_prompt - new / 2))


COSTS = {
    "llama-8b-l40": CostModel(0.117, 22.0, 2.0, 4.4e-6, 1.8e-4, 198_000),
    "llama-8b-l40-all-in": CostModel(0.156, 22.0, 2.0, 0.0, 1.8e-4, 198_000),
    "llama-8b-a100": CostModel(0.0665, 10.5, 2.0, 2.8e-6, 7.6e-5, 415_000),
    "llama-8b-h100": CostModel(0.0220, 6.3, 2.0, 1.1e-6, 4.6e-5, 415_000),
    # 69.5 G linear parameters at 47 % of H200's dense bfloat16 peak (the share that the 8B fit has
    # on H100) over two devices; weights and cache at 85 % of 2 × 4.8 TB/s; 320 KiB per token.
    "llama-70b-2xh200": CostModel(0.150, 17.3, 2.0, 2.7e-6, 4.0e-5, 345_000),
}


def fit_cost(path: Path, *, kv_tokens: int = 200_000) -> CostModel:
    """Fit the coefficients to measured steps.

    Parameters
    ----------
    path
        A CSV file with a line of names and the columns ``n_tokens``, ``n_attended``, ``n_kv`` (as
        in :meth:`CostModel.seconds`) and ``milliseconds``.
    kv_tokens
        Capacity, which times do not tell.

    Raises
    ------
    ValueError
        If a column is missing, a line is not such numbers, or there are fewer than eight lines.
    """
    rows = _read_steps(path)
    # The floor makes the model bend at so many tokens; with the bend given, it is linear.
    bends = [0.0, *np.unique(np.quantile(rows[:, 0], np.linspace(0, 0.9, 19))).tolist()]
    errors = [_fit_bend(rows, bend)[0] for bend in bends]
    best = int(np.argmin(errors))
    bend = bends[best]
    between = minimize_scalar(
        lambda bend: _fit_bend(rows, bend)[0],
        bounds=(bends[max(0, best - 1)], bends[min(best + 1, len(bends) - 1)]),
        method="bounded",
    )
    if between.fun < errors[best]:
        bend = float(between.x)
    overhead, token, attention, cache = _fit_bend(rows, bend)[1]
    return CostModel(token, token * bend, overhead, attention, cache, kv_tokens)


def _fit_bend(rows: NDArray[np.float64], bend: float) -> tuple[float, list[float]]:
    """Return the sum of squared relative errors, and coefficients of at least 0."""
    n_tokens, n_attended, n_kv, time = rows.T
    design = np.stack([np.ones(len(rows)), np.maximum(n_tokens, bend), n_attended, n_kv], 1)
    design /= time[:, None]
    scale = np.maximum(design.max(0), 1e-30)
    solution, residual = nnls(design / scale, np.ones(len(rows)))
    return float(residual) ** 2, (solution / scale).tolist()


def _read_steps(path: Path) -> NDArray[np.float64]:
    columns = ("n_tokens", "n_attended", "n_kv", "milliseconds")
    rows = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(
                f"{path}: expected columns {', '.join(columns)}, {missing[0]} is not there"
            )
        for row in reader:
            place, got = f"{path}, line {reader.line_num}", list(row.values())
            try:
                values = [float(row[name]) for name in columns]
            except (TypeError, ValueError):
                raise ValueError(f"{place}: expected four numbers, got {got}") from None
            if None in row:
                raise ValueError(f"{place}: expected no more values than names, got {got}")
            if not all(np.isfinite(values)) or min(values) < 0 or values[-1] == 0:
                raise ValueError(
                    f"{place}: expected counts of at least 0 and a time above 0, got {got}"
                )
            rows.append(values)
    if len(rows) < 8:
        raise ValueError(f"{path}: expected at least eight measured steps, got {len(rows)}")
    return np.asarray(rows)
