import json
import lzma

import numpy as np
import pytest
from tests.train.small_runs import small_config, write_text

from triskele.model import load_tokenizer, train_tokenizer
from triskele.train import TextOptions, TrainConfig
from triskele.train.corpus import is_held_out, open_corpus
from triskele.train.records import Progress, discard
from triskele.train.shards import write_shard
from triskele.train.tokens import GPT2_VOCABULARY, prepare

CONTEXT = 16


@pytest.fixture
def text(tmp_path):
    return write_text(tmp_path / "text.txt")


def decoded(dataset, part):
    tokens = getattr(dataset, part)
    return dataset.tokenizer.decode(tokens.read(0, len(tokens)).tolist())


def test_training_and_validation_tokens_are_the_documents_on_each_side(text, tmp_path):
    dataset = prepare(small_config(text, tmp_path / "run"), context=CONTEXT, sink=discard)
    pieces = [piece.text for piece in open_corpus(text)]
    held_out = [is_held_out(piece, 0.1) for piece in pieces]
    assert 0 < sum(held_out) < len(pieces)
    for part, side in (("train", False), ("validation", True)):
        expected = [x for x, out in zip(pieces, held_out, strict=True) if out is side]
        assert decoded(dataset, part) == "".join(expected)
        ids = getattr(dataset, part).read(0, len(getattr(dataset, part)))
        assert int((ids == dataset.tokenizer.eos_id).sum()) == len(expected)


def test_bytes_per_token_are_those_of_the_validation_text(text, tmp_path):
    dataset = prepare(small_config(text, tmp_path / "run"), context=CONTEXT, sink=discard)
    n_bytes = len(decoded(dataset, "validation").encode())
    assert dataset.bytes_per_token == n_bytes / len(dataset.validation)


def test_text_is_tokenized_once(text, tmp_path):
    config = small_config(text, tmp_path / "run")
    first = prepare(config, context=CONTEXT, sink=discard)
    stages = []
    again = prepare(config, context=CONTEXT, sink=stages.append)
    assert stages == []
    assert again.fingerprint == first.fingerprint


def test_progress_rises_to_its_total(text, tmp_path):
    records = []
    prepare(small_config(text, tmp_path / "run"), context=CONTEXT, sink=records.append)
    for stage in ("training the tokenizer", "tokenizing"):
        done = [x.done for x in records if isinstance(x, Progress) and x.stage == stage]
        assert done == sorted(done)
        assert done[-1] == text.stat().st_size


def test_changed_text_is_tokenized_anew(text, tmp_path):
    config = small_config(text, tmp_path / "run")
    before = prepare(config, context=CONTEXT, sink=discard)
    write_text(text, seed=5)
    after = prepare(config, context=CONTEXT, sink=discard)
    assert after.fingerprint != before.fingerprint


def test_tokenizing_twice_gives_the_same_files(text, tmp_path):
    for name in ("a", "b"):
        prepare(small_config(text, tmp_path / name), context=CONTEXT, sink=discard)
    for path in (tmp_path / "a" / "tokens").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / "tokens" / path.name).read_bytes()


def test_what_a_crash_left_half_written_is_cleared_away(text, tmp_path):
    out = tmp_path / "run"
    (out / ".tokens.part").mkdir(parents=True)
    (out / ".tokens.part" / "train_000000.bin").write_bytes(b"half")
    prepare(small_config(text, out), context=CONTEXT, sink=discard)
    assert [path.name for path in out.iterdir()] == ["tokens"]


def test_a_single_document_is_split_at_its_end(tmp_path):
    book = tmp_path / "book.txt"
    book.write_text("once upon a time " * 400)
    dataset = prepare(small_config(book, tmp_path / "run"), context=CONTEXT, sink=discard)
    assert len(dataset.validation) > CONTEXT
    assert decoded(dataset, "train") + decoded(dataset, "validation") == book.read_text()


