import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from triskele.evaluate.embedding.encoders import ModelFolder, encode, fit_encoder
from triskele.evaluate.embedding.tfidf import TfidfEmbedder

TEXTS = ["red apple", "green apple", "prime number"]


class CountingEmbedder:
    """Stands for a model, and counts what it is asked for."""

    asked: int = 0
    name = "counting"

    def __init__(self, path: str, *, on_progress: Any) -> None:
        self.path = path

    def encode(self, texts: list[str]) -> Any:
        type(self).asked += len(texts)
        return np.ones((len(texts), 2), np.float32)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> type[CountingEmbedder]:
    monkeypatch.setattr(CountingEmbedder, "asked", 0)
    module = SimpleNamespace(SentenceTransformerEmbedder=CountingEmbedder)
    monkeypatch.setitem(sys.modules, "triskele.evaluate.embedding.sentence_transformer", module)
    return CountingEmbedder


def test_words_are_fitted_to_the_texts() -> None:
    encoder = fit_encoder("tfidf", TEXTS)
    assert isinstance(encoder, TfidfEmbedder)
    assert encode(encoder, TEXTS).shape[0] == 3


def test_a_folder_is_known_by_its_whole_path(tmp_path: Path) -> None:
    assert fit_encoder(str(tmp_path), TEXTS) == ModelFolder(str(tmp_path.resolve()))


def test_a_model_is_opened_when_it_is_needed(counting: type[CountingEmbedder]) -> None:
    assert encode(ModelFolder("m"), TEXTS).shape == (3, 2)
    assert counting.asked == 3


def test_a_cache_spares_the_model(counting: type[CountingEmbedder], tmp_path: Path) -> None:
    for _ in range(2):
        encode(ModelFolder("m"), TEXTS, cache=tmp_path / "cache")
    assert counting.asked == 3


def test_without_sentence_transformers_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(
        sys.modules, "triskele.evaluate.embedding.sentence_transformer", raising=False
    )
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ValueError, match=r"triskele\[embed\]"):
        encode(ModelFolder("m"), TEXTS)


def test_embeddings_from_a_file_cannot_be_made_again() -> None:
    with pytest.raises(ValueError, match="knows embeddings from a file and no embedder"):
        encode(None, TEXTS)


def test_texts_without_a_word_are_refused() -> None:
    with pytest.raises(ValueError, match="expected queries with texts"):
        fit_encoder("tfidf", ["", "  "])


def test_an_unknown_embedder_is_one_line() -> None:
    with pytest.raises(ValueError, match="folder of a model, got word2vec"):
        fit_encoder("word2vec", TEXTS)
