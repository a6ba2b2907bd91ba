"""A fit from what a command was given: embed the queries, find their clusters, name them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triskele.evaluate.clustering.ecc import EvidenceCalibratedClustering
from triskele.evaluate.embedding.encoders import TFIDF, Encoder, OnProgress, encode, fit_encoder
from triskele.evaluate.embedding.files import read_embeddings
from triskele.evaluate.options import FitOptions
from triskele.evaluate.sources import Source
from triskele.evaluate.storage import FittedModel
from triskele.evaluate.terms import top_terms

Embeddings = NDArray[np.floating[Any]]
Step = Callable[[str], AbstractContextManager[OnProgress | None]]
"""Says what is being done, while it is done."""

QUERIES_PER_CLUSTER = 20
"""K is the root of the number of compared queries divided by this."""
FEWEST, MOST = 2, 30
N_STARTS, FEW_QUERIES = 10, 2_000
"""Starts of the search, of which the best counts: where there are few queries, one may be bad."""
N_TERMS = 8


def silent(what: str) -> AbstractContextManager[OnProgress | None]:
    """Say nothing."""
    return nullcontext(None)


def fit_model(
    source: Source, options: FitOptions, *, step: Step = silent
) -> tuple[FittedModel, Embeddings]:
    """Fit a source.

    Parameters
    ----------
    source
        Queries and comparisons.
    options
        How they are embedded, and how many clusters are looked for.
    step
        Hears what is being done.

    Returns
    -------
    model, embeddings
        The fit, and the embeddings of the queries, (n_queries, n_features).

    Raises
    ------
    ValueError
        If there is nothing to embed, or embeddings do not fit the queries.
    """
    encoder, embeddings = _embedded(source, options, step)
    n_clusters = options.clusters or default_clusters(source)
    with step(f"looking for {n_clusters} kinds of queries"):
        n_starts = N_STARTS if len(embeddings) <= FEW_QUERIES else 1
        ecc = EvidenceCalibratedClustering(n_clusters, n_init=n_starts, random_state=options.seed)
        ecc.fit(embeddings, comparisons=source.comparisons)
        terms = top_terms(source.texts, ecc.labels_, n_terms=N_TERMS, n_clusters=ecc.n_clusters_)
    return FittedModel(ecc=ecc, encoder=encoder, terms=tuple(terms)), embeddings


def embed_with(
    model: FittedModel, source: Source, options: FitOptions, *, step: Step = silent
) -> Embeddings:
    """Return embeddings of a source's queries in the space of a fit, (n_queries, n_features).

    Raises
    ------
    ValueError
        If there are none, or they have another number of features than the fit's.
    """
    given = _given(source, options)
    if given is None or (model.encoder is not None and options.embeddings is None):
        with step(f"embedding {len(source.texts):,} texts") as on_progress:
            given = encode(
                model.encoder,
                source.texts,
                cache=options.embedding_cache,
                on_progress=on_progress,
            )
    return checked_width(given, model)


def checked_width(embeddings: Embeddings, model: FittedModel) -> Embeddings:
    """Return embeddings as they are if they have the features of a fit.

    Raises
    ------
    ValueError
        If they have not.
    """
    wanted = model.ecc.n_features_in_
    if embeddings.shape[1] != wanted:
        raise ValueError(
            f"expected embeddings of {wanted} features, as the fit's, got {embeddings.shape[1]}"
        )
    return embeddings


def default_clusters(source: Source) -> int:
    """Return how many clusters are looked for if nobody says."""
    n_compared = len(np.unique(source.comparisons.query))
    return int(np.clip(round((n_compared / QUERIES_PER_CLUSTER) ** 0.5), FEWEST, MOST))


def _given(source: Source, options: FitOptions) -> Embeddings | None:
    if options.embeddings is not None:
        return read_embeddings(options.embeddings, n_rows=len(source.ids))
    return source.embeddings


def _embedded(source: Source, options: FitOptions, step: Step) -> tuple[Encoder | None, Embeddings]:
    given = _given(source, options)
    if given is not None and options.embedder is None:
        return None, given
    with step(f"embedding {len(source.texts):,} texts") as on_progress:
        encoder = fit_encoder(options.embedder or TFIDF, source.texts)
        return encoder, encode(
            encoder, source.texts, cache=options.embedding_cache, on_progress=on_progress
        )