def test_no_single_document_falls_on_the_validation_side(tmp_path):
    for number in range(12):
        book = tmp_path / f"{number}.txt"
        book.write_text(f"book {number} " * 200)
        config = small_config(book, tmp_path / f"run-{number}")
        dataset = prepare(config, context=CONTEXT, sink=discard)
        assert len(dataset.train) > 5 * len(dataset.validation)


def test_validation_text_of_its_own_is_used_whole(text, tmp_path):
    held_out = tmp_path / "held-out.txt.xz"
    with lzma.open(held_out, "wt") as stream:
        stream.write("never seen in training " * 50)
    options = TextOptions(vocab_size=300, validation=held_out)
    config = small_config(text, tmp_path / "run", text=options)
    dataset = prepare(config, context=CONTEXT, sink=discard)
    assert decoded(dataset, "validation") == "never seen in training " * 50
    assert decoded(dataset, "train") == "".join(x.text for x in open_corpus(text))


def test_a_given_tokenizer_is_used(text, tmp_path):
    path = tmp_path / "tokenizer.json"
    train_tokenizer(["an entirely different text"], vocab_size=260).save(path)
    options = TextOptions(tokenizer=path, validation_share=0.1)
    config = small_config(text, tmp_path / "run", text=options)
    dataset = prepare(config, context=CONTEXT, sink=discard)
    assert dataset.vocab_size == load_tokenizer(path).vocab_size == 260


def test_text_too_short_for_the_context_is_refused(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("a few words")
    with pytest.raises(ValueError, match=r"short\.txt is too short: \d+ tokens"):
        prepare(small_config(path, tmp_path / "run"), context=CONTEXT, sink=discard)


def test_a_tokenizer_that_is_none_is_refused(text, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"not": "a tokenizer"}))
    config = small_config(text, tmp_path / "run", text=TextOptions(tokenizer=path))
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        prepare(config, context=CONTEXT, sink=discard)


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(2):
        write_shard(folder / f"fineweb_train_{number:06d}.bin", np.arange(500), vocab_size=500)
    write_shard(folder / "fineweb_val_000000.bin", np.arange(200, 300), vocab_size=500)
    return folder


def from_shards(folder, out, **options):
    config = TrainConfig(data=folder, out=out, text=TextOptions(**options))
    return prepare(config, context=CONTEXT, sink=discard)


def test_ready_shards_are_used_where_they_lie(shards, tmp_path):
    dataset = from_shards(shards, tmp_path / "run")
    assert len(dataset.train) == 1000
    assert dataset.validation.read(0, 3).tolist() == [200, 201, 202]
    assert dataset.vocab_size == GPT2_VOCABULARY
    assert dataset.tokenizer is None
    assert dataset.bytes_per_token is None
    assert not (tmp_path / "run" / "tokens").exists()


def test_a_single_shard_holds_out_its_end(shards, tmp_path):
    dataset = from_shards(shards / "fineweb_train_000000.bin", tmp_path / "run", vocab_size=500)
    assert dataset.vocab_size == 500
    assert len(dataset.train) + len(dataset.validation) == 500
    assert dataset.validation.read(0, 1)[0] == len(dataset.train)


def test_the_tokens_of_one_run_are_ready_shards_for_another(text, tmp_path):
    config = small_config(text, tmp_path / "first")
    first = prepare(config, context=CONTEXT, sink=discard)
    second = from_shards(tmp_path / "first" / "tokens", tmp_path / "second")
    assert len(second.train) == len(first.train)
    assert len(second.validation) == len(first.validation)
    assert second.vocab_size == first.vocab_size
    assert second.bytes_per_token == pytest.approx(first.bytes_per_token)


def test_text_cannot_be_the_validation_of_shards(shards, text, tmp_path):
    with pytest.raises(ValueError, match=r"holds no \.bin shards, but the data does"):
        from_shards(shards, tmp_path / "run", validation=text)
