"""The sections of the page: a heading, a few words on how it was measured, and what was found."""

from collections.abc import Iterable, Sequence

import numpy as np

from triskele.demo.charts import Axis, Curve, Part, curves, shares
from triskele.demo.findings import Choices, Findings, Round
from triskele.demo.models import Arm
from triskele.demo.terminal import milliseconds, steps
from triskele.evaluate.report.markup import Html, element
from triskele.train.terminal import duration

TONES = {"round-robin": "robin", "cache-aware": "aware", "lbgr": "ours"}
NAMES = {"round-robin": "Round robin", "cache-aware": "Cache-aware", "lbgr": "LBGR"}
N_POINTS = 200
"""Of a distribution, at most."""
SHOWN_LOSS = 0.9
"""The share of the losses that is shown: the first steep fall is left out."""
SAMPLE_LETTERS, SAMPLE_LINES = 240, 7


def training_section(found: Findings) -> Html:
    """Return the race of two optimizers, and what each model is good at."""
    race = found.trained.race
    rival, contender = race.rival, race.contender
    losses = [loss for arm in (rival, contender) for loss in arm.curves.validation_losses]
    low, high = min(losses), float(np.quantile(losses, SHOWN_LOSS))
    room = 0.06 * (high - low) or 0.1
    lines = [
        Curve(tone, points, None if reached is None else (reached, race.target), steps(reached))
        for tone, points, reached in (
            ("muon", _losses(rival), race.rival_steps),
            ("ours", _losses(contender), race.contender_steps),
        )
    ]
    last = rival.curves.validation_steps[-1]
    saved = (
        "DynMuon does not come down to it."
        if race.saving is None
        else (
            f"DynMuon needs {steps(race.contender_steps)} steps for what takes Muon "
            f"{steps(race.rival_steps)}: {_less(race.saving, 'steps')}."
        )
    )
    picture = curves(
        lines,
        Axis(0, last, lambda value: f"{value:.0f}", "step"),
        Axis(low - room, high + room, lambda value: f"{value:.2f}"),
        rule=race.target,
        described=f"Validation loss of Muon and DynMuon by step. {saved}",
    )
    return _section(
        "train",
        "Train: steps to the same loss",
        f"One model per kind of text, pretrained with DynMuon; on {race.domain} with tuned Muon as "
        "well, from the same weights, on the same batches, under the same schedule. Validation "
        f"loss in nats per token; dashed, what Muon has after four fifths of its steps. {saved}",
        element(
            "div",
            {"class": "two"},
            element(
                "div",
                None,
                _keys(
                    (
                        ("muon", f"Muon, {rival.loss:.3f} in the end"),
                        ("ours", f"DynMuon, {contender.loss:.3f} in the end"),
                    )
                ),
                picture,
            ),
            _talents(found),
        ),
        element("div", {"class": "samples"}, *_samples(found)),
    )


