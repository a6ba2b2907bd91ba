import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import processors

from triskele.model import BytePairTokenizer, ByteTokenizer, load_tokenizer, train_tokenizer
from triskele.model import Tokenizer as TokenizerProtocol

TEXTS = [
    f"def f{i}(x):\n    return x + {i}  # the {i}th function of the file\n" for i in range(200)
]
TRAINED = train_tokenizer(TEXTS, vocab_size=400)
EVERY_KIND: list[TokenizerProtocol] = [ByteTokenizer(), TRAINED]
ANY_TEXT = st.text(max_size=200)


@pytest.mark.parametrize("tokenizer", EVERY_KIND, ids=lambda t: type(t).__name__)
@given(text=ANY_TEXT)
def test_any_text_comes_back_as_it_was(tokenizer: TokenizerProtocol, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(0 <= i < tokenizer.vocab_size for i in ids)


@pytest.mark.parametrize("tokenizer", EVERY_KIND, ids=lambda t: type(t).__name__)
def test_a_text_that_spells_the_end_does_not_end(tokenizer: TokenizerProtocol) -> None:
    text = "before <|endoftext|> after"
    ids = tokenizer.encode(text)
    assert tokenizer.eos_id not in ids
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("tokenizer", EVERY_KIND, ids=lambda t: type(t).__name__)
def test_the_end_has_an_id_and_no_text(tokenizer: TokenizerProtocol) -> None:
    assert tokenizer.eos_id is not None
    assert tokenizer.decode([*tokenizer.encode("a"), tokenizer.eos_id]) == "a"


def test_training_gives_id_0_to_the_end_and_the_size_asked_for() -> None:
    assert TRAINED.eos_id == 0
    assert TRAINED.vocab_size == 400


def test_training_shortens_text_like_the_texts() -> None:
    assert len(TRAINED.encode(TEXTS[0])) < len(TEXTS[0]) / 2


def test_training_is_deterministic() -> None:
    assert train_tokenizer(TEXTS, vocab_size=400).to_json() == TRAINED.to_json()


def test_a_vocabulary_ends_where_the_text_has_no_more_to_merge() -> None:
    small = train_tokenizer(["ab"], vocab_size=400)
    assert small.vocab_size == 258
    assert small.decode(small.encode("ünï")) == "ünï"


def test_a_batch_is_encoded_as_its_texts_are() -> None:
    assert TRAINED.encode_batch(TEXTS[:5]) == [TRAINED.encode(text) for text in TEXTS[:5]]
    assert TRAINED.encode_batch([]) == []


def test_a_line_break_and_its_indentation_can_stay_with_the_punctuation_before() -> None:
    assert len(TRAINED.encode("):\n    ")) == 1


def test_broken_bytes_are_marked_not_raised() -> None:
    assert ByteTokenizer().decode([0xC3]) == "\ufffd"
    half_a_letter = TRAINED.encode("é")[:1]
    assert TRAINED.decode(half_a_letter) == "\ufffd"


def test_room_for_the_bytes_is_needed() -> None:
    with pytest.raises(ValueError, match="at least 257, got 256"):
        train_tokenizer(TEXTS, vocab_size=256)


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    TRAINED.save(tmp_path / "tokenizer.json")
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        loaded = load_tokenizer(path)
        assert loaded.encode(TEXTS[3]) == TRAINED.encode(TEXTS[3])
        assert loaded.eos_id == 0
        assert loaded.encode("<|endoftext|>") == TRAINED.encode("<|endoftext|>") != [0]


@pytest.mark.parametrize("stated", ["</s>", {"content": "</s>"}])
def test_the_end_is_what_the_file_beside_says(tmp_path: Path, stated: object) -> None:
    foreign = tokenizers.Tokenizer.from_str(TRAINED.to_json())
    foreign.add_special_tokens(["<pad>", "</s>"])
    foreign.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).eos_id == 0
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": stated}))
    loaded = load_tokenizer(tmp_path)
    assert (loaded.eos_token, loaded.eos_id, loaded.vocab_size) == ("</s>", 401, 402)


def test_a_tokenizer_without_an_end_says_so() -> None:
    endless = BytePairTokenizer(tokenizers.Tokenizer.from_str(TRAINED.to_json()), eos_token=None)
    assert endless.eos_id is None
    with pytest.raises(ValueError, match="'</s>' is not in the vocabulary"):
        BytePairTokenizer(tokenizers.Tokenizer.from_str(TRAINED.to_json()), eos_token="</s>")


def test_special_tokens_are_read_only_where_that_is_asked_for(tmp_path: Path) -> None:
    TRAINED.save(tmp_path / "tokenizer.json")
    text = "a<|endoftext|>b"
    reading = load_tokenizer(tmp_path, reads_special=True)
    assert reading.encode(text) == [*TRAINED.encode("a"), 0, *TRAINED.encode("b")]
    assert 0 not in load_tokenizer(tmp_path).encode(text)


def test_a_prompt_begins_as_the_file_says(tmp_path: Path) -> None:
    assert TRAINED.encode_prompt("ab") == TRAINED.encode("ab")
    assert ByteTokenizer().encode_prompt("ab") == [97, 98]
    foreign = tokenizers.Tokenizer.from_str(TRAINED.to_json())
    foreign.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $0", special_tokens=[("<|endoftext|>", 0)]
    )
    foreign.enable_truncation(3)
    foreign.enable_padding(length=90)
    foreign.save(str(tmp_path / "tokenizer.json"))
    loaded = load_tokenizer(tmp_path)
    assert loaded.encode_prompt("a longer text") == [0, *TRAINED.encode("a longer text")]
    assert loaded.encode("a longer text") == TRAINED.encode("a longer text")


def test_missing_and_damaged_files_are_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tokenizer\.json does not exist"):
        load_tokenizer(tmp_path)
    TRAINED.save(tmp_path / "tokenizer.json")
    for content in ("{", "[]"):
        (tmp_path / "tokenizer_config.json").write_text(content)
        with pytest.raises(ValueError, match=r"object in .*tokenizer_config\.json: "):
            load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"expected a tokenizer\.json in .*tokenizer\.json: "):
        load_tokenizer(tmp_path)
