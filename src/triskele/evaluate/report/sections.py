"""The sections of a report: a heading, a few words on how to read it, and what was found."""

from collections.abc import Iterable, Sequence

from triskele.evaluate.report.axes import Axis
from triskele.evaluate.report.findings import Findings
from triskele.evaluate.report.heatmap import MAX_MODELS, heatmap
from triskele.evaluate.report.markup import Html, element, joined
from triskele.evaluate.report.neighbours import Pair
from triskele.evaluate.report.reliability import reliability
from triskele.evaluate.report.scatter import scatter
from triskele.evaluate.report.whiskers import common_axis, whisker_chart
from triskele.evaluate.standings import LEVEL, Leaderboard
from triskele.evaluate.summaries import ClusterSummary
from triskele.evaluate.terminal import clipped

N_LEADERS = 5
"""Models of a cluster that are shown at once; the others unfold."""
EXAMPLE_LENGTH, PAIR_LENGTH = 160, 260
CONTEXT = 30
"""Letters before the first difference of two texts that are shown with it."""


def ranking_section(found: Findings) -> Html:
    """Return the leaderboard of all queries."""
    board = found.leaderboard
    apart = [
        element(
            "p",
            {"class": "warning"},
            f"{board.n_groups} groups of models were never compared with each other. Between "
            "groups the order says nothing.",
        )
    ]
    return _section(
        "ranking",
        "One ranking for all queries",
        "Strength is the log odds of beating a model of average strength. Whiskers are "
        f"{LEVEL:.0%} intervals, with queries as the units drawn; the last column holds the ranks "
        "that a model may have.",
        *(apart if board.n_groups > 1 else []),
        whisker_chart(board.lines, common_axis([board.lines])),
    )


def clusters_section(found: Findings) -> Html:
    """Return the map of the queries and a card per cluster."""
    if not found.is_structured:
        return _section(
            "clusters",
            "Kinds of queries",
            "No clusters of queries were found that differ, beyond chance, in which model suits "
            "them.",
            _map(found),
        )
    boards = [cluster.leaderboard.lines for cluster in found.clusters]
    axes = common_axis(lines[:N_LEADERS] for lines in boards), common_axis(boards)
    chips = [
        element(
            "button",
            {"class": f"chip k{cluster.number}", "type": "button", "data-k": cluster.number},
            element("b", None, str(cluster.number)),
            f" {', '.join(cluster.terms[:2]) or 'no words in common'}",
        )
        for cluster in found.clusters
    ]
    return _section(
        "clusters",
        "Kinds of queries",
        "Queries of one colour are alike in meaning and in which models suit them. Near on the map "
        "is near in meaning; distances between far groups say nothing.",
        _map(found),
        element("div", {"class": "chips"}, *chips),
        element(
            "div", {"class": "cards"}, *(_card(found, cluster, *axes) for cluster in found.clusters)
        ),
    )


def pairs_section(found: Findings) -> Html:
    """Return queries whose meaning and capabilities disagree; nothing, if there are none."""
    if not found.splits and not found.merges:
        return Html("")
    return joined(
        [
            _section(
                "splits",
                "Near in meaning, apart in capability",
                "What a ranking by topic would overlook: these queries read alike, but their "
                "comparisons say that other models suit them."
                if found.splits
                else "No two queries that read alike are led by different models.",
                *_pairs(found, found.splits),
            ),
            _section(
                "merges",
                "Far in meaning, alike in capability",
                "These have little in common to read, and yet depart from the ranking of all "
                "queries in the same way."
                if found.merges
                else "No two queries that read differently are led by one model.",
                *_pairs(found, found.merges),
            ),
        ]
    )


def predictions_section(found: Findings) -> Html:
    """Return how predictions did on queries held out."""
    holdout = found.holdout
    if holdout is None:
        return _section(
            "predictions",
            "Are the predictions any good?",
            "Too few queries were compared to hold some of them out.",
        )
    relative = holdout.gain / holdout.global_loss
    sign = "better" if holdout.gain > 0 else "worse"
    rows = [
        ("log-loss", f"{holdout.global_loss:.4f}", f"{holdout.loss:.4f}"),
        ("winners told", f"{holdout.global_accuracy:.1%}", f"{holdout.accuracy:.1%}"),
    ]
    table = element(
        "table",
        None,
        _table_row("th", ("", "one ranking", "by query")),
        *(_table_row("td", row) for row in rows),
    )
    figures = element(
        "div",
        {"class": "beside"},
        table,
        element(
            "p",
            None,
            f"By query, log-loss is {abs(relative):.1%} {sign}: {holdout.gain:+.4f} ± "
            f"{holdout.gain_error:.4f} (one standard error).",
        ),
        element(
            "p",
            None,
            "Dots on the diagonal: a favourite that is said to win four times out of five does. "
            f"Each dot is as many comparisons; whiskers are {LEVEL:.0%} intervals.",
        ),
    )
    return _section(
        "predictions",
        "Are the predictions any good?",
        f"{holdout.n_queries:,} queries were held out of another fit, which was then asked who "
        f"wins their {holdout.n_comparisons:,} comparisons, of which it knew none.",
        element("div", {"class": "two"}, reliability(holdout.bins), figures),
    )