def serving_section(found: Findings) -> Html:
    """Return the time to first token under each policy."""
    rounds, traffic = found.rounds, found.workloads[0]
    every = np.concatenate([each.ttft for each in rounds])
    low, high = 1e3 * float(np.quantile(every, 0.005)), 1e3 * float(every.max())
    lines = [Curve(TONES[each.policy], _distribution(each)) for each in rounds]
    picture = curves(
        lines,
        Axis(low, high * 1.05, lambda x: f"{x:g}", "milliseconds to the first token", is_log=True),
        Axis(0.0, 1.0, lambda value: f"{value:.0%}"),
        described="Distribution of the time to first token under each policy",
    )
    best = (
        min(each.quantile(0.5) for each in rounds),
        min(each.quantile(0.95) for each in rounds),
        max(each.hit_rate for each in rounds),
    )
    rows = [
        element(
            "tr",
            {"class": TONES[each.policy]},
            element("td", None, element("span", {"class": "swatch"}), NAMES[each.policy]),
            *(
                element("td", {"class": "best"} if figure == top else None, written)
                for figure, top, written in zip(
                    (each.quantile(0.5), each.quantile(0.95), each.hit_rate),
                    best,
                    (
                        milliseconds(each.quantile(0.5)),
                        milliseconds(each.quantile(0.95)),
                        f"{each.hit_rate:.1%}",
                    ),
                    strict=True,
                )
            ),
        )
        for each in rounds
    ]
    table = _table(("routed by", "TTFT p50", "TTFT p95", "hit rate"), rows)
    return _section(
        "serve",
        "Serve: time to the first token",
        f"{len(traffic.queries)} requests about {len(traffic.passages)} passages, over HTTP, at "
        "the same times in each round; a passage is read on from request to request, so that "
        "prompts begin alike. Two workers per model, one gateway. Hit rate is the share of prompt "
        "tokens that a worker had in its cache. Caches hold nothing of the passages when a round "
        "begins.",
        element(
            "div",
            {"class": "two"},
            element(
                "div", None, _keys((TONES[x.policy], NAMES[x.policy]) for x in rounds), picture
            ),
            element(
                "div",
                None,
                element("div", {"class": "wide"}, table),
                element(
                    "p",
                    {"class": "note"},
                    "One round each, on a machine that does all of it at once: differences of a "
                    "few milliseconds may be chance. Measurements are in the claims.",
                ),
            ),
        ),
    )


def learning_section(found: Findings) -> Html:
    """Return what was told, and what the loop made of it."""
    verdict = found.verdict
    gain = "not compared"
    if verdict.gain is not None and verdict.gain_error is not None:
        gain = f"{verdict.gain:+.3f} ± {verdict.gain_error:.3f}"
    items = [
        (f"{found.n_comparisons:,} comparisons", f"on {verdict.n_queries} queries, by feedback"),
        (gain, "held-out log-loss, lower by; one standard error"),
        (
            f"Version {verdict.version}" if verdict.published else "Nothing",
            "published, as only what is better beyond two standard errors is",
        ),
        (
            f"{verdict.seconds or 0.0:.1f} s",
            "for one turn: harvest, fit, compare, publish",
        ),
    ]
    cells = [
        element("li", None, element("b", None, figure), element("small", None, words))
        for figure, words in items
    ]
    alarms = [element("p", {"class": "note"}, f"Alarm: {text}") for text in verdict.alarms]
    return _section(
        "learn",
        "Learn: from comparisons to a capability table",
        "How each text really goes on is known. The model that finds that continuation likelier is "
        "told to the gateway to be better, request by request, as a user would. The loop reads the "
        "journal, fits kinds of queries and a ranking of the models for each, and publishes it if "
        "it foretells comparisons on queries that it has not seen. Queries of one passage are much "
        "alike; passages that are all new come next.",
        element("ul", {"class": "steps"}, *cells),
        *alarms,
    )


def choice_section(found: Findings) -> Html:
    """Return which models answered, before and after."""
    before, after = found.before, found.after
    keys = [(name, f"{name} model") for name in found.models]
    return _section(
        "choose",
        "Choose: which model answers which query",
        f"{len(after.domains)} queries about other passages than those learned from, sent as "
        '"model": "auto". Right is the model under which the true continuation is likeliest; '
        "parts in full colour are the model trained on that kind of text. Before, the gateway "
        "knows nothing of the models and goes by predicted latency alone.",
        _keys(keys, is_block=True),
        element(
            "div",
            {"class": "two even"},
            *(
                element(
                    "div",
                    None,
                    element("h3", None, f"{when}: {choices.share_right:.0%} to the right model"),
                    _flow(found, choices),
                )
                for when, choices in (("Before", before), ("After", after))
            ),
        ),
        element("div", {"class": "wide below"}, _qualities(before, after)),
    )


def time_section(found: Findings) -> Html:
    """Return what took how long."""
    cells = [
        element("li", None, element("b", None, duration(spent)), element("small", None, name))
        for name, spent in found.stages.items()
    ]
    return _section(
        "time",
        f"Where {duration(found.seconds)} went",
        f"On {found.machine}. The same seed gives the same texts, models and requests; times are "
        "those of this machine.",
        element("ul", {"class": "steps"}, *cells),
    )


