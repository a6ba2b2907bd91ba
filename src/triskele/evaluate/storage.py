"""A fit in one file: arrays and a text in JSON that says what they are; no pickle.

The file is NumPy's ``.npz``, readable without this library. Estimator and records are taken apart
into numbers, words and arrays, and put together from a closed list of classes, so that a file of
somebody else's can hold nothing that runs. A file is complete or not there at all.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from triskele.evaluate.clustering.calibration import Calibration
from triskele.evaluate.clustering.ecc import EvidenceCalibratedClustering
from triskele.evaluate.clustering.estimation import Estimate, EstimationSettings
from triskele.evaluate.clustering.landmarks import Landmarks
from triskele.evaluate.clustering.mixture import ClusterSums, Mixture, MixtureFit, MixtureSettings
from triskele.evaluate.clustering.streaming import Totals
from triskele.evaluate.clustering.trend import Trend
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.embedding.encoders import Encoder, ModelFolder
from triskele.evaluate.embedding.tfidf import TfidfEmbedder
from triskele.evaluate.whole_file import whole_file

Arrays = dict[str, NDArray[Any]]

FORMAT, VERSION = "triskele evaluate", 1
DESCRIPTION = "description"
"""Name of the array that holds the JSON, as bytes."""
RECORDS = {
    record.__name__: record
    for record in (
        Calibration,
        ClusterSums,
        Comparisons,
        Estimate,
        EstimationSettings,
        Landmarks,
        Mixture,
        MixtureFit,
        MixtureSettings,
        ModelFolder,
        Totals,
        Trend,
    )
}
VECTORIZER = ("lowercase", "max_df", "min_df", "norm", "smooth_idf", "sublinear_tf", "use_idf")
"""Parameters of a vectorizer that are kept, beside the pairs of words."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedModel:
    """All that is needed to rank models for new queries."""

    ecc: EvidenceCalibratedClustering
    encoder: Encoder | None
    """What embeds texts; ``None`` if the embeddings came from a file."""
    terms: tuple[tuple[str, ...], ...]
    """What sets each cluster apart, in words: (n_clusters,)."""


def save_model(path: Path | str, model: FittedModel) -> None:
    """Write a fit, all of it or nothing.

    Parameters
    ----------
    path
        Ends in ``.npz``.
    model
        What is written.

    Raises
    ------
    ValueError
        If the path ends in anything else, or the estimator holds what cannot be stored.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"expected a path that ends in .npz, got {path}")
    parts = _Parts()
    ecc = model.ecc
    words = set(ecc.get_params(deep=False))
    description = {
        "format": FORMAT,
        "version": VERSION,
        "parameters": {name: parts.taken(getattr(ecc, name), name) for name in sorted(words)},
        "fitted": {
            name: parts.taken(value, name) for name, value in vars(ecc).items() if name not in words
        },
        "terms": parts.taken(model.terms, "terms"),
        "encoder": _taken_encoder(model.encoder, parts),
    }
    text = json.dumps(description).encode()
    arrays = {DESCRIPTION: np.frombuffer(text, np.uint8), **parts.arrays}
    with whole_file(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def load_model(path: Path | str) -> FittedModel:
    """Read a fit; what it predicts is what it predicted, to the last bit.

    Raises
    ------
    ValueError
        If the file is missing, damaged, something else, or of a later version.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"expected a fitted model, there is no file {path}")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        description = json.loads(arrays.pop(DESCRIPTION).tobytes())
        if description["format"] != FORMAT:
            raise KeyError(FORMAT)
    except (ValueError, KeyError, EOFError, BadZipFile, AttributeError, TypeError):
        raise ValueError(f"{path} is no model that triskele evaluate fit has written") from None
    if description["version"] > VERSION:
        raise ValueError(f"{path} was written by a later triskele, whose files are not known here")
    try:
        return _put_together(description, arrays)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is incomplete: {error}") from None


