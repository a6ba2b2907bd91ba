"""The report as one page that needs nothing else: no font, no picture, no script from elsewhere.

What a browser may do with it is said in the page itself: nothing is loaded, and no script runs but
the page's own, which is known by its digest. A prompt could not run anything even if it got past
the escaping.
"""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path

from triskele.evaluate.report.findings import Findings
from triskele.evaluate.report.markup import Html, element, joined, void
from triskele.evaluate.report.sections import (
    clusters_section,
    coverage_section,
    pairs_section,
    predictions_section,
    ranking_section,
)

HUE_STEP, FIRST_HUE = 137.5, 200.0
"""Degrees between the colours of clusters of neighbouring size."""
LINKS = (
    ("ranking", "Ranking"),
    ("clusters", "Kinds of queries"),
    ("splits", "Near, but apart"),
    ("merges", "Far, but alike"),
    ("predictions", "Predictions"),
    ("coverage", "Coverage"),
)


def page(found: Findings, *, title: str) -> str:
    """Return the page, as HTML.

    Parameters
    ----------
    found
        What it says.
    title
        Its heading.
    """
    style, script = _file("page.css") + _colours(found), _file("page.js")
    sections = joined(
        [
            ranking_section(found),
            clusters_section(found),
            pairs_section(found),
            predictions_section(found),
            coverage_section(found),
        ]
    )
    head = element(
        "head",
        None,
        void("meta", {"charset": "utf-8"}),
        void("meta", {"http-equiv": "Content-Security-Policy", "content": _policy(style, script)}),
        void("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("title", None, title),
        element("style", None, Html(style)),
    )
    body = element(
        "body",
        None,
        element("main", None, _header(found, title, sections), sections),
        element("footer", None, "Made by triskele evaluate report."),
        element("div", {"id": "tip", "hidden": "hidden"}, element("span"), element("small")),
        element("script", None, Html(script)),
    )
    return f"<!doctype html>\n{element('html', {'lang': 'en'}, head, body)}\n"


def _header(found: Findings, title: str, sections: str) -> Html:
    source, holdout = found.source, found.holdout
    tiles = [
        (f"{len(source.ids):,}", "queries"),
        (f"{len(source.comparisons):,}", "comparisons"),
        (f"{len(found.models):,}", "models"),
        (f"{len(found.clusters) if found.is_structured else 1:,}", "kinds of queries"),
    ]
    if holdout is not None:
        share = holdout.gain / holdout.global_loss
        words = "less log-loss" if share >= 0 else "more log-loss"
        tiles.append((f"{abs(share):.1%}", f"{words} on queries held out"))
    links = [
        element("a", {"href": f"#{name}"}, words)
        for name, words in LINKS
        if f'<section id="{name}"' in sections
    ]
    drawn = ", comparisons drawn from scores" if source.is_sampled else ""
    return element(
        "header",
        None,
        element("h1", None, title),
        element("p", {"class": "of-what"}, f"{source.name}{drawn}"),
        element("p", {"class": "verdict"}, found.verdict),
        element(
            "div",
            {"class": "tiles"},
            *(
                element(
                    "div",
                    {"class": "tile"},
                    element("b", None, figure),
                    element("span", None, words),
                )
                for figure, words in tiles
            ),
        ),
        element("nav", None, *links),
    )


def _colours(found: Findings) -> str:
    """Return a tone per cluster, the largest clusters' the farthest apart."""
    if not found.is_structured:
        return ""
    lines = []
    for place, cluster in enumerate(found.clusters):
        hue = (FIRST_HUE + HUE_STEP * place) % 360
        shade = (0.0, 0.07, -0.06)[place // 8 % 3]
        lines.append(
            f".k{cluster.number}{{--tone:oklch(calc(var(--L) + {shade}) var(--C) {hue:.1f});"
            f"--tone-deep:oklch(var(--Lb) 0.12 {hue:.1f})}}"
        )
    return "\n" + "\n".join(lines) + "\n"


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
