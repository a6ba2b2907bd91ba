"""What is still to be asked, and what it will cost, before anything is sent.

Answers that are not there yet have the length that is expected of them, and the judge will read
each of them twice.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from triskele.evaluate.collect.endpoints import Model
from triskele.evaluate.collect.ledger import Entry, Kind
from triskele.evaluate.collect.plan import Agenda, Asking, Call
from triskele.evaluate.collect.prices import Amount, Price, amount_of
from triskele.evaluate.collect.tokens import TokenCounter, estimate_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Calls to a model of one kind: how many are known, how many are open, and their tokens.

    ``tokens_in`` and ``tokens_out`` are expected, as is the amount; at most, every reply, and every
    answer that the judge reads, is as long as it may be.
    """

    label: str
    kind: Kind
    n_known: int
    n_calls: int
    tokens_in: int
    tokens_out: int
    expected: Amount
    most: Amount


class _Range(NamedTuple):
    """Tokens of a prompt: expected, and at most."""

    expected: float
    most: float


class Estimator:
    """Says what calls will come to.

    Parameters
    ----------
    counter
        Estimates tokens.
    prices
        Prices by label; a model without one costs nothing.
    """

    def __init__(self, counter: TokenCounter, prices: Mapping[str, Price]) -> None:
        self._counter, self._prices = counter, prices

    def tokens_in(self, call: Call) -> float:
        """Return the tokens of a call's prompt, as its endpoint will count them."""
        estimated = estimate_tokens(call.request.system, call.request.prompt)
        return estimated * self._counter.scale(call.model.label, call.kind)

    def most(self, call: Call) -> Amount:
        """Return what a call comes to if its reply is as long as it may be."""
        return self.amount(call.model.label, self.tokens_in(call), call.request.max_tokens)

    def amount(self, label: str, tokens_in: float, tokens_out: float) -> Amount:
        """Return what so many tokens of a model come to."""
        return amount_of(label, tokens_in, tokens_out, self._prices)

    def spent(self, entry: Entry) -> Amount:
        """Return what an entry of the ledger came to."""
        return self.amount(entry.model, entry.tokens_in, entry.tokens_out)

    def lines(
        self, agenda: Agenda, models: Mapping[str, Model], judge: Model, asking: Asking
    ) -> list[Line]:
        """Return a line per model, and one for the judge."""
        known = Counter((entry.model, entry.kind) for entry in agenda.entries())
        tokens: dict[tuple[str, Kind], list[_Range]] = {}
        for call in agenda.queued():
            tokens_in = self.tokens_in(call)
            row = tokens.setdefault((call.model.label, call.kind), [])
            row.append(_Range(tokens_in, tokens_in))
        verdicts = tokens.setdefault((judge.label, "verdict"), [])
        verdicts.extend(self._unasked(agenda, models, judge, asking))
        rows: list[tuple[str, Kind, int]] = [
            (label, "answer", asking.answer_tokens) for label in models
        ]
        rows.append((judge.label, "verdict", asking.verdict_tokens))
        lines = []
        for label, kind, longest in rows:
            inputs = tokens.get((label, kind), [])
            n_calls = len(inputs)
            tokens_in = sum(tokens.expected for tokens in inputs)
            tokens_out = n_calls * self._counter.reply(label, kind, most=longest)
            most_in = sum(tokens.most for tokens in inputs)
            lines.append(
                Line(
                    label=label,
                    kind=kind,
                    n_known=known[label, kind],
                    n_calls=n_calls,
                    tokens_in=round(tokens_in),
                    tokens_out=round(tokens_out),
                    expected=self.amount(label, tokens_in, tokens_out),
                    most=self.amount(label, most_in, n_calls * longest),
                )
            )
        return lines

    def _unasked(
        self, agenda: Agenda, models: Mapping[str, Model], judge: Model, asking: Asking
    ) -> Iterator[_Range]:
        """Yield the tokens of the judge's prompts whose answers are not there yet."""
        scale = self._counter.scale(judge.label, "verdict")
        replies = {
            label: self._counter.reply(label, "answer", most=asking.answer_tokens)
            for label in models
        }
        template = estimate_tokens(asking.template)
        for comparison in agenda.unasked():
            frame = scale * (template + estimate_tokens(comparison.prompt.text))
            answers = replies[comparison.model_a] + replies[comparison.model_b]
            prompt = _Range(frame + answers, frame + 2 * asking.answer_tokens)
            yield from (prompt, prompt)
