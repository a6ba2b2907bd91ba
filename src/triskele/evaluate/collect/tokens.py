"""How many tokens a text will be, without a tokenizer: from its characters, corrected by usage.

The first estimate is a quarter of a token per ASCII character and one per other character, plus a
few for the frame of a message. What endpoints count is set against what was estimated, per model,
and scales the estimates that follow. Lengths of replies are means of those seen, per model and kind
of call.
"""

from collections import defaultdict
from dataclasses import dataclass

from triskele.evaluate.collect.ledger import Entry, Kind

ASCII_TOKENS, OTHER_TOKENS, FRAME_TOKENS = 0.25, 1.0, 8
PRIOR_TOKENS = 200.0
"""Estimated tokens that count as if they had been counted and found right."""
REPLY_TOKENS: dict[Kind, float] = {"answer": 400.0, "verdict": 80.0}
"""Tokens of a reply, before any is known."""
PRIOR_REPLIES = 1.0


@dataclass(slots=True)
class _Seen:
    """Sums over the replies that an endpoint counted."""

    n_replies: int = 0
    tokens_in: int = 0
    estimated_in: int = 0
    tokens_out: int = 0


class TokenCounter:
    """Estimates tokens, and learns from entries of the ledger."""

    def __init__(self) -> None:
        self._seen: defaultdict[tuple[str, Kind], _Seen] = defaultdict(_Seen)

    def learn(self, entry: Entry) -> None:
        """Take note of an entry, if the endpoint counted its tokens."""
        if entry.status == "done" and entry.is_counted:
            seen = self._seen[entry.model, entry.kind]
            seen.n_replies += 1
            seen.tokens_in += entry.tokens_in
            seen.estimated_in += entry.estimated_in
            seen.tokens_out += entry.tokens_out

    def scale(self, label: str, kind: Kind) -> float:
        """Return tokens that a model's endpoint counts per token estimated."""
        seen = self._seen.get((label, kind), _Seen())
        return (seen.tokens_in + PRIOR_TOKENS) / (seen.estimated_in + PRIOR_TOKENS)

    def reply(self, label: str, kind: Kind, *, most: int) -> float:
        """Return the tokens to expect of a reply that is cut at ``most``."""
        seen = self._seen.get((label, kind), _Seen())
        expected = seen.tokens_out + PRIOR_REPLIES * min(REPLY_TOKENS[kind], most)
        return min(float(most), expected / (seen.n_replies + PRIOR_REPLIES))


def estimate_tokens(*texts: str | None) -> int:
    """Return about how many tokens a request of these messages is, before any correction."""
    total = 0.0
    for text in texts:
        if text is not None:
            # Encoded, an ASCII character is one byte and the others are two to four.
            n_ascii = len(text.encode("ascii", "ignore"))
            n_others = len(text) - n_ascii
            total += FRAME_TOKENS + ASCII_TOKENS * n_ascii + OTHER_TOKENS * n_others
    return round(total)