def _section(name: str, heading: str, how: str, *children: str) -> Html:
    return element(
        "section",
        {"id": name},
        element("h2", None, heading),
        element("p", {"class": "how"}, how),
        *children,
    )


def _keys(keys: Iterable[tuple[str, str]], *, is_block: bool = False) -> Html:
    spans = [element("span", {"class": tone}, words) for tone, words in keys]
    return element("div", {"class": "keys blocks" if is_block else "keys"}, *spans)


def _table(headings: Sequence[str], rows: Sequence[Html]) -> Html:
    head = element("tr", None, *(element("th", None, heading) for heading in headings))
    return element("table", None, head, *rows)


def _talents(found: Findings) -> Html:
    """Return bits per byte of each model on each kind of text."""
    rows = []
    for name, row in zip(found.models, found.talents(), strict=True):
        cells = [
            element("td", {"class": "best"} if bits == row.min() else None, f"{bits:.2f}")
            for bits in row
        ]
        rows.append(element("tr", None, element("td", None, name), *cells))
    return element(
        "div",
        None,
        element("h3", None, "Bits per byte of text held out, by model"),
        element("div", {"class": "wide"}, _table(("text", *found.models), rows)),
        element(
            "p",
            {"class": "note"},
            "Less is better. Each model is one of three that a gateway will have to choose from.",
        ),
    )


def _samples(found: Findings) -> list[Html]:
    return [
        element(
            "div",
            {"class": f"sample {name}"},
            element("h3", None, f"What the {name} model writes"),
            element("pre", None, _beginning(arm.sample)),
        )
        for name, arm in found.trained.arms.items()
    ]


def _beginning(sample: str) -> str:
    lines = sample.strip("\n")[:SAMPLE_LETTERS].splitlines()
    return "\n".join(lines[:SAMPLE_LINES])


def _flow(found: Findings, choices: Choices) -> Html:
    cells = []
    for name, row in zip(found.models, choices.table(found.models), strict=True):
        n = int(row.sum())
        parts = [
            Part(model, count / max(1, n), f"{count} of {n} to the {model} model", model == name)
            for model, count in zip(found.models, row.tolist(), strict=True)
        ]
        words = element("span", {"class": "what"}, name, element("small", None, f"{n} queries"))
        cells += [words, shares(parts)]
    return element("div", {"class": "flow"}, *cells)


def _qualities(before: Choices, after: Choices) -> Html:
    chance = float(after.scores.bits.mean())
    rows = [
        ("a model at random", f"{1 / len(after.scores.models):.0%}", f"{chance:.3f}"),
        ("before: by latency", f"{before.share_right:.0%}", f"{before.bits:.3f}"),
        ("after: by capability", f"{after.share_right:.0%}", f"{after.bits:.3f}"),
        ("always the right one", "100%", f"{after.best_bits:.3f}"),
    ]
    cells = [
        element(
            "tr",
            {"class": "ours"} if row[0].startswith("after") else None,
            *(element("td", None, text) for text in row),
        )
        for row in rows
    ]
    explored = (
        f"{after.n_explored} of the {len(after.domains)} went to another model on purpose, so that "
        "evidence keeps coming for all."
    )
    note = [element("p", {"class": "note"}, explored)] if after.n_explored else []
    return element("div", None, _table(("", "right model", "bits per byte"), cells), *note)


def _losses(arm: Arm) -> list[tuple[float, float]]:
    known = arm.curves
    return list(zip(map(float, known.validation_steps), known.validation_losses, strict=True))


def _distribution(round: Round) -> list[tuple[float, float]]:
    places = np.linspace(0.0, 1.0, min(N_POINTS, len(round.answers)))
    seconds = np.quantile(round.ttft, places)
    return list(zip((1e3 * seconds).tolist(), places.tolist(), strict=True))


def _less(share: float, what: str) -> str:
    return f"{abs(share):.0%} {'fewer' if share >= 0 else 'more'} {what}"
