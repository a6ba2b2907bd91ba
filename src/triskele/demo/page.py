"""All findings as one page that needs nothing else: no font, no picture, no script from elsewhere.

A browser may do nothing with it but show it: it has no script, and its one style is known by its
digest.
"""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path

from triskele.demo.findings import Findings
from triskele.demo.sections import (
    choice_section,
    learning_section,
    serving_section,
    time_section,
    training_section,
)
from triskele.demo.terminal import milliseconds
from triskele.evaluate.report.markup import Html, element, joined, void
from triskele.train.terminal import duration

TITLE = "The whole circle, once"
ARM = "M16 16C15 8.5 20.5 3.6 24.6 6.2S25.6 14 21.8 12.6s-1.9-4.5.2-4.1"


def page(found: Findings) -> str:
    """Return the page, as HTML."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    head = element(
        "head",
        None,
        void("meta", {"charset": "utf-8"}),
        void("meta", {"http-equiv": "Content-Security-Policy", "content": _policy(style)}),
        void("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("title", None, f"triskele: {TITLE.lower()}"),
        element("style", None, Html(style)),
    )
    sections = joined(
        make(found)
        for make in (
            training_section,
            serving_section,
            learning_section,
            choice_section,
            time_section,
        )
    )
    body = element(
        "body",
        None,
        element("main", None, _header(found), sections),
        element("footer", None, "Made by triskele demo. Every figure was measured in this run."),
    )
    return f"<!doctype html>\n{element('html', {'lang': 'en'}, head, body)}\n"


def _header(found: Findings) -> Html:
    tiles = [
        element("div", {"class": "tile"}, element("b", None, figure), element("span", None, words))
        for figure, words in _tiles(found)
    ]
    return element(
        "header",
        None,
        element("div", {"class": "head"}, _mark(), element("h1", None, TITLE)),
        element(
            "p",
            {"class": "of-what"},
            f"Three models trained, served by {_number_of_workers(found)} and told apart by what "
            f"they are good at, in {duration(found.seconds)} on {found.machine}.",
        ),
        element("p", {"class": "verdict"}, _verdict(found)),
        element("div", {"class": "tiles"}, *tiles),
    )


def _number_of_workers(found: Findings) -> str:
    return f"{found.n_workers} workers behind one gateway"


def _tiles(found: Findings) -> list[tuple[Html, str]]:
    race, rounds = found.trained.race, found.rounds
    robin, ours = rounds[0], rounds[-1]
    before, after = found.before, found.after
    saving = "none" if race.saving is None else f"{race.saving:.0%}"
    return [
        (Html(saving), "of Muon's steps saved by DynMuon"),
        (
            _change(milliseconds(robin.quantile(0.5)), milliseconds(ours.quantile(0.5))),
            "median time to first token, round robin and LBGR",
        ),
        (_change(f"{robin.hit_rate:.0%}", f"{ours.hit_rate:.0%}"), "of prompt tokens cached"),
        (
            _change(f"{before.share_right:.0%}", f"{after.share_right:.0%}"),
            "of queries to the right model",
        ),
    ]


def _verdict(found: Findings) -> str:
    """Return what happened in two sentences, whichever way it went."""
    before, after, verdict = found.before, found.after, found.verdict
    if not verdict.published:
        reason = "; ".join(verdict.reasons)
        return f"The circle did not close: no capability table was published ({reason})."
    told = (
        f"After one turn of the loop the gateway sends {after.share_right:.0%} of the queries to "
        f"the model that serves them best; without it, it was {before.share_right:.0%}."
    )
    bits = after.bits - before.bits
    way = "fewer" if bits < 0 else "more"
    return f"{told} Their continuations cost {abs(bits):.2f} {way} bits per byte."


def _change(before: str, after: str) -> Html:
    return joined([element("i", None, f"{before} → "), after])


def _mark() -> Html:
    arms = [
        element("path", {"d": ARM, "transform": f"rotate({turn} 16 16)"}) for turn in (0, 120, 240)
    ]
    return element(
        "svg",
        {
            "class": "mark",
            "viewBox": "0 0 32 32",
            "fill": "none",
            "stroke": "currentColor",
            "stroke-width": "2.3",
            "stroke-linecap": "round",
            "aria-hidden": "true",
        },
        *arms,
    )


def _policy(style: str) -> str:
    digest = b64encode(sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
