"""Text to token ids and back: a byte-level byte-pair encoding, and the protocol others read.

Sennrich et al. (2016) over bytes, trained and run by the ``tokenizers`` library, so that the file
it writes is the ``tokenizer.json`` that ``transformers``, vLLM and SGLang read. Every byte is in
the alphabet: any text can be encoded, and comes back as it was. Text is never read as a special
token: a document that happens to contain ``<|endoftext|>`` cannot end itself. Only a rendered
conversation is, whose template writes special tokens as text (``reads_special``).

It does not know of chat templates, padding or truncation.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

END_OF_TEXT = "<|endoftext|>"
FOREIGN_ENDS = ("<|end_of_text|>", "</s>", "<eos>")
N_BYTES = 256

# Words carry the character before them, numbers go by threes, and a line's break and the next
# line's indentation stay with the punctuation before them. With 4096 entries that is 6 % fewer
# tokens than GPT-2's pattern, on Python's standard library and on technical prose alike.
PIECES = (
    r"(?:\r?\n)+[ \t]*|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+(?:[\r\n]+[ \t]*)?|\s+(?!\S)|\s+"
)


class Tokenizer(Protocol):
    """Turns text into ids and back."""

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        ...

    @property
    def eos_id(self) -> int | None:
        """The id that ends a document, if there is one."""
        ...

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, no special token among them."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of some ids, special tokens left out."""
        ...


class ByteTokenizer:
    """One id per byte of UTF-8, and id 256 for the end; needs no training."""

    @property
    def vocab_size(self) -> int:
        """257: the bytes and the end."""
        return N_BYTES + 1

    @property
    def eos_id(self) -> int:
        """256."""
        return N_BYTES

    def encode(self, text: str) -> list[int]:
        """Return the bytes of a text."""
        return list(text.encode())

    def encode_prompt(self, text: str) -> list[int]:
        """Return the bytes of a text: nothing stands before a prompt."""
        return self.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of some bytes; broken UTF-8 becomes U+FFFD."""
        return bytes(i for i in ids if i < N_BYTES).decode(errors="replace")


class BytePairTokenizer:
    """A trained byte-pair encoding, as written in a ``tokenizer.json``.

    Parameters
    ----------
    backend : tokenizers.Tokenizer
        The library's object; becomes this one's own and is set not to read special tokens in text.
    eos_token : str, optional
        The special token that ends a document.
    reads_special : bool
        Whether a text that spells a special token is read as that token.

    Raises
    ------
    ValueError
        When `eos_token` is not in the vocabulary.
    """

    def __init__(
        self, backend: tokenizers.Tokenizer, *, eos_token: str | None, reads_special: bool = False
    ) -> None:
        if eos_token is not None and backend.token_to_id(eos_token) is None:
            raise ValueError(f"the end token {eos_token!r} is not in the vocabulary")
        backend.encode_special_tokens = not reads_special
        # What a file says of training batches would cut and fill up prompts.
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self.eos_token = eos_token

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return 1 + max(self._backend.get_vocab().values())

    @property
    def eos_id(self) -> int | None:
        """The id that ends a document, if there is one."""
        if self.eos_token is None:
            return None
        return self._backend.token_to_id(self.eos_token)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, no special token added."""
        # By the batch: a single text is encoded without letting other threads run.
        ids: list[int] = self._backend.encode_batch_fast([text], add_special_tokens=False)[0].ids
        return ids

    def encode_prompt(self, text: str) -> list[int]:
        """Return the ids of a text and what the file puts around one, as a token that begins it."""
        ids: list[int] = self._backend.encode_batch_fast([text], add_special_tokens=True)[0].ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode many texts, on every core that the library may use."""
        encodings = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of some ids, special tokens left out."""
        text: str = self._backend.decode(ids, skip_special_tokens=True)
        return text

    def to_json(self) -> str:
        """Return what a ``tokenizer.json`` holds."""
        text: str = self._backend.to_str(pretty=True)
        return text

    def save(self, path: str | Path) -> None:
        """Write a ``tokenizer.json``."""
        Path(path).write_text(self.to_json(), encoding="utf-8")


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> BytePairTokenizer:
    """Learn a byte-level byte-pair encoding.

    Parameters
    ----------
    texts : iterable of str
        Documents, or pieces of them; read once. Merges never cross from one to the next.
    vocab_size : int
        Ids to assign: the end of text (0), the 256 bytes, then merges while the text has any left
        to offer.

    Raises
    ------
    ValueError
        When `vocab_size` has no room for the bytes and the end.
    """
    if vocab_size < N_BYTES + 1:
        raise ValueError(f"vocab_size must be at least {N_BYTES + 1}, got {vocab_size}")
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return BytePairTokenizer(backend, eos_token=END_OF_TEXT)


def load_tokenizer(path: str | Path, *, reads_special: bool = False) -> BytePairTokenizer:
    """Read a ``tokenizer.json``, or the one in a checkpoint folder.

    The end of text is what the ``tokenizer_config.json`` beside it says, else ``<|endoftext|>``
    or another customary name, else none. A text that spells a special token is read as that token
    if ``reads_special``.

    Raises
    ------
    ValueError
        When there is no such file or it holds something else.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "tokenizer.json"
    if not path.is_file():
        raise ValueError(f"expected a tokenizer.json, but {path} does not exist")
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:
        raise ValueError(f"expected a tokenizer.json in {path}: {error}") from error
    eos_token = _eos_token(path, backend)
    return BytePairTokenizer(backend, eos_token=eos_token, reads_special=reads_special)


def _eos_token(path: Path, backend: tokenizers.Tokenizer) -> str | None:
    """Find out which token ends a document."""
    beside = path.with_name("tokenizer_config.json")
    if beside.is_file():
        try:
            stated = json.loads(beside.read_text(encoding="utf-8")).get("eos_token")
        except (ValueError, AttributeError) as error:
            raise ValueError(f"expected a JSON object in {beside}: {error}") from error
        if isinstance(stated, dict):
            stated = stated.get("content")
        if isinstance(stated, str):
            return stated
    names = (END_OF_TEXT, *FOREIGN_ENDS)
    return next((name for name in names if backend.token_to_id(name) is not None), None)
