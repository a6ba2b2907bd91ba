"""Which calls a set of comparisons needs, which of them are open, and what comes next.

A comparison needs two answers, then two verdicts, one in each order. Calls are told apart by what
is asked: comparisons share answers, and what a ledger knows is not asked again. Verdicts go before
answers and earlier prompts before later ones, so that whenever the work stops, most of what was
answered has been judged. The agenda sends nothing and knows no time.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from triskele.evaluate.collect.endpoints import Model
from triskele.evaluate.collect.judge import JUDGE_PROMPT, fill_template, visible
from triskele.evaluate.collect.ledger import Entry, Kind
from triskele.evaluate.collect.pairs import Comparison
from triskele.evaluate.collect.request import Request

State = Literal["queued", "taken", "left", "settled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How models are asked: bounds in tokens, temperatures (None: the endpoint's), prompts."""

    answer_tokens: int = 1024
    verdict_tokens: int = 1024
    temperature: float | None = None
    judge_temperature: float | None = 0.0
    system: str | None = None
    template: str = JUDGE_PROMPT


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Call:
    """A request, whom it goes to, and what it is for."""

    key: str
    kind: Kind
    model: Model
    request: Request
    question_id: str
    first: str | None = None
    second: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A comparison with all it needs: two answers, and a verdict per order.

    The verdicts are None where the answers are the same: that is a tie, and no judge is asked.
    """

    comparison: Comparison
    answers: tuple[Entry, Entry]
    verdicts: tuple[Entry, Entry] | None


class _Slot(NamedTuple):
    """Where a call belongs: to a comparison, and to the model that answers or the two judged."""

    kind: Kind
    number: int
    labels: tuple[str, ...]


class Agenda:
    """The calls of a set of comparisons, each handed out at most once.

    Parameters
    ----------
    comparisons
        What to compare.
    models
        Who answers, by label.
    judge
        Who judges.
    asking
        How they are asked.
    known
        Returns the entry of a call that is not to be made, None if it is.
    """

    def __init__(
        self,
        comparisons: Sequence[Comparison],
        models: Mapping[str, Model],
        judge: Model,
        *,
        asking: Asking,
        known: Callable[[str], Entry | None],
    ) -> None:
        self._comparisons, self._models, self._judge = comparisons, models, judge
        self._asking, self._known = asking, known
        # Requests are long, and made anew when their turn comes.
        self._slots: dict[str, _Slot] = {}
        self._states: dict[str, State] = {}
        self._entries: dict[str, Entry] = {}
        self._queues: dict[str, list[tuple[int, int, int, str]]] = {}
        self._n_open = 0
        # Of each comparison: its answers and, once they are there, its verdicts.
        self._answers: list[tuple[str, str]] = []
        self._verdicts: dict[int, tuple[str, str] | None] = {}
        self._waiting: dict[str, list[int]] = {}
        for number, comparison in enumerate(comparisons):
            first = self._add(_Slot("answer", number, (comparison.model_a,)))
            second = self._add(_Slot("answer", number, (comparison.model_b,)))
            self._answers.append((first, second))
        for number in range(len(comparisons)):
            self._judge_if_ready(number)

    @property
    def is_finished(self) -> bool:
        """Whether no call is queued or under way."""
        return self._n_open == 0

    @property
    def n_done(self) -> int:
        """How many of the calls are settled."""
        return len(self._entries)

    @property
    def n_calls(self) -> int:
        """How many calls there are, with the verdicts that still wait for answers."""
        return len(self._slots) + 2 * (len(self._comparisons) - len(self._verdicts))

    def take(self, endpoint: str) -> Call | None:
        """Hand out the next call to an endpoint, None if none is queued there now."""
        queue = self._queues.get(endpoint)
        if not queue:
            return None
        *_, key = heapq.heappop(queue)
        self._states[key] = "taken"
        return self._call(key)

    def leave(self, call: Call) -> None:
        """Give back a call that could not be made; it is not handed out again."""
        self._end(call.key, "left")

    def settle(self, entry: Entry) -> None:
        """Note what a call came to; verdicts that waited for it are queued."""
        self._end(entry.key, "settled")
        self._entries[entry.key] = entry
        for number in self._waiting.pop(entry.key, ()):
            self._judge_if_ready(number)

    def queued(self) -> Iterator[Call]:
        """Yield the calls that are ready to be made."""
        for key, state in self._states.items():
            if state == "queued":
                yield self._call(key)

    def unasked(self) -> Iterator[Comparison]:
        """Yield the comparisons that will need a judge, once they have their answers."""
        for number, comparison in enumerate(self._comparisons):
            if number not in self._verdicts:
                yield comparison

    def judged(self) -> Iterator[Judged]:
        """Yield the comparisons that are settled, in order, whatever their verdicts."""
        for number, keys in sorted(self._verdicts.items()):
            first, second = (self._entries[key] for key in self._answers[number])
            if first.status == "failed" or second.status == "failed":
                continue
            comparison, answers = self._comparisons[number], (first, second)
            if keys is None:
                yield Judged(comparison=comparison, answers=answers, verdicts=None)
            elif all(key in self._entries for key in keys):
                one, other = (self._entries[key] for key in keys)
                yield Judged(comparison=comparison, answers=answers, verdicts=(one, other))

    def entries(self) -> Iterator[Entry]:
        """Yield what the settled calls came to."""
        return iter(self._entries.values())

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        n_open = sum(state in ("queued", "taken") for state in self._states.values())
        assert n_open == self._n_open
        assert self._states.keys() == self._slots.keys()
        queued = {key for queue in self._queues.values() for *_, key in queue}
        assert queued == {call.key for call in self.queued()}
        settled = {key for key, state in self._states.items() if state == "settled"}
        assert settled == self._entries.keys()
        for keys in self._verdicts.values():
            assert keys is None or all(key in self._slots for key in keys)

    def _judge_if_ready(self, number: int) -> None:
        first, second = self._answers[number]
        open_keys = [key for key in (first, second) if key not in self._entries]
        if open_keys:
            self._waiting.setdefault(open_keys[0], []).append(number)
            return
        answers = (self._entries[first], self._entries[second])
        is_void = "failed" in (answers[0].status, answers[1].status)
        if is_void or visible(answers[0].text) == visible(answers[1].text):
            self._verdicts[number] = None
            return
        pair = (self._comparisons[number].model_a, self._comparisons[number].model_b)
        one = self._add(_Slot("verdict", number, pair))
        self._verdicts[number] = (one, self._add(_Slot("verdict", number, pair[::-1])))

    def _add(self, slot: _Slot) -> str:
        """Queue a call, unless it is there already or known; return its key."""
        model, request = self._request(slot)
        key = request.key(model.label)
        if key in self._slots:
            return key
        self._slots[key] = slot
        known = self._known(key)
        if known is not None:
            self._states[key], self._entries[key] = "settled", known
            return key
        self._states[key] = "queued"
        self._n_open += 1
        rank = (0 if slot.kind == "verdict" else 1, slot.number, len(self._slots), key)
        heapq.heappush(self._queues.setdefault(model.endpoint, []), rank)
        return key

    def _call(self, key: str) -> Call:
        slot = self._slots[key]
        model, request = self._request(slot)
        first, second = slot.labels if slot.kind == "verdict" else (None, None)
        return Call(
            key=key,
            kind=slot.kind,
            model=model,
            request=request,
            question_id=self._comparisons[slot.number].prompt.id,
            first=first,
            second=second,
        )

    def _request(self, slot: _Slot) -> tuple[Model, Request]:
        asking, comparison = self._asking, self._comparisons[slot.number]
        if slot.kind == "answer":
            model = self._models[slot.labels[0]]
            return model, Request(
                model=model.name,
                prompt=comparison.prompt.text,
                system=asking.system,
                max_tokens=asking.answer_tokens,
                temperature=asking.temperature,
            )
        answers = [self._entries[key].text for key in self._answers[slot.number]]
        if slot.labels[0] != comparison.model_a:
            answers.reverse()
        prompt = fill_template(
            asking.template,
            prompt=comparison.prompt.text,
            answer_a=answers[0],
            answer_b=answers[1],
        )
        return self._judge, Request(
            model=self._judge.name,
            prompt=prompt,
            max_tokens=asking.verdict_tokens,
            temperature=asking.judge_temperature,
        )

    def _end(self, key: str, state: State) -> None:
        assert self._states[key] == "taken"
        self._states[key] = state
        self._n_open -= 1
