import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evaluate.planted import Planted, planted

from triskele.evaluate.clustering.ecc import EvidenceCalibratedClustering
from triskele.evaluate.embedding.encoders import ModelFolder
from triskele.evaluate.embedding.tfidf import TfidfEmbedder
from triskele.evaluate.storage import FittedModel, load_model, save_model

TEXTS = ["Add 2 and 3", "a poem on onions", "simmer the broth — slowly", "naïve café", ""] * 3


@pytest.fixture(scope="module")
def world() -> Planted:
    return planted(200, n_models=5)


def fitted(ecc: EvidenceCalibratedClustering, **parts: Any) -> FittedModel:
    return FittedModel(ecc=ecc, encoder=parts.get("encoder"), terms=parts.get("terms", ()))


def again(model: FittedModel, folder: Path) -> FittedModel:
    save_model(folder / "model.npz", model)
    return load_model(folder / "model.npz")


@pytest.mark.parametrize(
    "ecc",
    [
        EvidenceCalibratedClustering(4),
        EvidenceCalibratedClustering(4, n_landmarks=0),
        EvidenceCalibratedClustering.published(4),
    ],
    ids=["default", "no trend", "published"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_predictions_are_the_same_to_the_last_bit(
    world: Planted, tmp_path: Path, ecc: EvidenceCalibratedClustering, dtype: type
) -> None:
    X = world.embeddings.astype(dtype)
    ecc.fit(X, comparisons=world.comparisons)
    read = again(fitted(ecc), tmp_path).ecc
    for known in (None, world.comparisons):
        assert np.array_equal(read.capabilities(X, known), ecc.capabilities(X, known))
        assert np.array_equal(
            read.predict_proba(X, comparisons=known), ecc.predict_proba(X, comparisons=known)
        )
    asked = world.comparisons
    assert np.array_equal(read.predict_pairwise(X, asked), ecc.predict_pairwise(X, asked))


def test_all_that_was_learned_comes_back(world: Planted, tmp_path: Path) -> None:
    ecc = EvidenceCalibratedClustering(4).fit(world.embeddings, comparisons=world.comparisons)
    read = again(fitted(ecc, terms=(("a", "b"), (), ("ü",))), tmp_path)
    assert read.terms == (("a", "b"), (), ("ü",))
    assert read.ecc.get_params() == ecc.get_params()
    assert read.ecc.models_ == ecc.models_
    assert read.ecc.calibration_ == ecc.calibration_
    assert read.ecc.objective_ == ecc.objective_
    assert set(vars(read.ecc)) == set(vars(ecc))
    assert np.array_equal(read.ecc.responsibilities_, ecc.responsibilities_)


def test_a_fit_that_was_read_goes_on_as_it_would_have(world: Planted, tmp_path: Path) -> None:
    first, second = world.of(slice(0, 150)), world.of(slice(150, 200))
    ecc = EvidenceCalibratedClustering(4).fit(first.embeddings, comparisons=first.comparisons)
    read = again(fitted(ecc), tmp_path).ecc
    for estimator in (ecc, read):
        estimator.partial_fit(second.embeddings, comparisons=second.comparisons)
    assert np.array_equal(read.capabilities(world.embeddings), ecc.capabilities(world.embeddings))


def test_one_cluster_is_stored_too(tmp_path: Path) -> None:
    flat = planted(120, n_models=4, spread=0.0)
    ecc = EvidenceCalibratedClustering(3).fit(flat.embeddings, comparisons=flat.comparisons)
    assert again(fitted(ecc), tmp_path).ecc.n_clusters_ == ecc.n_clusters_


@pytest.mark.parametrize("texts", [TEXTS, ["", "?", ""]], ids=["words", "no words"])
def test_words_embed_as_before(world: Planted, tmp_path: Path, texts: list[str]) -> None:
    ecc = EvidenceCalibratedClustering(2).fit(world.embeddings, comparisons=world.comparisons)
    embedder = TfidfEmbedder(n_components=6).fit(texts)
    read = again(fitted(ecc, encoder=embedder), tmp_path).encoder
    assert isinstance(read, TfidfEmbedder)
    asked = [*texts, "poem and broth", "unheard-of"]
    assert np.array_equal(read.encode(asked), embedder.encode(asked))
    assert read.get_params() == embedder.get_params()


def test_a_model_s_folder_is_remembered(world: Planted, tmp_path: Path) -> None:
    ecc = EvidenceCalibratedClustering(2).fit(world.embeddings, comparisons=world.comparisons)
    folder = ModelFolder("/models/mini")
    assert again(fitted(ecc, encoder=folder), tmp_path).encoder == folder


def test_no_pickle_is_written(world: Planted, tmp_path: Path) -> None:
    ecc = EvidenceCalibratedClustering(2).fit(world.embeddings, comparisons=world.comparisons)
    save_model(tmp_path / "model.npz", fitted(ecc))
    with np.load(tmp_path / "model.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    assert json.loads(arrays["description"].tobytes())["version"] == 1
    assert len({array.tobytes() for array in arrays.values() if array.size > 9}) == len(
        [array for array in arrays.values() if array.size > 9]
    ), "no array is there twice"


def test_what_cannot_be_stored_leaves_the_old_file(world: Planted, tmp_path: Path) -> None:
    ecc = EvidenceCalibratedClustering(2).fit(world.embeddings, comparisons=world.comparisons)
    save_model(tmp_path / "model.npz", fitted(ecc))
    before = (tmp_path / "model.npz").read_bytes()
    ecc.random_state = np.random.RandomState(0)
    with pytest.raises(ValueError, match="cannot store random_state: a RandomState"):
        save_model(tmp_path / "model.npz", fitted(ecc))
    assert (tmp_path / "model.npz").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model.npz"]


def test_a_path_must_say_what_it_is(world: Planted, tmp_path: Path) -> None:
    ecc = EvidenceCalibratedClustering(2).fit(world.embeddings, comparisons=world.comparisons)
    with pytest.raises(ValueError, match=r"ends in \.npz"):
        save_model(tmp_path / "model.bin", fitted(ecc))


@pytest.mark.parametrize("content", [b"", b"PK\3\4 no zip", b"hello", None, "other"])
def test_a_file_of_something_else_is_one_line(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "model.npz"
    if content == "other":
        np.savez(path, x=np.ones(3))
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.npz") as raised:
        load_model(path)
    assert "\n" not in str(raised.value)


def test_a_cut_file_is_one_line(world: Planted, tmp_path: Path) -> None:
    ecc = EvidenceCalibratedClustering(2).fit(world.embeddings, comparisons=world.comparisons)
    path = tmp_path / "model.npz"
    save_model(path, fitted(ecc))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match="is no model"):
        load_model(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"version": 2}, "later triskele"), ({"fitted": {"x": ["array", "none"]}}, "incomplete")],
)
def test_files_from_elsewhere_are_told(
    world: Planted, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    ecc = EvidenceCalibratedClustering(2).fit(world.embeddings, comparisons=world.comparisons)
    path = tmp_path / "model.npz"
    save_model(path, fitted(ecc))
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    description = json.loads(arrays["description"].tobytes()) | change
    arrays["description"] = np.frombuffer(json.dumps(description).encode(), np.uint8)
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message):
        load_model(path)


def test_records_are_equal_to_what_was_stored(world: Planted, tmp_path: Path) -> None:
    ecc = EvidenceCalibratedClustering(4).fit(world.embeddings, comparisons=world.comparisons)
    read = again(fitted(ecc), tmp_path).ecc
    assert read.calibration_ is not None
    assert read._estimate.calibration is not None
    assert replace(read.calibration_, gain=0.0) == replace(ecc.calibration_, gain=0.0)
    assert read._estimate.clusters.mixture.settings == ecc._estimate.clusters.mixture.settings
