"""Text as tokens and pages, without a tokenizer.

A token is taken to be a fixed number of characters, four unless told otherwise, which is about
right for English; a text fills its last token, so that no token spans two messages, as none does
under a chat template. A page is so many tokens.
"""

from dataclasses import dataclass

from triskele.serve.cache import chained_hashes

FILLER = "\0"
BYTES_PER_CHARACTER = 4


@dataclass(frozen=True, slots=True)
class TextPages:
    """How text is cut.

    Attributes
    ----------
    page_size
        Tokens per page.
    characters_per_token
        Characters per token.
    """

    page_size: int
    characters_per_token: int = 4

    def whole_tokens(self, text: str, *, limit: int | None = None) -> str:
        """Return ``text`` filled up to whole tokens: at least one, at most ``limit``."""
        if limit is not None:
            text = text[: limit * self.characters_per_token]
        n_tokens = max(1, -(-len(text) // self.characters_per_token))
        return text.ljust(n_tokens * self.characters_per_token, FILLER)

    def n_tokens(self, text: str) -> int:
        """Return the length of a text of whole tokens."""
        return len(text) // self.characters_per_token

    def hashes(self, text: str, *, above: int = 0) -> list[int]:
        """Return one hash per whole page of a text of whole tokens.

        Parameters
        ----------
        text
            What follows ``above``, from the border of a page on.
        above
            Hash of the last page before it; 0 at the beginning.
        """
        data = text.encode("utf-32-le", "surrogatepass")
        step = self.page_size * self.characters_per_token * BYTES_PER_CHARACTER
        return chained_hashes(data, step, above=above)
