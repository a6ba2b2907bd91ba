"""What the loop has come to, in lines that a person can read."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from triskele.loop.verdict import History, Verdict
from triskele.serve.routing.capability_table import CapabilityTable

N_SHOWN = 5
"""Verdicts that a status shows."""


def line_of(verdict: Verdict) -> str:
    """Return a verdict in one line."""
    when = _time(verdict.time)
    what = f"version {verdict.version}"
    if verdict.published:
        what = f"{'back to' if verdict.kind == 'rollback' else 'published'} {what}"
    else:
        what = f"{what} stays" if verdict.version else "nothing is published"
    parts = [f"{when}  {what}: {'; '.join(verdict.reasons)}"]
    if verdict.n:
        parts.append(f"({verdict.n} pieces of evidence, {verdict.n_new} new)")
    if verdict.n_problems:
        parts.append(f"({verdict.n_problems} could not be used)")
    parts.extend(f"ALARM: {alarm}" for alarm in verdict.alarms)
    return " ".join(" ".join(parts).split())


def status_of(
    table: CapabilityTable | None,
    versions: Sequence[int],
    verdicts: Sequence[Verdict],
    history: History,
) -> list[str]:
    """Return the lines of a status.

    Parameters
    ----------
    table
        The current one.
    versions
        Those that one could go back to.
    verdicts
        All so far.
    history
        What follows from them.
    """
    if table is None:
        lines = ["no table is published yet"]
    else:
        others = ", ".join(str(version) for version in versions if version != table.version)
        lines = [
            f"version {table.version} is current"
            + (f"; there are also {others}" if others else "")
            + f"; {len(table.points)} landmarks, {table.embedder}",
            "",
            f"  {'quality':>7}  {'price':>9}  model",
        ]
        quality = table.quality(None)
        for place in np.argsort(-quality, kind="stable"):
            price = float(table.prices[place])
            lines.append(f"  {quality[place]:7.3f}  {price:9.4g}  {table.models[place]}")
    if history.refused:
        lines += ["", "batches that were refused (triskele loop --release lets them count):"]
        lines += [f"  {_time(since)} to {_time(until)}" for since, until in history.refused]
    turns = [verdict for verdict in verdicts if verdict.kind == "turn"]
    if turns and turns[-1].quarantined:
        lines += ["", "sources that are not believed:"]
        lines += [f"  {name}: {reason}" for name, reason in turns[-1].quarantined.items()]
    if verdicts:
        lines += ["", "latest verdicts:"]
        lines += [f"  {line_of(verdict)}" for verdict in verdicts[-N_SHOWN:]]
    return lines


def _time(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
