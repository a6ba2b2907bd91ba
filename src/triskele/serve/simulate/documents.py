"""Questions on real long documents from a local file in LooGLE's format.

JSON lines, or a JSON list. The document stands under ``input`` or ``context``; the questions under
``qa_pairs``, a list of ``{"Q": ..., "A": ...}`` or a string that holds such a list as Python writes
it, or one under ``question`` with its ``answer``. Where there is none, as in the summarization
part, the document itself is the question and ``output`` the answer. Entries with the same document
are taken together.
"""

import ast
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec

from triskele.serve.cache import hash_key
from triskele.serve.cache.radix import HASH_BYTES
from triskele.serve.simulate.arrivals import arrival_times
from triskele.serve.simulate.bounds import require_at_least, require_positive
from triskele.serve.simulate.files import entries_of
from triskele.serve.simulate.streams import Purpose, stream
from triskele.serve.simulate.text import TextPages
from triskele.serve.simulate.workload import Job

NO_PAIRS = "none"
"""What LooGLE writes where there are no questions."""


class _Pair(msgspec.Struct):
    Q: str
    A: Any = ""


class _Entry(msgspec.Struct):
    input: str | None = None
    context: str | None = None
    qa_pairs: list[_Pair] | str | None = None
    question: str | None = None
    answer: Any = ""
    output: Any = ""


@dataclass(frozen=True, slots=True)
class _Request:
    """A question on a document; ``key`` holds the document's pages, ``own`` those from there on."""

    key: bytes
    own: bytes
    n_prompt: int
    n_output: int


@dataclass(frozen=True, slots=True)
class Documents:
    """Questions on documents, read when this is made, in random order."""

    path: Path
    """Documents and questions in JSON, plain, .gz or .xz."""
    _: KW_ONLY
    lengths: tuple[int, ...] = ()
    """Tokens to which documents are cut, in turn; whole documents if not given."""
    limit: int | None = None
    """Documents to keep; all if not given."""
    questions: int = 100
    """Questions to keep per document."""
    max_output: int | None = None
    """Tokens to which answers are cut; whole answers if not given."""
    rate: float = 12.0
    """Requests per second."""
    burstiness: float = 1.0
    """Coefficient of variation of the gaps between requests; 1 is Poisson."""
    page_size: int = 16
    """Tokens per page."""
    characters_per_token: int = 4
    """Characters that are taken for a token."""
    seed: int = 0
    """Seed of order and arrival times."""
    _requests: tuple[_Request, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_at_least(
            1,
            lengths=min(self.lengths, default=1),
            limit=1 if self.limit is None else self.limit,
            questions=self.questions,
            max_output=1 if self.max_output is None else self.max_output,
            page_size=self.page_size,
            characters_per_token=self.characters_per_token,
        )
        require_at_least(0, seed=self.seed)
        require_positive(rate=self.rate, burstiness=self.burstiness)
        requests = tuple(self._read())
        if not requests:
            raise ValueError(f"expected at least one question, there is none in {self.path}")
        object.__setattr__(self, "_requests", requests)

    @property
    def n_jobs(self) -> int:
        """How many questions there are in all."""
        return len(self._requests)

    def arrivals(self) -> Iterator[Job]:
        """Yield the requests in order of time; a job's id counts questions by document."""
        times = stream(self.seed, Purpose.TIMES)
        order = stream(self.seed, Purpose.ORDER).permutation(self.n_jobs)
        at = arrival_times(self.n_jobs, times, rate=self.rate, burstiness=self.burstiness)
        for number, now in zip(order.tolist(), at.tolist(), strict=True):
            request = self._requests[number]
            key_after = request.key + request.own
            yield Job(
                id=number,
                at=now,
                key=key_after[: request.n_prompt // self.page_size * HASH_BYTES],
                key_after=key_after,
                n_prompt=request.n_prompt,
                n_output=request.n_output,
            )

    def follow_up(self, job: Job, now: float) -> Job | None:
        """Return ``None``: no request waits for another."""
        return None

    def _read(self) -> Iterator[_Request]:
        pages = TextPages(self.page_size, self.characters_per_token)
        documents = list(_questions_by_document(self.path).items())[: self.limit]
        for (text, questions), length in zip(documents, cycle(self.lengths or (None,))):
            document = pages.whole_tokens(text, limit=length)
            hashes = pages.hashes(document)
            key = hash_key(hashes)
            begun = document[len(hashes) * self.page_size * self.characters_per_token :]
            for question, answer in questions[: self.questions]:
                asked = pages.whole_tokens(question)
                answered = pages.whole_tokens(answer, limit=self.max_output)
                own = pages.hashes(begun + asked + answered, above=hashes[-1] if hashes else 0)
                yield _Request(
                    key=key,
                    own=hash_key(own),
                    n_prompt=pages.n_tokens(document) + pages.n_tokens(asked),
                    n_output=pages.n_tokens(answered),
                )


def _questions_by_document(path: Path) -> dict[str, list[tuple[str, str]]]:
    documents: dict[str, list[tuple[str, str]]] = {}
    for place, entry in entries_of(path, _Entry):
        text = entry.context if entry.input is None else entry.input
        if text is None:
            raise ValueError(f"{place}: expected a document under input or context")
        documents.setdefault(text, []).extend(_questions(place, entry))
    return documents


def _questions(place: str, entry: _Entry) -> list[tuple[str, str]]:
    if entry.qa_pairs is None and entry.question is not None:
        return [(entry.question, str(entry.answer))]
    if entry.qa_pairs is None or entry.qa_pairs == NO_PAIRS:
        return [("", str(entry.output))]
    pairs = entry.qa_pairs
    if isinstance(pairs, str):
        try:
            pairs = msgspec.convert(ast.literal_eval(pairs), list[_Pair])
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
            raise ValueError(f"{place}: expected a list of pairs in qa_pairs: {error}") from None
    return [(pair.Q, str(pair.A)) for pair in pairs]
