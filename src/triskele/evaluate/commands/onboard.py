"""The command line: ``triskele evaluate onboard``."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import norm

from triskele.evaluate.collect.prompts import Prompt, read_prompts
from triskele.evaluate.columns import Floats
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.embedding.encoders import encode
from triskele.evaluate.fitting import checked_width
from triskele.evaluate.onboarding import Onboarding, Question
from triskele.evaluate.standings import LEVEL
from triskele.evaluate.storage import load_model
from triskele.evaluate.terminal import Terminal, cell, clipped
from triskele.evaluate.votes.reading import read_votes

DONE = 0
TEXT_LENGTH = 70


@dataclass(frozen=True, slots=True, kw_only=True)
class OnboardConfig:
    """Find out where a new model stands, with few comparisons.

    Without votes, says what to compare first. With the votes so far, says where the model stands
    among the others, how sure that is, and what to compare next.

      triskele evaluate onboard model.npz --name new --prompts prompts.txt --json > ask.jsonl

      triskele evaluate onboard model.npz --name new --prompts prompts.txt --votes votes.jsonl
    """

    model: tyro.conf.Positional[Path]
    """File that triskele evaluate fit has written."""
    name: str
    """Of the new model, as it is called in the votes."""
    prompts: Path
    """File of prompts that can be asked: .txt (one per line), .jsonl, .csv or .parquet."""
    votes: Path | None = None
    """Votes so far, in LMArena's columns; those without the new model are passed over."""
    ask: int = 10
    """Comparisons to suggest."""
    json: bool = False
    """Write the suggestions as lines of JSON, with the columns of votes to come."""

    def __post_init__(self) -> None:
        """Refuse to suggest fewer than none."""
        if self.ask < 0:
            raise ValueError(f"expected --ask of at least 0, got {self.ask}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a model stands, on average over the prompts."""

    model: str
    capability: float
    """Log odds against a model of the mean strength."""
    margin: float | None
    """Half of the width of its interval, of a new model."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``triskele evaluate onboard`` and return its exit status.

    Raises
    ------
    ValueError, OSError
        If it could not be done; the text is one line.
    """
    config = tyro.cli(
        OnboardConfig,
        args=arguments,
        prog="triskele evaluate onboard",
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    model = load_model(config.model)
    prompts = read_prompts(config.prompts)
    X = checked_width(encode(model.encoder, [prompt.text for prompt in prompts]), model)
    talk = Onboarding(model.ecc, X, name=config.name)
    answered = _answered(config, prompts, talk) if config.votes is not None else None
    if answered is not None:
        talk.fit(answered)
    questions = talk.suggest(config.ask, asked=answered)
    if config.json:
        for question in questions:
            sys.stdout.write(json.dumps(_line(question, prompts, talk), ensure_ascii=False) + "\n")
        return DONE
    terminal = Terminal(Console())
    n_answered = 0 if answered is None else len(answered)
    terminal.say(f"{config.name} after {n_answered} comparisons", style="bold")
    terminal.show(_standings(places(talk, model.ecc.capabilities(X), X)))
    if questions:
        terminal.say("\nwhat to compare next, what tells most first", style="bold")
        terminal.show(_suggestions(questions, prompts))
    return DONE


def places(talk: Onboarding, capabilities_QM: Floats, X: NDArray[np.floating[Any]]) -> list[Place]:
    """Return where all models stand, the best first.

    Parameters
    ----------
    talk
        With the new model.
    capabilities_QM
        Of the known models on the queries.
    X
        Embeddings of the queries.
    """
    level_M = (capabilities_QM - capabilities_QM.mean(1, keepdims=True)).mean(0)
    mean, deviation = talk.level(X)
    margin = float(norm.ppf((1 + LEVEL) / 2)) * deviation
    found = [
        Place(model=name, capability=float(level), margin=None)
        for name, level in zip(talk.models, level_M, strict=True)
    ]
    found.append(Place(model=talk.name, capability=mean, margin=margin))
    return sorted(found, key=lambda place: -place.capability)


def _answered(config: OnboardConfig, prompts: Sequence[Prompt], talk: Onboarding) -> Comparisons:
    """Return the votes on the new model, in the rows of the prompts."""
    assert config.votes is not None
    votes = read_votes(config.votes)
    row_of = {prompt.text: row for row, prompt in enumerate(prompts)}
    row_of |= {prompt.id: row for row, prompt in enumerate(prompts)}
    rows = np.array(
        [
            row_of.get(id_, row_of.get(text, -1))
            for id_, text in zip(votes.ids, votes.texts, strict=True)
        ],
        np.int64,
    )
    given = votes.comparisons
    names = (*talk.models, config.name)
    if config.name not in given.models:
        raise ValueError(f"{config.votes}: expected votes on {config.name!r}, there are none")
    known = np.array([name in names for name in given.models])
    new = given.models.index(config.name)
    kept = given.take(
        ((given.model_a == new) | (given.model_b == new))
        & known[given.model_a]
        & known[given.model_b]
        & (rows[given.query] >= 0)
    )
    if not len(kept):
        raise ValueError(
            f"{config.votes}: expected votes on {config.name!r} against a model of the fit and on "
            f"prompts of {config.prompts}, there are none"
        )
    column = np.array(given.models)
    return Comparisons.from_arrays(
        rows[kept.query],
        column[kept.model_a],
        column[kept.model_b],
        kept.outcome,
        weight=kept.weight,
        models=names,
        n_queries=len(prompts),
    )


def _line(question: Question, prompts: Sequence[Prompt], talk: Onboarding) -> dict[str, str]:
    prompt = prompts[question.query]
    return {
        "question_id": prompt.id,
        "prompt": prompt.text,
        "model_a": talk.name,
        "model_b": question.opponent,
    }


def _standings(found: list[Place]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="bold")
    for name in ("", "model", "capability", f"{LEVEL:.0%} interval"):
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    for rank, place in enumerate(found, start=1):
        interval = ""
        if place.margin is not None:
            low, high = place.capability - place.margin, place.capability + place.margin
            interval = f"{low:+.2f} to {high:+.2f}"
        style = "bold" if place.margin is not None else ""
        table.add_row(
            str(rank), cell(place.model), f"{place.capability:+.2f}", interval, style=style
        )
    return table


def _suggestions(questions: Sequence[Question], prompts: Sequence[Prompt]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="bold")
    for name in ("against", "prompt"):
        table.add_column(name, no_wrap=True)
    for question in questions:
        text = clipped(prompts[question.query].text, TEXT_LENGTH)
        table.add_row(cell(question.opponent), cell(text))
    return table
