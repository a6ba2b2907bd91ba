"""What is known of how well models served queries: comparisons, who said so, and when.

A score is a comparison, too: of the model with a virtual one, *par*, whose share of wins is 1 − s.
So σ(θ_model − θ_par) is the score to be expected of a model, and one Bradley–Terry fit takes scores
and preferences together.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triskele.evaluate import Comparisons

PAR = "(par)"
"""The virtual model: always the last one."""
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """Comparisons of models on queries, a row each; the last model is par.

    Attributes
    ----------
    texts
        Queries, each once, (n_queries,).
    comparisons
        Of n rows; those of a score have par as model a.
    answered, arrived
        Unix times of the answer and of what was said of it, (n,).
    source
        Who said so, an index into ``sources``, (n,).
    sources
        Names.
    """

    texts: tuple[str, ...]
    comparisons: Comparisons
    answered: Floats
    arrived: Floats
    source: Integers
    sources: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse columns that do not fit together."""
        n = len(self.comparisons)
        lengths = (len(self.answered), len(self.arrived), len(self.source))
        if lengths != (n, n, n) or self.comparisons.n_queries != len(self.texts):
            raise ValueError(f"expected {n} rows of {len(self.texts)} queries, got {lengths}")
        if self.comparisons.models[-1:] != (PAR,):
            raise ValueError(f"expected {PAR} as the last model, got {self.comparisons.models}")

    def __len__(self) -> int:
        return len(self.comparisons)

    @property
    def models(self) -> tuple[str, ...]:
        """Names without par."""
        return self.comparisons.models[:-1]

    @property
    def par(self) -> int:
        """Index of par."""
        return len(self.comparisons.models) - 1

    @property
    def is_score(self) -> Flags:
        """Which rows are scores, (n,)."""
        return np.asarray(self.comparisons.model_a == self.par)

    def take(self, rows: ArrayLike) -> "Evidence":
        """Return some rows, by a mask or by their indices, of the same models and queries."""
        given = np.asarray(rows)
        return replace(
            self,
            comparisons=self.comparisons.take(given),
            answered=self.answered[given],
            arrived=self.arrived[given],
            source=self.source[given],
        )

    def weighted(self, weight: ArrayLike) -> Comparisons:
        """Return the comparisons with other weights, (n,)."""
        return replace(self.comparisons, weight=np.asarray(weight, np.float64))


class Gathering:
    """Puts evidence together row by row."""

    def __init__(self) -> None:
        self._texts: dict[str, int] = {}
        self._sources: dict[str, int] = {}
        self._rows: list[tuple[int, str, str, float, float, float, int]] = []

    def score(
        self, text: str, model: str, score: float, *, answered: float, arrived: float, source: str
    ) -> None:
        """Add how well a model served a query, from 0 to 1."""
        self.preference(
            text, PAR, model, outcome=score, answered=answered, arrived=arrived, source=source
        )

    def preference(
        self,
        text: str,
        model_a: str,
        model_b: str,
        *,
        outcome: float,
        answered: float,
        arrived: float,
        source: str,
    ) -> None:
        """Add a comparison of two models, whose outcome is 1 if b is better."""
        query = self._texts.setdefault(text, len(self._texts))
        number = self._sources.setdefault(source, len(self._sources))
        self._rows.append((query, model_a, model_b, outcome, answered, arrived, number))

    def evidence(self) -> Evidence:
        """Return what was added."""
        columns = list(zip(*self._rows, strict=True)) or [()] * 7
        query, a, b, outcome, answered, arrived, source = columns
        models = sorted({*a, *b} - {PAR})
        return Evidence(
            texts=tuple(self._texts),
            comparisons=Comparisons.from_arrays(
                np.array(query, np.int64),
                list(a),
                list(b),
                np.array(outcome, np.float64),
                models=[*models, PAR],
                n_queries=len(self._texts),
            ),
            answered=np.array(answered, np.float64),
            arrived=np.array(arrived, np.float64),
            source=np.array(source, np.int64),
            sources=tuple(self._sources),
        )
