"""What people are shown: what a collection will ask and cost, and what it came to."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from triskele.evaluate.collect.estimate import Line
from triskele.evaluate.collect.ledger import Entry
from triskele.evaluate.collect.prices import Amount
from triskele.evaluate.collect.votes import Vote

UNKNOWN = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a collection has come to, so far.

    ``n_first`` of ``n_decided`` verdicts, those that are no tie, chose the answer shown first.
    """

    n_votes: int
    n_ties: int
    n_inconsistent: int
    n_first: int
    n_decided: int
    n_unreadable: int
    n_failed: int
    n_cut_answers: int
    n_cut_verdicts: int

    @classmethod
    def of(cls, votes: Iterable[Vote], entries: Iterable[Entry]) -> "Tally":
        """Count votes, and the entries that they come from."""
        all_votes, all_entries = list(votes), list(entries)
        done = [entry for entry in all_entries if entry.status == "done"]
        verdicts = [entry.verdict for entry in done if entry.kind == "verdict"]
        cut = [entry for entry in done if entry.finish == "length"]
        return cls(
            n_votes=len(all_votes),
            n_ties=sum(vote.winner == "tie" for vote in all_votes),
            n_inconsistent=sum(not vote.is_consistent for vote in all_votes),
            n_first=verdicts.count("A"),
            n_decided=verdicts.count("A") + verdicts.count("B"),
            n_unreadable=verdicts.count(None),
            n_failed=len(all_entries) - len(done),
            n_cut_answers=sum(entry.kind == "answer" for entry in cut),
            n_cut_verdicts=sum(entry.kind == "verdict" and entry.verdict is None for entry in cut),
        )

    def lines(self) -> list[str]:
        """Return what is worth saying, a sentence each."""
        said = [
            f"votes: {self.n_votes:,}; ties: {self.n_ties:,}, of which "
            f"{self.n_inconsistent:,} because the orders disagreed"
        ]
        if self.n_decided:
            share = self.n_first / self.n_decided
            said.append(f"the judge chose the answer shown first in {share:.0%} of its decisions")
        if self.n_unreadable:
            said.append(f"verdicts that cannot be read and do not count: {self.n_unreadable:,}")
        if self.n_failed:
            said.append(
                f"calls that were refused or came back empty: {self.n_failed:,}; "
                "--retry-failed asks them again"
            )
        for option, n_cut in (
            ("--answer-tokens", self.n_cut_answers),
            ("--verdict-tokens", self.n_cut_verdicts),
        ):
            if n_cut:
                what = option.strip("-").replace("-tokens", "s")
                said.append(f"{what} cut off: {n_cut:,}; {option} gives more room")
        return said


def estimate_table(lines: Sequence[Line], *, prices: Collection[str]) -> Table:
    """Return what is to be asked of whom, and what it will come to; ``prices`` by their labels."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("model")
    headings = ["known", "to ask", "tokens in", "tokens out", "tokens\nat most"]
    if prices:
        headings += ["cost", "cost\nat most"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for line in lines:
        who = escape(line.label) + (" [dim](judge)[/]" if line.kind == "verdict" else "")
        costs = _costs(line) if line.label in prices else [UNKNOWN, UNKNOWN]
        table.add_row(who, *_counts(line), *(costs if prices else ()))
    table.add_section()
    total = total_of(lines)
    table.add_row("all", *_counts(total), *(_costs(total) if prices else ()))
    return table


def total_of(lines: Sequence[Line]) -> Line:
    """Return the sum of all lines."""
    return Line(
        label="all",
        kind="answer",
        n_known=sum(line.n_known for line in lines),
        n_calls=sum(line.n_calls for line in lines),
        tokens_in=sum(line.tokens_in for line in lines),
        tokens_out=sum(line.tokens_out for line in lines),
        expected=sum((line.expected for line in lines), Amount()),
        most=sum((line.most for line in lines), Amount()),
    )


def describe(amount: Amount, *, has_prices: bool) -> str:
    """Return an amount in words: tokens, and cost if there are prices."""
    cost = f", cost {money(amount.cost)}" if has_prices else ""
    return f"{amount.tokens:,} tokens{cost}"


def money(cost: float) -> str:
    """Return a cost with as many decimals as it takes to see two digits of it."""
    if cost == 0 or cost >= 0.1:
        return f"{cost:,.2f}"
    return f"{cost:.2g}" if cost >= 1e-4 else f"{cost:.1e}"


def _counts(line: Line) -> list[str]:
    counts = (line.n_known, line.n_calls, line.tokens_in, line.tokens_out, line.most.tokens)
    return [f"{count:,}" for count in counts]


def _costs(line: Line) -> list[str]:
    return [money(line.expected.cost), money(line.most.cost)]
