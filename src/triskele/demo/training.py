"""Training runs side by side, each a ``triskele train`` of its own.

There are as many at once as the machine has processors, with the others shared out among them.
Threads of one run wait for each other in every operation, and much longer where something else
computes; runs do not.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triskele.demo.watching import Watcher
from triskele.train import TrainConfig, read_curves
from triskele.train.metrics import METRICS

LOOK_SECONDS = 0.25
STOP_SECONDS = 10.0
THREADS = "OMP_NUM_THREADS"


@dataclass(slots=True)
class _Running:
    name: str
    config: TrainConfig
    log: Path
    process: subprocess.Popen[bytes]


def train_side_by_side(
    configs: Mapping[str, TrainConfig],
    *,
    logs: Path,
    n_processors: int,
    watcher: Watcher,
) -> None:
    """Train, until all are done.

    Parameters
    ----------
    configs
        What to train, by the names by which the runs are shown; their steps must be given.
    logs
        Folder for what the runs say.
    n_processors
        That there are.
    watcher
        Shown the steps and losses of all.

    Raises
    ------
    ValueError
        If one of them fails; the others are ended.
    """
    logs.mkdir(parents=True, exist_ok=True)
    n_at_once = max(1, min(len(configs), n_processors))
    n_threads = max(1, n_processors // n_at_once)
    waiting, running = list(configs.items()), list[_Running]()
    try:
        while waiting or running:
            while waiting and len(running) < n_at_once:
                name, config = waiting.pop(0)
                log = logs / f"train-{config.out.parent.name}-{config.optimizer}.log"
                running.append(_started(name, config, log, n_threads))
                watcher.begin(name, config.steps or 1)
            time.sleep(LOOK_SECONDS)
            running = [run for run in running if not _has_ended(run, watcher)]
    finally:
        for run in running:
            run.process.terminate()
        for run in running:
            _end(run.process)


def _started(name: str, config: TrainConfig, log: Path, n_threads: int) -> _Running:
    command = [sys.executable, "-m", "triskele", "train", *words_of(config)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, THREADS: str(n_threads)},
            # Ctrl-C is for the demonstration alone, which ends them.
            start_new_session=True,
        )
    return _Running(name, config, log, process)


def words_of(config: TrainConfig) -> list[str]:
    """Return the words on a command line that mean a configuration."""
    usual = dict(_flat(TrainConfig(data=config.data, out=config.out).to_dict()))
    words = ["--data", str(config.data), "--out", str(config.out)]
    for name, value in _flat(config.to_dict()):
        if value == usual[name]:
            continue
        section, dot, field = name.replace("_", "-").rpartition(".")
        if isinstance(value, bool):
            words.append(f"--{section}{dot}{'' if value else 'no-'}{field}")
        else:
            words += [f"--{section}{dot}{field}", str(value)]
    return words


def _flat(fields: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in fields.items():
        if isinstance(value, dict):
            found += _flat(value, f"{above}{name}.")
        else:
            found.append((f"{above}{name}", value))
    return found


def _show(run: _Running, watcher: Watcher) -> None:
    """Show how far a run is, by what it has written down."""
    curves = read_curves(run.config.out / METRICS)
    if not curves.steps:
        return
    said = [f"{curves.steps[-1]}/{run.config.steps}", f"loss {curves.losses[-1]:.3f}"]
    if curves.validation_losses:
        said.append(f"val {curves.validation_losses[-1]:.3f}")
    watcher.advance(run.name, curves.steps[-1], "  ".join(said))


def _has_ended(run: _Running, watcher: Watcher) -> bool:
    status = run.process.poll()
    _show(run, watcher)
    if status:
        lines = run.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise ValueError(f"{run.name} failed: {lines[-1] if lines else f'see {run.log}'}")
    return status is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
