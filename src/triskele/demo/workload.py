"""Who asks what, and when: passages of held-out text, read on from one request to the next.

Each passage is a session. Its first prompt is its beginning, every further one goes on where the
text itself goes on, so that prompts of a passage begin alike and what a worker has cached of one
serves the next. How the text continues after a prompt is known, which is what models are scored by.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from triskele.demo.config import Traffic
from triskele.demo.domains import Domain
from triskele.model import BytePairTokenizer

LINE_TOKENS = 24
"""How far back from where a prompt would end the end of a line is looked for."""
BROKEN = "\ufffd"


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text that is asked about.

    Attributes
    ----------
    domain
        Where it comes from.
    tokens
        All of it.
    cuts
        Where its prompts end, in tokens.
    """

    domain: str
    tokens: tuple[int, ...]
    cuts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A prompt, and when it is asked.

    Attributes
    ----------
    passage, turn
        Which passage, and the how many-th prompt of it.
    at
        Seconds from the beginning of the workload.
    prompt
        Text.
    """

    passage: int
    turn: int
    at: float
    prompt: str


@dataclass(frozen=True, slots=True)
class Workload:
    """Passages, and the queries about them in the order of their times."""

    passages: tuple[Passage, ...]
    queries: tuple[Query, ...]


def workloads(
    domains: Sequence[Domain], tokenizer: BytePairTokenizer, traffic: Traffic, *, seed: int
) -> tuple[Workload, Workload]:
    """Return two workloads of the same kind that have no text in common.

    Raises
    ------
    ValueError
        If there is too little text.
    """
    rng = random.Random(f"{seed}, passages")
    halves: tuple[list[Passage], list[Passage]] = [], []
    n = traffic.passages
    for domain in domains:
        found = list(_passages(domain, tokenizer, traffic))
        if len(found) < 2 * n:
            raise ValueError(
                f"expected text for {2 * n} passages of {domain.name}, got {len(found)}"
            )
        chosen = rng.sample(found, 2 * n)
        halves[0].extend(chosen[:n])
        halves[1].extend(chosen[n:])
    first, second = (
        Workload(tuple(passages), _timetable(passages, tokenizer, traffic, rng))
        for passages in halves
    )
    return first, second


def _passages(domain: Domain, tokenizer: BytePairTokenizer, traffic: Traffic) -> Iterator[Passage]:
    """Cut the documents of a domain into passages that begin with a line."""
    wanted = traffic.first + (traffic.turns - 1) * traffic.more
    length = wanted + traffic.scored
    for document in domain.queries:
        known = tokenizer.encode(document)
        # A little longer, for what goes before the first whole line.
        for begin in range(0, len(known) - length, length + LINE_TOKENS):
            text = tokenizer.decode(known[begin : begin + length + LINE_TOKENS])
            if begin:
                text = text.partition("\n")[2]
            tokens = tokenizer.encode(text)[:length]
            if len(tokens) == length and BROKEN not in text:
                ends = range(traffic.first, wanted + 1, traffic.more)
                cuts = tuple(_line_end(tokens, end, tokenizer) for end in ends)
                yield Passage(domain.name, tuple(tokens), cuts)


def _line_end(tokens: list[int], end: int, tokenizer: BytePairTokenizer) -> int:
    """Return the last end of a line up to ``end``, if there is one near."""
    for cut in range(end, max(end - LINE_TOKENS, 1), -1):
        if tokenizer.decode(tokens[cut - 1 : cut]).endswith("\n"):
            return cut
    return end


def _timetable(
    passages: list[Passage],
    tokenizer: BytePairTokenizer,
    traffic: Traffic,
    rng: random.Random,
) -> tuple[Query, ...]:
    """Begin each passage at some time, and pause between its requests for as long as it happens."""
    queries = []
    for number, passage in enumerate(passages):
        pauses = [rng.expovariate(1.0 / traffic.pause) for _ in passage.cuts[1:]]
        longest = 0.9 * traffic.seconds
        if sum(pauses) > longest:
            pauses = [pause * longest / sum(pauses) for pause in pauses]
        at = rng.uniform(0.0, traffic.seconds - sum(pauses))
        for turn, cut in enumerate(passage.cuts):
            queries.append(Query(number, turn, at, tokenizer.decode(list(passage.tokens[:cut]))))
            at += pauses[turn] if turn < len(pauses) else 0.0
    return tuple(sorted(queries, key=lambda query: query.at))
