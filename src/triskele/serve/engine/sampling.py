"""What a request may ask of its answer: how tokens are drawn, and where it ends.

Validated once, when the record is made; nothing behind it checks again. It does not know of
logits, of text, or of who asks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_LOGPROBS = 64
MAX_STOPS = 64
MAX_STOP_LENGTH = 256
MAX_BIASES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How one answer is drawn and where it ends.

    Attributes
    ----------
    max_tokens : int
        Tokens at most.
    temperature : float
        Divides the logits; 0 takes the likeliest token.
    top_k : int, optional
        Draw among so many likeliest tokens.
    top_p : float
        Draw among the fewest likeliest tokens that together have this probability, in (0, 1].
    min_p : float
        Draw among tokens at least this share as likely as the likeliest, in [0, 1].
    seed : int, optional
        The same seed draws the same tokens, whatever else is served meanwhile.
    presence_penalty, frequency_penalty : float
        Taken from the logits of tokens already in the answer: once, and once per occurrence.
    logit_bias : mapping of int to float
        Added to the logits of these tokens.
    logprobs : int, optional
        Tell the log-probability of every token of the answer, before temperature and penalties,
        and of so many likeliest alternatives.
    stop : tuple of str
        Texts before which the answer ends.
    stop_ids : frozenset of int
        Tokens with which the answer ends, besides the model's own.
    include_stop : bool
        Whether the stop text is part of the answer.
    ignore_eos : bool
        Whether to go on after the model's own end tokens.

    Raises
    ------
    ValueError
        When a value is out of range.
    """

    max_tokens: int = 16
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    stop: tuple[str, ...] = ()
    stop_ids: frozenset[int] = frozenset()
    include_stop: bool = False
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        _require("max_tokens", self.max_tokens, "at least 1", self.max_tokens >= 1)
        _require("temperature", self.temperature, "in [0, 100]", 0 <= self.temperature <= 100)
        if self.top_k is not None:
            _require("top_k", self.top_k, "at least 1", self.top_k >= 1)
        _require("top_p", self.top_p, "in (0, 1]", 0 < self.top_p <= 1)
        _require("min_p", self.min_p, "in [0, 1]", 0 <= self.min_p <= 1)
        for name in ("presence_penalty", "frequency_penalty"):
            _require(name, getattr(self, name), "in [-2, 2]", -2 <= getattr(self, name) <= 2)
        for token, bias in self.logit_bias.items():
            _require("logit_bias", bias, "in [-100, 100]", -100 <= bias <= 100)
            _require("tokens of logit_bias", token, "at least 0", token >= 0)
        if self.logprobs is not None:
            fits = 0 <= self.logprobs <= MAX_LOGPROBS
            _require("logprobs", self.logprobs, f"in [0, {MAX_LOGPROBS}]", fits)
        _require("stop", self.stop, "texts that are not empty", all(self.stop))
        fits = len(self.stop) <= MAX_STOPS
        _require("stop", len(self.stop), f"at most {MAX_STOPS} texts", fits)
        longest = max(map(len, self.stop), default=0)
        fits = longest <= MAX_STOP_LENGTH
        _require("stop", longest, f"at most {MAX_STOP_LENGTH} characters each", fits)
        fits = len(self.logit_bias) <= MAX_BIASES
        _require("logit_bias", len(self.logit_bias), f"at most {MAX_BIASES} tokens", fits)

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0

    @property
    def changes_logits(self) -> bool:
        """Whether penalties or biases come before the draw."""
        return bool(self.presence_penalty or self.frequency_penalty or self.logit_bias)


def _require(name: str, value: object, expected: str, holds: bool) -> None:
    if not holds:
        raise ValueError(f"{name} must be {expected}, got {value!r}")
