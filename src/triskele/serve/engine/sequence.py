"""One answer in the making: its tokens, its pages, and how far keys and values are computed.

Plain state with one owner at a time: the scheduler for pages and progress, the engine for what is
drawn and told. It knows neither tensors nor clocks.
"""

import random

from triskele.serve.cache import Pin
from triskele.serve.engine.sampling import SamplingParams


class Sequence:
    """A prompt and the answer to it so far.

    Attributes
    ----------
    id
        The caller's name for it.
    tokens
        Prompt and answer.
    n_prompt
        How many of them are the prompt's.
    n_computed
        Tokens whose keys and values are in pages.
    pages
        Those pages, the first ``pin.n_pages`` of them the tree's, the others reserved.
    pin
        What is held of the tree; ``None`` before the first attempt at admission.
    key
        The cache's key of the whole pages of ``tokens`` at the last admission.
    row
        Its row in the scheduler's table of pages; ``None`` while it waits.
    n_cached
        Prompt tokens that the cache had when it was first admitted; ``None`` until then.
    n_preempted
        How often it lost its pages to older ones.
    draws
        The source of its tokens.
    n_seen
        How often each token is in the answer, if a penalty asks.
    """

    __slots__ = (
        "draws",
        "id",
        "key",
        "n_cached",
        "n_computed",
        "n_preempted",
        "n_prompt",
        "n_seen",
        "pages",
        "params",
        "pin",
        "row",
        "tokens",
    )

    def __init__(self, id: str, prompt: list[int], params: SamplingParams, *, seed: int) -> None:
        self.id = id
        self.tokens = list(prompt)
        self.n_prompt = len(prompt)
        self.params = params
        self.n_computed = 0
        self.pages: list[int] = []
        self.pin: Pin | None = None
        self.key = b""
        self.row: int | None = None
        self.n_cached: int | None = None
        self.n_preempted = 0
        self.draws = random.Random(seed)
        self.n_seen: dict[int, int] = {}

    @property
    def n_todo(self) -> int:
        """Tokens to compute before the next can be drawn."""
        return len(self.tokens) - self.n_computed

    @property
    def n_answered(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - self.n_prompt

    @property
    def n_own(self) -> int:
        """Pages reserved for it alone."""
        return len(self.pages) - (0 if self.pin is None else self.pin.n_pages)
