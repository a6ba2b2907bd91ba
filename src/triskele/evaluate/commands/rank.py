"""The command line: ``triskele evaluate rank``."""

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
from scipy.special import expit

from triskele.evaluate.collect.prompts import digest_of, read_prompts
from triskele.evaluate.columns import Floats
from triskele.evaluate.embedding.encoders import encode
from triskele.evaluate.embedding.files import read_embeddings
from triskele.evaluate.fitting import checked_width
from triskele.evaluate.storage import FittedModel, load_model
from triskele.evaluate.terminal import Terminal, cell, clipped

DONE = 0
TITLE_LENGTH = 100
N_TERMS_SHOWN = 5
BLOCK = 4096
"""Queries at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankConfig:
    """Rank the models for new prompts.

    "beats another" is the chance to beat a model drawn from the others, "beats the next" that to
    beat the one below.

      triskele evaluate rank model.npz --text "Why is the sky blue?" --text "Sort a list in C"

      triskele evaluate rank model.npz --prompts prompts.txt --json > rankings.jsonl
    """

    model: tyro.conf.Positional[Path]
    """File that triskele evaluate fit has written."""
    text: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A prompt; may be given several times."""
    prompts: Path | None = None
    """File of prompts: .txt (one per line), .jsonl, .csv or .parquet."""
    embeddings: Path | None = None
    """File of the prompts' embeddings, where the fit knows no embedder: .npy or .parquet."""
    top: int = 5
    """Models shown of each prompt; --json has all."""
    json: bool = False
    """Write a line of JSON per prompt instead of tables."""

    def __post_init__(self) -> None:
        """Refuse to rank for nothing."""
        if not self.text and self.prompts is None and self.embeddings is None:
            raise ValueError("expected --text or --prompts, got neither")
        if self.text and self.prompts is not None:
            raise ValueError("expected --text or --prompts, got both")
        if self.top < 1:
            raise ValueError(f"expected --top of at least 1, got {self.top}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked about."""

    id: str
    text: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``triskele evaluate rank`` and return its exit status.

    Raises
    ------
    ValueError, OSError
        If it could not be done; the text is one line.
    """
    config = tyro.cli(
        RankConfig,
        args=arguments,
        prog="triskele evaluate rank",
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    model = load_model(config.model)
    queries, embeddings = _asked(config, model)
    terminal = Terminal(Console())
    for begin in range(0, len(embeddings), BLOCK):
        block = np.asarray(embeddings[begin : begin + BLOCK])
        clusters = model.ecc.predict_proba(block)
        capabilities = model.ecc.capabilities(block)
        for place, query in enumerate(queries[begin : begin + BLOCK]):
            found = ranking(model, query, capabilities[place], clusters[place])
            if config.json:
                sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
            else:
                _show(terminal, model, found, config.top)
    return DONE


def ranking(
    model: FittedModel, query: Query, capabilities_M: Floats, belongs_K: Floats
) -> dict[str, Any]:
    """Return what there is to say of a query, as it stands in JSON.

    Parameters
    ----------
    model
        The fit.
    query
        What is asked about.
    capabilities_M
        Of the models for it, as log odds.
    belongs_K
        How likely it belongs to each cluster.
    """
    θ_M = capabilities_M - capabilities_M.mean()
    order = np.argsort(-θ_M, kind="stable")
    beats_MM = expit(θ_M[:, None] - θ_M[None, :])
    n_others = len(θ_M) - 1
    lines = []
    for rank, place in enumerate(order.tolist(), start=1):
        others = float(beats_MM[place].sum() - 0.5)
        line: dict[str, Any] = {
            "model": model.ecc.models_[place],
            "rank": rank,
            "capability": round(float(θ_M[place]), 6),
            "beats_another": round(others / n_others, 6) if n_others else None,
        }
        following = order[rank] if rank <= n_others else None
        line["beats_next"] = (
            None if following is None else round(float(beats_MM[place, following]), 6)
        )
        lines.append(line)
    cluster = int(belongs_K.argmax())
    return {
        "id": query.id,
        "text": query.text,
        "cluster": cluster,
        "cluster_probability": round(float(belongs_K[cluster]), 6),
        "ranking": lines,
    }


def _asked(config: RankConfig, model: FittedModel) -> tuple[list[Query], NDArray[np.floating[Any]]]:
    """Return the queries and their embeddings."""
    queries = [Query(id=digest_of(text), text=text) for text in config.text]
    if config.prompts is not None:
        queries = [Query(id=found.id, text=found.text) for found in read_prompts(config.prompts)]
    if config.embeddings is None:
        given = encode(model.encoder, [query.text for query in queries])
    else:
        given = read_embeddings(config.embeddings, n_rows=len(queries) or None)
        queries = queries or [Query(id=str(row), text="") for row in range(len(given))]
    return queries, checked_width(given, model)


def _show(terminal: Terminal, model: FittedModel, found: dict[str, Any], top: int) -> None:
    terminal.say(clipped(found["text"], TITLE_LENGTH) or f"row {found['id']}", style="bold")
    if model.ecc.n_clusters_ > 1:
        terms = ", ".join(model.terms[found["cluster"]][:N_TERMS_SHOWN]) or "nothing in words"
        sure = found["cluster_probability"]
        terminal.say(f"cluster {found['cluster']} ({sure:.0%}): {terms}", style="dim")
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="bold")
    for name in ("", "model", "capability", "beats another", "beats the next"):
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    for line in found["ranking"][:top]:
        table.add_row(
            str(line["rank"]),
            cell(line["model"]),
            f"{line['capability']:+.2f}",
            _percent(line["beats_another"]),
            _percent(line["beats_next"]),
        )
    terminal.show(table)
    terminal.say()


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"