def coverage_section(found: Findings) -> Html:
    """Return who was compared with whom."""
    order = [line.model for line in found.leaderboard.lines]
    place = {model: row for row, model in enumerate(found.models)}
    rows = [place[model] for model in order]
    counts = found.counts[rows][:, rows]
    n = len(order)
    n_pairs = n * (n - 1) // 2
    n_compared = int((counts > 0).sum()) // 2
    cut = f" The first {MAX_MODELS} models are shown." if n > MAX_MODELS else ""
    return _section(
        "coverage",
        "Who was compared with whom",
        f"{n_compared:,} of {n_pairs:,} pairs of models were compared at least once, the best "
        f"models first.{cut} Pairs that never met are empty: there the ranking relies on others.",
        element("div", {"class": "wide"}, heatmap(order, counts)),
    )


def _section(name: str, title: str, words: str, *content: str) -> Html:
    return element(
        "section",
        {"id": name},
        element("h2", None, title),
        element("p", {"class": "how"}, words),
        *content,
    )


def _map(found: Findings) -> Html:
    rows, texts = found.map.rows.tolist(), found.source.texts
    notes = [
        f"cluster {found.labels[row]} · {found.suited[row]}" if found.is_structured else ""
        for row in rows
    ]
    drawn = scatter(
        found.map.points, found.labels[found.map.rows], [texts[row] for row in rows], notes
    )
    shown = ""
    if len(rows) < len(texts):
        shown = f"{len(rows):,} of {len(texts):,} queries, drawn at random."
    return element("figure", None, drawn, element("figcaption", None, shown))


def _card(found: Findings, cluster: ClusterSummary, axis: Axis, long_axis: Axis) -> Html:
    board = cluster.leaderboard
    tags = [element("span", {"class": "tag"}, term) for term in cluster.terms]
    texts = (clipped(found.source.texts[row], EXAMPLE_LENGTH) for row in cluster.examples)
    examples = [element("li", None, text) for text in dict.fromkeys(texts) if text]
    first, others = board.lines[:N_LEADERS], board.lines[N_LEADERS:]
    rest = [
        element(
            "details",
            None,
            element("summary", None, f"{len(others)} more"),
            whisker_chart(others, long_axis),
        )
    ]
    return element(
        "article",
        {"class": f"card k{cluster.number}", "id": f"cluster-{cluster.number}"},
        element(
            "header",
            None,
            element("span", {"class": "badge"}, str(cluster.number)),
            element("span", {"class": "tags"}, *tags),
        ),
        element("p", {"class": "lead"}, _lead(board)),
        whisker_chart(first, axis),
        *(rest if others else []),
        *([element("ul", {"class": "examples"}, *examples)] if examples else []),
        element(
            "footer",
            None,
            f"{cluster.n_queries:,} queries ({_percent(cluster.share)}), "
            f"{cluster.n_comparisons:,.0f} comparisons",
        ),
    )


def _lead(board: Leaderboard) -> Html:
    tied = board.tied
    if not tied:
        words = " is ahead of all others"
    elif len(tied) == 1:
        words = f" leads; {tied[0]} may be as good"
    else:
        words = f" leads; {len(tied)} others may be as good"
    return joined([element("b", None, board.leader.model), words])


def _pairs(found: Findings, pairs: Sequence[Pair]) -> Iterable[Html]:
    texts = found.source.texts
    for pair in pairs:
        figures = (
            f"cosine {pair.cosine:+.2f}".replace("-", "−"),
            f"capabilities differ by {pair.difference:.2f}",
        )
        first, second = told_apart(texts[pair.first], texts[pair.second], PAIR_LENGTH)
        yield element(
            "div",
            {"class": "pair"},
            _query(found, pair.first, first),
            _query(found, pair.second, second),
            element("p", {"class": "between"}, " · ".join(figures)),
        )


def told_apart(first: str, second: str, length: int) -> tuple[str, str]:
    """Return the beginnings of two texts, or where they first differ if that is far behind."""
    a, b = " ".join(first.split()), " ".join(second.split())
    differs = (place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    n_same = next(differs, min(len(a), len(b)))
    begin = a.rfind(" ", 0, max(0, n_same - CONTEXT)) + 1 if n_same > length // 2 else 0
    before = "… " if begin else ""
    return before + clipped(a[begin:], length), before + clipped(b[begin:], length)


def _query(found: Findings, row: int, text: str) -> Html:
    label = found.labels[row]
    return element(
        "blockquote",
        {"class": f"k{label}"},
        element("p", None, text or f"row {row}"),
        element("footer", None, f"cluster {label}, led by {found.suited[row]}"),
    )


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "under 1%"


def _table_row(cell: str, values: Iterable[str]) -> Html:
    return element("tr", None, *(element(cell, None, value) for value in values))
