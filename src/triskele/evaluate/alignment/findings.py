"""What a check of a score matrix's alignment found, and how to say it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from triskele.evaluate.columns import Flags, Floats, Integers

MAX_NAMED = 6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AlignmentReport:
    """What was found, model by model, of the matrix as it was given and as it is put in order."""

    models: tuple[str, ...]
    """Names of the columns."""
    n_ranks: Integers
    """Ranks of the data-parallel run whose order each column is most likely in, (M,); 1 is right
    as it is."""
    is_stray: Flags
    """Whether a column seems to be in an order that was not found, (M,)."""
    repaired: Floats
    """The scores with each column put in order, (n_queries, M); those that were given where there
    is nothing to do. Stray columns are left as they are."""
    blocks: Integers
    """Number of the task that each row was taken to be from, (n_queries,)."""
    correlations: Floats
    """Of each model with the mean of the others within tasks, as given, (M,)."""
    repaired_correlations: Floats
    """The same once repaired, (M,)."""
    mean_correlation: float
    """Between two models within tasks, as given."""
    repaired_mean_correlation: float
    """The same once repaired."""
    association: Floats | None
    """How much each model's scores have to do with the prompts as given, (M,), in standard
    deviations under chance; ``None`` if nothing was said of the prompts."""
    repaired_association: Floats | None
    """The same once repaired, (M,)."""

    @classmethod
    def of_nothing(cls, matrix: Floats, models: tuple[str, ...]) -> "AlignmentReport":
        """Return what there is to say of a matrix without scores."""
        n_queries, n_models = matrix.shape
        nothing = np.zeros(n_models)
        return cls(
            models=models,
            n_ranks=np.ones(n_models, np.int64),
            is_stray=np.zeros(n_models, bool),
            repaired=matrix,
            blocks=np.zeros(n_queries, np.int64),
            correlations=nothing,
            repaired_correlations=nothing,
            mean_correlation=0.0,
            repaired_mean_correlation=0.0,
            association=None,
            repaired_association=None,
        )

    @property
    def is_aligned(self) -> bool:
        """Whether nothing seems to be out of order."""
        return bool((self.n_ranks == 1).all() and not self.is_stray.any())

    @property
    def warning(self) -> str | None:
        """What to tell a user, in one line; ``None`` if nothing seems to be out of order."""
        if self.is_aligned:
            return None
        parts = []
        moved = np.flatnonzero(self.n_ranks > 1)
        if len(moved):
            ranks = [f"{self.models[i]} ({self.n_ranks[i]} ranks)" for i in moved]
            parts.append(
                f"{len(moved)} of {len(self.models)} models seem to be in the order of a "
                f"data-parallel run, rank after rank: {_listed(ranks)}; put in order, two models "
                f"correlate by {self.repaired_mean_correlation:.2f} instead of "
                f"{self.mean_correlation:.2f}"
            )
        if self.is_stray.any():
            names = [self.models[i] for i in np.flatnonzero(self.is_stray)]
            parts.append(f"in an order that was not found: {_listed(names)}")
        return "the scores do not belong to the same queries in the same rows: " + "; ".join(parts)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MAX_NAMED])
    return shown if len(names) <= MAX_NAMED else f"{shown} and {len(names) - MAX_NAMED} more"
