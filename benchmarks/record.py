"""What every claim writes: figures with goals, the machine they were measured on, and raw rows.

A claim builds ``Figure`` values and calls :func:`record`, which prints one line per figure —
``NAME figure=value goal=GOAL holds|falls-short`` — and writes
``benchmarks/claims/results/NAME.json``, from which the README's table is generated.
"""

import json
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "claims" / "results"
# Of short forms: git ignores them, and the README does not show them.
SHORT = RESULTS / "short"
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number of a claim.

    ``holds`` is ``None`` for a figure that is reported without a goal.
    """

    name: str
    value: float
    unit: str = ""
    spread: float | None = None
    goal: str | None = None
    holds: bool | None = None


def record(
    claim: str,
    figures: Sequence[Figure],
    *,
    rows: Sequence[Mapping[str, Any]] = (),
    seeds: Sequence[int] = (),
    notes: str = "",
    directory: Path = RESULTS,
) -> Path:
    """Print one line per figure and write ``directory/claim.json``; returns its path."""
    for figure in figures:
        spread = "" if figure.spread is None else f"±{figure.spread:.3g}"
        verdict = {True: "holds", False: "falls-short", None: "reported"}[figure.holds]
        goal = "-" if figure.goal is None else figure.goal
        print(
            f"{claim} {figure.name}={figure.value:.4g}{spread}{figure.unit} goal={goal} {verdict}"
        )
    document = {
        "claim": claim,
        "command": " ".join(
            ["python", "-m", f"benchmarks.claims.{Path(sys.argv[0]).stem}", *sys.argv[1:]]
        ),
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": _machine(),
        "packages": {name: version(name) for name in ("torch", "numpy")},
        "seeds": list(seeds),
        "notes": notes,
        "figures": [asdict(figure) for figure in figures],
    }
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{claim}.json"
    # One row a line keeps the file small and its differences readable.
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    head = json.dumps(document, indent=1)[:-2]
    path.write_text(f'{head},\n "rows": [\n{lines}\n]\n}}\n', encoding="utf-8")
    return path


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error."""
    array = np.asarray(values, dtype=np.float64)
    error = float(array.std(ddof=1) / len(array) ** 0.5) if len(array) > 1 else 0.0
    return float(array.mean()), error


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _machine() -> dict[str, str | int]:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    features: set[str] = set()
    n_cores = 0
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                cpu, n_cores = value.strip(), n_cores + 1
            elif key.strip() == "flags":
                features.update(value.split())
    wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    return {
        "cpu": cpu,
        "cores": n_cores,
        "features": " ".join(name for name in wanted if name in features),
        "python": platform.python_version(),
        "system": platform.system(),
    }
