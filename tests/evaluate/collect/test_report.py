import pytest
from rich.console import Console
from tests.evaluate.collect.calls import entry

from triskele.evaluate.collect.estimate import Line
from triskele.evaluate.collect.prices import Amount
from triskele.evaluate.collect.report import (
    Tally,
    describe,
    estimate_table,
    money,
    total_of,
)
from triskele.evaluate.collect.votes import Vote


def line(label: str, kind: str = "answer", cost: float = 1.5) -> Line:
    return Line(
        label=label,
        kind=kind,  # type: ignore[arg-type]
        n_known=1,
        n_calls=1234,
        tokens_in=100,
        tokens_out=50,
        expected=Amount(150, cost),
        most=Amount(5000, 2 * cost),
    )


def shown(*lines: Line, prices: tuple[str, ...]) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(estimate_table(lines, prices=prices))
    return capture.get()


def vote(winner: str, *, is_consistent: bool = True) -> Vote:
    return Vote(
        question_id="q",
        prompt="Why?",
        model_a="a",
        model_b="b",
        winner=winner,  # type: ignore[arg-type]
        judge="j",
        order="both",
        is_consistent=is_consistent,
        verdict_ab="tie",
        verdict_ba="tie",
        length_a=1,
        length_b=1,
        category=None,
        tstamp=0.0,
    )


def test_the_estimate_names_all_and_their_sum() -> None:
    text = shown(line("a"), line("[b]"), line("c", "verdict"), prices=("a", "[b]", "c"))
    for word in ("a ", "[b]", "c (judge)", "1,234", "all", "3,702", "4.50", "9.00", "at most"):
        assert word in text


def test_without_prices_there_is_no_cost() -> None:
    assert "cost" not in shown(line("a"), line("b"), prices=())


def test_a_price_that_is_not_known_is_not_taken_for_nothing() -> None:
    text = shown(line("a"), line("b", cost=0.0), prices=("a",))
    [row] = [row for row in text.splitlines() if row.startswith("b ")]
    assert row.count("–") == 2
    assert "0.00" not in row


def test_the_sum_is_of_everything() -> None:
    total = total_of([line("a"), line("b")])
    assert (total.n_known, total.n_calls, total.tokens_in, total.tokens_out) == (2, 2468, 200, 100)
    assert (total.expected, total.most) == (Amount(300, 3.0), Amount(10_000, 6.0))
    assert total_of([]).n_calls == 0


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (0.0, "0.00"),
        (1234.5, "1,234.50"),
        (0.1, "0.10"),
        (0.0123, "0.012"),
        (0.00012, "0.00012"),
        (1.234e-6, "1.2e-06"),
    ],
)
def test_a_cost_shows_two_digits(cost: float, text: str) -> None:
    assert money(cost) == text


def test_an_amount_in_words() -> None:
    assert describe(Amount(1500, 0.5), has_prices=True) == "1,500 tokens, cost 0.50"
    assert describe(Amount(1500), has_prices=False) == "1,500 tokens"


def test_a_tally_counts_what_matters() -> None:
    votes = [vote("model_a"), vote("tie", is_consistent=False), vote("tie")]
    entries = [
        entry("1", kind="verdict", verdict="A"),
        entry("2", kind="verdict", verdict="A"),
        entry("3", kind="verdict", verdict="B"),
        entry("4", kind="verdict", verdict="T"),
        entry("5", kind="verdict", verdict=None, finish="length"),
        entry("6", finish="length"),
        entry("7", status="failed"),
    ]
    tally = Tally.of(votes, entries)
    assert tally == Tally(
        n_votes=3,
        n_ties=2,
        n_inconsistent=1,
        n_first=2,
        n_decided=3,
        n_unreadable=1,
        n_failed=1,
        n_cut_answers=1,
        n_cut_verdicts=1,
    )
    first, *others = tally.lines()
    assert first == "votes: 3; ties: 2, of which 1 because the orders disagreed"
    words = (
        "67%",
        "do not count: 1",
        "empty: 1; --retry-failed",
        "answers cut off: 1; --answer-tokens",
        "verdicts cut off: 1; --verdict-tokens",
    )
    assert len(others) == len(words)
    for word, text in zip(words, others, strict=True):
        assert word in text


def test_where_nothing_happened_little_is_said() -> None:
    assert Tally.of([], []).lines() == [
        "votes: 0; ties: 0, of which 0 because the orders disagreed"
    ]
