"""The engine: requests in, steps, pieces of answers out.

It joins the scheduler (which tokens, which pages), the runner (logits), the sampler (tokens) and
the streams (text). One thread owns it. It never reads a clock, never waits, and knows nothing of
networks: whoever drives it calls :meth:`Engine.step` as long as there is work.
"""

import random
from collections.abc import Sequence as Sequences
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from triskele.model import Transformer
from triskele.serve.cache import EvictionPolicy, PrefixCache
from triskele.serve.engine.batching import Batching, Chunk, Tally, Work
from triskele.serve.engine.changes import Removed, Stored
from triskele.serve.engine.layout import Integers
from triskele.serve.engine.pages import PagedStore
from triskele.serve.engine.runner import Runner
from triskele.serve.engine.sampler import Drawn, Logprobs, draw
from triskele.serve.engine.sampling import SamplingParams
from triskele.serve.engine.scheduler import Scheduler
from triskele.serve.engine.sequence import Sequence
from triskele.serve.engine.stream import Decoder, TextStream

Finish = Literal["stop", "length"]


class ForwardPass(Protocol):
    """Turns chunks into logits; a :class:`Runner` does."""

    def run(self, chunks: Sequences[Chunk], tables: Integers) -> Tensor:
        """Return one row of logits for each chunk that ends its sequence, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """What a step added to an answer.

    Attributes
    ----------
    id
        Whose answer.
    text
        Text that is certain now; may be empty.
    token
        The token that was drawn.
    logprobs
        What was asked for about it.
    finish
        Why the answer ends here, if it does: ``stop`` for an end token or a stop text, ``length``
        for ``max_tokens``.
    n_prompt, n_cached, n_answered
        Tokens of the prompt, those of them that the cache had, and tokens of the answer so far.
    """

    id: str
    text: str
    token: int
    logprobs: Logprobs | None
    finish: Finish | None
    n_prompt: int
    n_cached: int
    n_answered: int


class TooLong(ValueError):
    """A prompt and the answer asked for are more tokens than a sequence may have."""


class Engine:
    """Serves sequences.

    Parameters
    ----------
    forward
        Computes logits.
    scheduler
        Fresh; the engine becomes its owner.
    decoder
        Turns tokens into text.
    vocab_size
        Tokens are below it.
    end_ids
        Tokens that end an answer, unless a request ignores them.
    rng
        Seeds of requests that bring none.
    """

    def __init__(
        self,
        forward: ForwardPass,
        scheduler: Scheduler,
        decoder: Decoder,
        *,
        vocab_size: int,
        end_ids: frozenset[int] = frozenset(),
        rng: random.Random,
    ) -> None:
        self._forward = forward
        self._scheduler = scheduler
        self._decoder = decoder
        self._vocab_size = vocab_size
        self._end_ids = end_ids
        self._rng = rng
        self._answers: dict[str, tuple[Sequence, TextStream]] = {}
        self._chunks: list[Chunk] = []

    @classmethod
    def of(
        cls,
        model: Transformer,
        decoder: Decoder,
        policy: EvictionPolicy,
        *,
        n_pages: int,
        page_size: int = 16,
        batching: Batching | None = None,
        end_ids: frozenset[int] = frozenset(),
        rng: random.Random,
        tells: bool = False,
    ) -> "Engine":
        """Return an engine that runs ``model`` on the model's own device and in its precision.

        Parameters
        ----------
        policy
            What a cache of ``n_pages`` pages of ``page_size`` tokens evicts; fresh.
        batching
            Limits of a step; the defaults if not given.
        tells
            Whether :meth:`changes` reports pages stored and removed.
        """
        weight = model.lm_head.weight
        store = PagedStore(
            model.config,
            n_pages=n_pages,
            page_size=page_size,
            dtype=weight.dtype,
            device=weight.device,
        )
        scheduler = Scheduler(
            PrefixCache.for_tokens(n_pages, policy, page_size=page_size),
            page_size=page_size,
            max_seq_len=model.config.max_seq_len,
            batching=batching or Batching(),
            tells=tells,
        )
        return cls(
            Runner(model, store),
            scheduler,
            decoder,
            vocab_size=model.config.vocab_size,
            end_ids=end_ids,
            rng=rng,
        )

    @property
    def max_tokens(self) -> int:
        """Most tokens of a prompt and its answer."""
        return self._scheduler.max_tokens

    @property
    def tally(self) -> Tally:
        """Counts since the beginning."""
        return self._scheduler.tally

    @property
    def cache(self) -> PrefixCache:
        """The prefix cache, to look at."""
        return self._scheduler.cache

    @property
    def n_running(self) -> int:
        """Sequences under way."""
        return self._scheduler.n_running

    @property
    def n_waiting(self) -> int:
        """Sequences that wait for room."""
        return self._scheduler.n_waiting

    def add(self, id: str, prompt: Sequences[int], params: SamplingParams) -> None:
        """Queue a prompt.

        Raises
        ------
        TooLong
            When the prompt and ``max_tokens`` are more than :attr:`max_tokens`.
        ValueError
            When the prompt is empty or has ids beyond the vocabulary, or the id is in use.
        """
        if id in self._answers:
            raise ValueError(f"expected an id that is not in use, got {id!r}")
        self.require_servable(prompt, params)
        seed = self._rng.getrandbits(63) if params.seed is None else params.seed
        sequence = Sequence(id, list(prompt), params, seed=seed)
        stream = TextStream(self._decoder, stop=params.stop, include_stop=params.include_stop)
        self._answers[id] = sequence, stream
        self._scheduler.submit(sequence)

    def require_servable(self, prompt: Sequences[int], params: SamplingParams) -> None:
        """Raise what :meth:`add` would raise about a request; reads nothing that ever changes."""
        if not prompt:
            raise ValueError("expected a prompt of at least one token, got none")
        if not 0 <= min(prompt) <= max(prompt) < self._vocab_size:
            raise ValueError(f"expected token ids below {self._vocab_size}, got {max(prompt)}")
        if any(token >= self._vocab_size for token in params.logit_bias):
            raise ValueError(f"expected tokens of logit_bias below {self._vocab_size}")
        if len(prompt) + params.max_tokens > self.max_tokens:
            raise TooLong(
                f"at most {self.max_tokens} tokens fit, "
                f"got {len(prompt)} of the prompt and {params.max_tokens} of the answer"
            )

    def cancel(self, id: str) -> bool:
        """Forget a sequence and free its pages; tells whether there was one."""
        found = self._answers.pop(id, None)
        if found is not None:
            self._scheduler.cancel(found[0])
        return found is not None

    def step(self) -> list[Piece]:
        """Compute one batch and return what it added to answers; empty when there is no work."""
        chunks = self._chunks = self._scheduler.plan()
        if not chunks:
            return []
        logits_NV = self._forward.run(chunks, self._scheduler.tables)
        sampled = [chunk.sequence for chunk in chunks if chunk.is_sampled]
        drawn = iter(draw(logits_NV, sampled) if sampled else ())
        pieces = []
        for chunk in chunks:
            if not chunk.is_sampled:
                self._scheduler.computed(chunk, None)
                continue
            token = next(drawn)
            self._scheduler.computed(chunk, token.token)
            pieces.append(self._tell(chunk.sequence, token))
        return pieces

    def work(self) -> Work:
        """Return what the last step computed."""
        return Work.of(self._chunks)

    def abort(self) -> list[str]:
        """Drop every sequence and everything cached, as after a failed step; returns their ids."""
        ids = list(self._answers)
        for id in ids:
            self.cancel(id)
        self._scheduler.clear()
        return ids

    def changes(self) -> list[Stored | Removed]:
        """Return what happened to pages since the last call, if the engine tells."""
        return self._scheduler.changes()

    def check(self) -> None:
        """Assert what must always hold between steps; for tests."""
        self._scheduler.check()
        assert {s.id for s in self._scheduler.sequences()} == set(self._answers)

    def _tell(self, sequence: Sequence, drawn: Drawn) -> Piece:
        """Take a token into the answer."""
        params, token = sequence.params, drawn.token
        _, stream = self._answers[sequence.id]
        if params.presence_penalty or params.frequency_penalty:
            sequence.n_seen[token] = sequence.n_seen.get(token, 0) + 1
        ends = token in params.stop_ids or (not params.ignore_eos and token in self._end_ids)
        text = "" if ends else stream.push(token)
        finish: Finish | None = None
        if ends or stream.is_stopped:
            finish = "stop"
        elif sequence.n_answered >= params.max_tokens:
            finish = "length"
        if finish is not None:
            text += stream.close()
            self._scheduler.finish(sequence)
            del self._answers[sequence.id]
        assert sequence.n_cached is not None
        return Piece(
            id=sequence.id,
            text=text,
            token=token,
            logprobs=drawn.logprobs,
            finish=finish,
            n_prompt=sequence.n_prompt,
            n_cached=sequence.n_cached,
            n_answered=sequence.n_answered,
        )
