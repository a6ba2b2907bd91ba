from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.evaluate.kinds import source_of_kinds, with_texts

from triskele.evaluate.fitting import default_clusters, embed_with, fit_model
from triskele.evaluate.options import FitOptions


def test_kinds_of_queries_are_found_and_named(tmp_path: Path) -> None:
    source = source_of_kinds(tmp_path)
    model, embeddings = fit_model(source, FitOptions(clusters=3))
    assert len(embeddings) == 120
    kind = np.arange(120) % 3
    agreement = [len(set(model.ecc.labels_[kind == k].tolist())) for k in range(3)]
    assert agreement == [1, 1, 1]
    assert any("poem" in terms or "rhyme" in terms for terms in model.terms)


def test_it_says_what_it_does(tmp_path: Path) -> None:
    said = []

    @contextmanager
    def step(what: str) -> Iterator[None]:
        said.append(what)
        yield

    fit_model(source_of_kinds(tmp_path), FitOptions(), step=step)
    assert said == ["embedding 120 texts", "looking for 2 kinds of queries"]


def test_embeddings_from_a_file_need_no_texts(tmp_path: Path) -> None:
    source = source_of_kinds(tmp_path)
    X = np.eye(3, dtype=np.float32)[np.arange(120) % 3] + 0.01
    np.save(tmp_path / "x.npy", X)
    bare = with_texts(source, ("",) * 120)
    model, embeddings = fit_model(bare, FitOptions(embeddings=tmp_path / "x.npy", clusters=3))
    assert model.encoder is None
    assert model.terms == ((),) * model.ecc.n_clusters_
    assert np.array_equal(embeddings, X)
    given = embed_with(model, source, FitOptions(embeddings=tmp_path / "x.npy"))
    assert np.array_equal(given, X)


def test_texts_embed_again_in_the_same_space(tmp_path: Path) -> None:
    source = source_of_kinds(tmp_path)
    model, embeddings = fit_model(source, FitOptions())
    assert np.array_equal(embed_with(model, source, FitOptions()), embeddings)


def test_embeddings_of_another_width_are_refused(tmp_path: Path) -> None:
    source = source_of_kinds(tmp_path)
    model, _ = fit_model(source, FitOptions())
    np.save(tmp_path / "x.npy", np.ones((120, 3)))
    with pytest.raises(ValueError, match="as the fit's, got 3"):
        embed_with(model, source, FitOptions(embeddings=tmp_path / "x.npy"))


def test_more_queries_make_more_clusters(tmp_path: Path) -> None:
    numbers = [default_clusters(source_of_kinds(tmp_path, n=n)) for n in (3, 120, 600)]
    assert numbers == [2, 2, 5]
