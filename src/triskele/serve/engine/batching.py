"""The records of batching: limits of a step, what a step computes of a sequence, and counts."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from triskele.serve.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Batching:
    """How steps are filled.

    Attributes
    ----------
    n_tokens
        Most tokens computed in one step.
    n_running
        Most sequences that run at once.
    """

    n_tokens: int = 2048
    n_running: int = 64

    def __post_init__(self) -> None:
        """Refuse a batch that nothing fits into."""
        if not 1 <= self.n_running <= self.n_tokens:
            raise ValueError(
                f"expected at least one sequence at once and a token for each of them, got {self}"
            )


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive tokens of a sequence to compute in one step.

    Attributes
    ----------
    sequence
        Whose tokens.
    start, n_tokens
        The first of them, and how many.
    n_held
        Tokens from the sequence's beginning whose pages others share: never written again.
    """

    sequence: Sequence
    start: int
    n_tokens: int
    n_held: int

    @property
    def is_sampled(self) -> bool:
        """Whether the sequence's last token is among them, so that the next can be drawn."""
        return self.start + self.n_tokens == len(self.sequence.tokens)


@dataclass(frozen=True, slots=True)
class Work:
    """What a step computes, in the terms by which the simulator's cost model knows its time.

    Attributes
    ----------
    n_tokens
        Tokens that go through the model.
    n_attended
        Σ e·(ctx − e/2) over prompts that bring e new tokens to a context of ctx.
    n_kv
        Σ contexts of running answers.
    """

    n_tokens: int = 0
    n_attended: float = 0.0
    n_kv: int = 0

    @classmethod
    def of(cls, chunks: Iterable[Chunk]) -> Self:
        """Return the work of a step that computes these chunks."""
        n_tokens, n_attended, n_kv = 0, 0.0, 0
        for chunk in chunks:
            n_tokens += chunk.n_tokens
            if chunk.n_tokens == 1 and chunk.start >= chunk.sequence.n_prompt:
                n_kv += chunk.start
            else:
                n_attended += chunk.n_tokens * (chunk.start + chunk.n_tokens / 2)
        return cls(n_tokens, n_attended, n_kv)


@dataclass(slots=True)
class Tally:
    """Counts since the beginning."""

    n_prompt: int = 0
    n_cached: int = 0
    n_generated: int = 0
    n_preempted: int = 0
    n_steps: int = 0
    n_computed: int = 0
    n_finished: int = 0
    n_cancelled: int = 0