def _put_together(description: Mapping[str, Any], arrays: Arrays) -> FittedModel:
    parameters = {name: _given(value, arrays) for name, value in description["parameters"].items()}
    ecc = EvidenceCalibratedClustering(**parameters)
    for name, value in description["fitted"].items():
        setattr(ecc, name, _given(value, arrays))
    return FittedModel(
        ecc=ecc,
        encoder=_given_encoder(description["encoder"], arrays),
        terms=_given(description["terms"], arrays),
    )


class _Parts:
    """Arrays by name, each once, however many records share it."""

    def __init__(self) -> None:
        self.arrays: Arrays = {}
        self._names: dict[int, str] = {}

    def taken(self, value: Any, name: str) -> Any:
        """Return what JSON can hold of a value; its arrays are kept aside.

        Everything that is no number and no word is a list: of what it is and what is in it.
        """
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, int | np.integer):
            return int(value)
        if isinstance(value, float | np.floating):
            return float(value)
        if isinstance(value, tuple):
            return ["tuple", [self.taken(item, f"{name}.{i}") for i, item in enumerate(value)]]
        if isinstance(value, np.ndarray):
            return self._taken_array(value, name)
        if is_dataclass(value) and type(value).__name__ in RECORDS:
            inside = {
                field.name: self.taken(getattr(value, field.name), f"{name}.{field.name}")
                for field in fields(value)
            }
            return ["record", type(value).__name__, inside]
        raise ValueError(f"cannot store {name}: a {type(value).__name__}")

    def _taken_array(self, value: NDArray[Any], name: str) -> Any:
        if value.dtype == object:
            return ["names", [str(item) for item in value.tolist()]]
        # The array is among the values kept, so that its identity stays its own.
        known = self._names.setdefault(id(value), name)
        self.arrays[known] = value
        return ["array", known]


def _given(value: Any, arrays: Arrays) -> Any:
    if not isinstance(value, list):
        return value
    kind, *content = value
    if kind == "tuple":
        return tuple(_given(item, arrays) for item in content[0])
    if kind == "names":
        return np.array(content[0], object)
    if kind == "array":
        return arrays[content[0]]
    record, inside = content
    return RECORDS[record](**{name: _given(item, arrays) for name, item in inside.items()})


def _taken_encoder(encoder: Encoder | None, parts: _Parts) -> Any:
    if not isinstance(encoder, TfidfEmbedder):
        return parts.taken(encoder, "encoder")
    described = {
        "parameters": encoder.get_params(deep=False),
        "components": parts.taken(encoder.components_, "encoder.components"),
        "vectorizer": None,
    }
    vectorizer = encoder.vectorizer_
    if vectorizer is not None:
        # No term contains the end of a line.
        terms = "\n".join(vectorizer.get_feature_names_out()).encode()
        described["terms"] = parts.taken(np.frombuffer(terms, np.uint8), "encoder.terms")
        described["idf"] = parts.taken(vectorizer.idf_, "encoder.idf")
        described["vectorizer"] = {name: getattr(vectorizer, name) for name in VECTORIZER}
        described["words"] = list(vectorizer.ngram_range)
    return ["tfidf", described]


def _given_encoder(value: Any, arrays: Arrays) -> Encoder | None:
    if value is None or value[0] != "tfidf":
        encoder: Encoder | None = _given(value, arrays)
        return encoder
    described = value[1]
    embedder = TfidfEmbedder(**described["parameters"])
    embedder.components_ = _given(described["components"], arrays)
    embedder.n_features_out_ = len(embedder.components_)
    embedder.vectorizer_ = None
    if described["vectorizer"] is not None:
        idf = _given(described["idf"], arrays)
        terms = _given(described["terms"], arrays).tobytes().decode().split("\n")
        vectorizer = TfidfVectorizer(
            vocabulary=terms,
            ngram_range=tuple(described["words"]),
            dtype=idf.dtype,
            **described["vectorizer"],
        )
        vectorizer.idf_ = idf
        embedder.vectorizer_ = vectorizer
    return embedder
