"""Tokens to text as they come: never half a character, never what may become a stop text.

Characters may span tokens. Text is held back while it ends in U+FFFD, by which a decoder marks
bytes that are not yet a character, and while its end is the beginning of a stop text. What has
been emitted is never taken back.
"""

from collections.abc import Sequence
from typing import Protocol

BROKEN = "\ufffd"
MAX_UNREAD = 16
"""Tokens without a whole character at their end after which they are taken for broken bytes."""


class Decoder(Protocol):
    """Turns ids into text; a :class:`triskele.model.Tokenizer` does."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of some ids."""
        ...


class TextStream:
    """The text of one answer.

    Parameters
    ----------
    decoder
        Of the answer's tokens.
    stop
        Texts that end the answer.
    include_stop
        Whether the stop text is emitted.

    Attributes
    ----------
    is_stopped
        Whether a stop text has come; nothing is emitted after it.
    """

    def __init__(
        self, decoder: Decoder, *, stop: Sequence[str] = (), include_stop: bool = False
    ) -> None:
        self.is_stopped = False
        self._decoder = decoder
        self._stop = tuple(stop)
        self._include_stop = include_stop
        # Decoders treat a beginning differently, so that new tokens are read after some old ones.
        self._context: list[int] = []
        self._context_text = ""
        self._unread: list[int] = []
        self._n_read = 0
        self._held = ""

    def push(self, token: int) -> str:
        """Take a token; return the text that is certain now."""
        self._unread.append(token)
        return self._emit(self._read(is_end=False), is_end=False)

    def close(self) -> str:
        """Take no more; return what was held back."""
        return self._emit(self._read(is_end=True), is_end=True)

    def _read(self, *, is_end: bool) -> str:
        """Return the new whole characters."""
        if not self._unread:
            return ""
        text = self._decoder.decode([*self._context, *self._unread])[len(self._context_text) :]
        whole = text
        # A token without text of its own may yet be the space before the next.
        is_whole = bool(text) and not text.endswith(BROKEN)
        is_whole |= is_end or len(self._unread) > MAX_UNREAD
        if not is_whole:
            whole = text.rstrip(BROKEN)
        new = whole[self._n_read :]
        self._n_read = max(self._n_read, len(whole))
        if is_whole:
            if text:
                self._context = self._unread
                self._context_text = self._decoder.decode(self._context)
            self._unread, self._n_read = [], 0
        return new

    def _emit(self, new: str, *, is_end: bool) -> str:
        """Return what may be told of the text held and the new."""
        if self.is_stopped:
            return ""
        if not self._stop:
            return new
        text = self._held + new
        found = [(at, stop) for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            at, stop = min(found, key=lambda hit: (hit[0], len(hit[1])))
            self.is_stopped = True
            self._held = ""
            return text[: at + len(stop)] if self._include_stop else text[:at]
        n_held = 0 if is_end else self._n_undecided(text)
        self._held = text[len(text) - n_held :]
        return text[: len(text) - n_held]

    def _n_undecided(self, text: str) -> int:
        """Return the length of the longest end of ``text`` that begins a stop text."""
        longest = min(len(text), max(map(len, self._stop)) - 1)
        for n in range(longest, 0, -1):
            end = text[-n:]
            if any(stop.startswith(end) for stop in self._stop):
                return n
        return 0
