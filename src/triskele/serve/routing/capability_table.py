"""How good each model is for a query: a function of its embedding, in one small file.

The table is what a fit of capabilities has come to: landmarks in the space of embeddings, and what
each model is worth near each. With kernel values k(x) = exp(−γ‖x − z‖²) at the landmarks z, the
log odds that a model serves a query well are b + k(x)·W, and its quality is their logistic. Far
from all landmarks that is b, the ranking of all queries together.

Who publishes a table knows how it was fitted; who reads one need not. A version is a file that
never changes; which one is current says another, which is replaced as a whole.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError
from zipfile import BadZipFile

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]

CURRENT = "current.json"
FILE = "capability-{version:06d}.npz"
NAME = re.compile(r"capability-(\d{6,})\.npz")
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CapabilityTable:
    """Quality of models as a function of a query's embedding.

    Attributes
    ----------
    models
        Names, M of them.
    prices
        Of an answer of each, in any one unit, (M,).
    bias
        Log odds of serving a query well when nothing is known of it, (M,).
    points
        Landmarks, (L, D); L may be 0.
    gamma
        γ of the kernel.
    weights
        What each model is worth near each landmark, (L, M).
    embedder
        What makes embeddings, as ``hashed-words:512`` or the name of a folder.
    version
        Counts up with every publication; 0 before the first.
    """

    models: tuple[str, ...]
    prices: Floats
    bias: Floats
    points: Floats
    gamma: float
    weights: Floats
    embedder: str = "hashed-words:512"
    version: int = 0
    _squares: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit together, and what is not finite."""
        n_models, n_points = len(self.models), len(self.points)
        if n_models == 0 or len(set(self.models)) < n_models:
            raise ValueError("expected models of different names, at least one")
        shapes = (self.prices.shape, self.bias.shape, self.weights.shape)
        expected = ((n_models,), (n_models,), (n_points, n_models))
        if shapes != expected or self.points.ndim != 2:
            raise ValueError(f"expected arrays of shapes {expected}, got {shapes}")
        arrays = (self.prices, self.bias, self.points, self.weights, np.array(self.gamma))
        if not all(np.isfinite(array).all() for array in arrays) or (self.prices < 0).any():
            raise ValueError("expected finite numbers, and prices of at least 0")
        if not self.gamma >= 0:
            raise ValueError(f"expected gamma of at least 0, got {self.gamma}")
        object.__setattr__(self, "_squares", np.einsum("ld,ld->l", self.points, self.points))

    def quality(self, embedding: ArrayLike | None) -> Floats:
        """Return how likely each model serves a query well, (M,).

        Parameters
        ----------
        embedding
            Of the query, (D,); ``None`` for the ranking of all queries together.
        """
        if embedding is None or not len(self.points):
            return _logistic(self.bias)
        x = np.asarray(embedding, np.float32)
        if x.shape != (self.points.shape[1],):
            raise ValueError(f"expected {self.points.shape[1]} features, got {x.shape}")
        distances = self._squares - 2 * (self.points @ x) + x @ x
        near = np.exp(-self.gamma * np.maximum(distances, 0.0))
        return _logistic(self.bias + near @ self.weights)


class Shelf:
    """The versions of a table in a folder, and which one is current.

    Parameters
    ----------
    folder
        Made with the first publication.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: tuple[int, int, int] | None = None
        self._table: CapabilityTable | None = None

    def versions(self) -> list[int]:
        """Return the versions that are there, the oldest first."""
        if not self._folder.is_dir():
            return []
        names = (NAME.fullmatch(path.name) for path in self._folder.iterdir())
        return sorted(int(name.group(1)) for name in names if name)

    def current(self) -> CapabilityTable | None:
        """Return the current table; ``None`` before the first. Costs a ``stat`` if it is the same.

        Raises
        ------
        ValueError
            When it is damaged.
        """
        path = self._folder / CURRENT
        try:
            status = path.stat()
        except FileNotFoundError:
            self._seen = self._table = None
            return None
        seen = (status.st_mtime_ns, status.st_ino, status.st_size)
        if seen != self._seen:
            self._table, self._seen = self.read(self._current_version(path)), seen
        return self._table

    def read(self, version: int) -> CapabilityTable:
        """Return a version.

        Raises
        ------
        ValueError
            When it is not there or damaged.
        """
        path = self._folder / FILE.format(version=version)
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                if int(file["format"]) != FORMAT:
                    raise ValueError(f"{path}: expected format {FORMAT}, got {file['format']}")
                return CapabilityTable(
                    models=tuple(str(name) for name in file["models"]),
                    prices=_floats(file["prices"]),
                    bias=_floats(file["bias"]),
                    points=_floats(file["points"]),
                    gamma=float(file["gamma"]),
                    weights=_floats(file["weights"]),
                    embedder=str(file["embedder"]),
                    version=version,
                )
        except FileNotFoundError:
            raise ValueError(f"there is no version {version} in {self._folder}") from None
        except (OSError, LookupError, EOFError, RuntimeError, TokenError, BadZipFile) as error:
            raise ValueError(f"{path} is no capability table: {error}") from None

    def publish(self, table: CapabilityTable) -> CapabilityTable:
        """Add a version and make it current; return it with its number."""
        self._folder.mkdir(parents=True, exist_ok=True)
        version = max([0, *self.versions()]) + 1
        path = self._folder / FILE.format(version=version)
        beside = path.with_name(f".{path.name}.new")
        with beside.open("wb") as file:
            np.savez(
                file,
                format=np.array(FORMAT),
                models=np.array(table.models),
                prices=table.prices,
                bias=table.bias,
                points=table.points,
                gamma=np.array(table.gamma),
                weights=table.weights,
                embedder=np.array(table.embedder),
            )
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        self.make_current(version)
        return self.read(version)

    def make_current(self, version: int) -> None:
        """Let a version that is there be the current one: also how to go back.

        Raises
        ------
        ValueError
            When it is not there or damaged.
        """
        self.read(version)
        path = self._folder / CURRENT
        beside = path.with_name(f".{path.name}.new")
        with beside.open("wb") as file:
            file.write(msgspec.json.encode({"version": version}))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)

    def _current_version(self, path: Path) -> int:
        try:
            said = msgspec.json.decode(path.read_bytes(), type=dict[str, int])
            return said["version"]
        except (msgspec.MsgspecError, KeyError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} does not name a version: {error}") from None


def table_of(
    models: Sequence[str],
    *,
    prices: ArrayLike,
    bias: ArrayLike,
    points: ArrayLike | None = None,
    gamma: float = 1.0,
    weights: ArrayLike | None = None,
    embedder: str = "hashed-words:512",
) -> CapabilityTable:
    """Return a table of anything that arrays can be made of; without landmarks, one ranking."""
    n_models = len(models)
    return CapabilityTable(
        models=tuple(models),
        prices=_floats(prices),
        bias=_floats(bias),
        points=np.zeros((0, 1), np.float32) if points is None else _floats(points),
        gamma=float(gamma),
        weights=np.zeros((0, n_models), np.float32) if weights is None else _floats(weights),
        embedder=embedder,
    )


def _floats(values: ArrayLike) -> Floats:
    return np.ascontiguousarray(values, np.float32)


def _logistic(odds: NDArray[np.float32]) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-odds)), np.float32)
