from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

pytest.importorskip("sentence_transformers")

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from triskele.evaluate.embedding.sentence_transformer import SentenceTransformerEmbedder

WORDS = ["[PAD]", "[UNK]", "red", "green", "apple", "prime", "number"]
TEXTS = ["red apple", "prime", "green apple number prime", "", "red red red"]


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a model of a few thousand parameters, never trained."""
    folder = tmp_path_factory.mktemp("model")
    words = {word: place for place, word in enumerate(WORDS)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=16
    )
    fast.save_pretrained(folder / "bert")
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    BertModel(config).save_pretrained(folder / "bert")
    transformer = Transformer(str(folder / "bert"))
    pooling = Pooling(16)
    SentenceTransformer(modules=[transformer, pooling], device="cpu").save(str(folder / "model"))
    return folder / "model"


def test_every_text_gets_a_row_of_length_1_in_its_own_place(model_path: Path) -> None:
    embedder = SentenceTransformerEmbedder(model_path, batch_size=2)
    rows = embedder.encode(TEXTS)
    assert rows.dtype == np.float32
    assert rows.shape == (5, 16)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 1, 1, 0, 1], rtol=1e-6)
    for text, row in zip(TEXTS, rows, strict=True):
        np.testing.assert_allclose(embedder.encode([text])[0], row, atol=1e-5)


def test_no_text_is_no_row(model_path: Path) -> None:
    assert SentenceTransformerEmbedder(model_path).encode([]).shape == (0, 16)


def test_progress_ends_with_all_texts(model_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    embedder = SentenceTransformerEmbedder(
        model_path, batch_size=1, on_progress=lambda done, of: seen.append((done, of))
    )
    embedder.encode(["red"] * 20)
    assert seen == [(16, 20), (20, 20)]


def test_what_is_beyond_the_length_is_not_read(model_path: Path) -> None:
    short = SentenceTransformerEmbedder(model_path, max_length=1)
    one, two = short.encode(["red apple", "red number"])
    np.testing.assert_array_equal(one, two)
    assert short.name != SentenceTransformerEmbedder(model_path).name


def test_a_model_that_is_damaged_is_one_line(tmp_path: Path, model_path: Path) -> None:
    broken = copytree(model_path, tmp_path / "broken")
    (broken / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"broken cannot be read as a model: [^\n]+$"):
        SentenceTransformerEmbedder(broken)


def test_a_model_that_is_not_there_is_not_fetched(tmp_path: Path, model_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"folder with a sentence-transformers model, got .*nowhere"
    ):
        SentenceTransformerEmbedder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="batch_size of at least 1, got 0"):
        SentenceTransformerEmbedder(model_path, batch_size=0)
    with pytest.raises(ValueError, match="max_length of at least 1, got 0"):
        SentenceTransformerEmbedder(model_path, max_length=0)
