import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models

from triskele.model import BytePairTokenizer, ByteTokenizer, train_tokenizer
from triskele.serve.engine.stream import MAX_UNREAD, Decoder, TextStream

TRAINED = train_tokenizer(["the cat sat on the mat, naïve 東京 😀😀 don't\n\n"] * 5, vocab_size=300)
TEXTS = st.text(st.sampled_from("ab .\n\u00e9\u6771\U0001f600"), max_size=20)


def sentence_pieces() -> BytePairTokenizer:
    """Return a tokenizer as Llama's first: spaces are letters, bytes stand for what is rare."""
    vocab = {f"<0x{n:02X}>": n for n in range(256)}
    vocab |= {piece: 256 + n for n, piece in enumerate("▁abcde")}
    backend = tokenizers.Tokenizer(models.BPE(vocab, [], byte_fallback=True))
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return BytePairTokenizer(backend, eos_token=None)


DECODERS: dict[str, Decoder] = {
    "bytes": ByteTokenizer(),
    "trained": TRAINED,
    "pieces": sentence_pieces(),
}


def pushed(stream: TextStream, ids: list[int]) -> list[str]:
    return [*(stream.push(token) for token in ids), stream.close()]


@pytest.mark.parametrize("kind", ["bytes", "trained"])
@given(text=TEXTS)
def test_pieces_are_whole_characters_and_join_to_the_text(kind: str, text: str) -> None:
    decoder = DECODERS[kind]
    assert isinstance(decoder, ByteTokenizer | BytePairTokenizer)
    pieces = pushed(TextStream(decoder), decoder.encode(text))
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("kind", DECODERS)
@given(
    ids=st.lists(st.sampled_from([32, 97, 0xE6, 0x9D, 0xB1, 0xF0, 0x9F, 0x98, 0x80]), max_size=9)
)
def test_any_tokens_have_some_text_and_only_the_last_may_be_broken(
    kind: str, ids: list[int]
) -> None:
    pieces = pushed(TextStream(DECODERS[kind]), ids)
    if kind == "bytes":
        assert "".join(pieces) == DECODERS[kind].decode(ids)
    for piece in pieces[:-1]:
        assert not piece.endswith("\ufffd")


def test_spaces_between_tokens_survive_a_decoder_that_strips_the_first() -> None:
    pieces = sentence_pieces()
    ids = pieces.encode("▁a▁b▁▁c")
    assert pieces.decode(ids) == "a b  c"
    assert "".join(pushed(TextStream(pieces), ids)) == "a b  c"


def test_a_character_of_three_tokens_comes_with_the_third() -> None:
    stream = TextStream(ByteTokenizer())
    assert [stream.push(byte) for byte in "x東".encode()] == ["x", "", "", "東"]


def test_broken_bytes_do_not_hold_the_text_for_ever() -> None:
    stream = TextStream(ByteTokenizer())
    pieces = [stream.push(0xFF) for _ in range(MAX_UNREAD + 1)]
    assert "".join(pieces) == "\ufffd" * (MAX_UNREAD + 1)


def test_half_a_character_at_the_very_end_is_marked() -> None:
    assert pushed(TextStream(ByteTokenizer()), [97, 0xE6, 0x9D])[-1] == "\ufffd"


@given(
    text=st.text("ab", max_size=14),
    stop=st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
    include=st.booleans(),
)
def test_nothing_of_a_stop_text_nor_after_it_is_emitted(
    text: str, stop: list[str], include: bool
) -> None:
    stream = TextStream(ByteTokenizer(), stop=stop, include_stop=include)
    pieces: list[str] = []
    for byte in text.encode():
        if not stream.is_stopped:
            pieces.append(stream.push(byte))
    pieces.append(stream.close())
    # Read one character at a time, the first stop text to be complete ends the answer.
    ends = [(text.find(each) + len(each), text.find(each)) for each in stop if each in text]
    assert stream.is_stopped == bool(ends)
    expected = text
    if ends:
        end, _ = min(ends)
        begin = min(at for whole, at in ends if whole == end)
        expected = text[:end] if include else text[:begin]
    assert "".join(pieces) == expected


def test_what_may_become_a_stop_text_is_held_back_and_given_out_when_it_does_not() -> None:
    stream = TextStream(ByteTokenizer(), stop=["END"])
    assert [stream.push(byte) for byte in b"xENxE"] == ["x", "", "", "ENx", ""]
    assert stream.close() == "E"


def test_one_token_may_hold_text_and_stop_text() -> None:
    class Words:
        def decode(self, ids: list[int]) -> str:
            return "".join(["one STOP two", " three"][i] for i in ids)

    stream = TextStream(Words(), stop=["STOP"])  # type: ignore[arg-type]
    assert stream.push(0) == "one "
    assert stream.is_stopped
    assert stream.close() == ""


def test_end_tokens_have_no_text() -> None:
    assert pushed(TextStream(TRAINED), [0, *TRAINED.encode("cat"), 0])[-1] == ""
