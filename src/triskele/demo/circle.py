"""The whole circle, once: train, serve, compare, learn, and serve again.

OUT/index.html   everything that was found, as one page
OUT/demo.json    the same as figures
OUT/models/      a checkpoint of each model that loads in transformers, vLLM and SGLang
OUT/journal/, OUT/capability/, OUT/logs/, OUT/texts/    what the processes read and wrote
"""

import asyncio
import json
import os
import platform
import shutil
import time
from pathlib import Path

import torch

from triskele.demo.config import DemoConfig, Scale
from triskele.demo.domains import Domain, gather
from triskele.demo.evidence import PRICES
from triskele.demo.findings import Findings
from triskele.demo.fleet import CAPABILITY, JOURNAL, fleet
from triskele.demo.models import LOGS, MODELS, TEXTS, Trained, train_models
from triskele.demo.page import page
from triskele.demo.rounds import Rounds, Served, serve
from triskele.demo.scoring import Scores, score
from triskele.demo.stopwatch import Stopwatch
from triskele.demo.watching import Watcher
from triskele.demo.workload import Workload, workloads
from triskele.model import load_tokenizer

MARK, PAGE = "demo.json", "index.html"
TEXT_STAGE = "three kinds of text"


def run_demo(config: DemoConfig, *, scale: Scale, watcher: Watcher) -> Findings:
    """Turn the circle, and write down what was found.

    Parameters
    ----------
    config
        Where to write, for how long to train, and the seed.
    scale
        How large everything is.
    watcher
        Shown all progress.

    Raises
    ------
    ValueError
        If the folder holds something else, this Python has no sources, or a process fails.
    """
    out, seed = config.out, config.seed
    _claim_folder(out)
    watch = Stopwatch(time.perf_counter)
    watcher.begin(TEXT_STAGE, 1)
    domains = gather(characters=scale.training.characters, seed=seed)
    watcher.advance(TEXT_STAGE, 1)
    watch.lap("reading the texts")
    trained = train_models(
        domains, out, scale.training, steps=config.steps, seed=seed, watcher=watcher
    )
    watch.lap(f"training {len(trained.arms) + 1} times")
    halves, scores = _asked(domains, trained, scale, seed, watcher)
    watch.lap("scoring continuations")
    served = asyncio.run(_served(trained, halves, scores, config, scale, watcher, watch))
    watch.lap("ending the processes")
    found = Findings(
        trained=trained,
        workloads=halves,
        scores=scores,
        rounds=served.rounds,
        before=served.before,
        after=served.after,
        verdict=served.verdict,
        n_comparisons=served.n_comparisons,
        stages=watch.laps,
        n_workers=len(domains) * scale.hardware.workers,
        machine=_machine(),
    )
    (out / PAGE).write_text(page(found), encoding="utf-8")
    (out / MARK).write_text(json.dumps(found.figures(), indent=1) + "\n", encoding="utf-8")
    return found


def _claim_folder(out: Path) -> None:
    """Take an empty folder or replace an earlier demonstration, and nothing else."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; --out must be a folder")
    if out.exists() and any(out.iterdir()) and not (out / MARK).exists():
        raise ValueError(f"{out} holds something that is no demo; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).write_text("{}\n", encoding="utf-8")
    for name in (TEXTS, MODELS, JOURNAL, CAPABILITY, LOGS):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in (PAGE, PRICES):
        (out / name).unlink(missing_ok=True)


def _asked(
    domains: tuple[Domain, ...], trained: Trained, scale: Scale, seed: int, watcher: Watcher
) -> tuple[tuple[Workload, Workload], tuple[Scores, Scores]]:
    """Return what will be asked, and what each model makes of it."""
    tokenizer = load_tokenizer(trained.tokenizer)
    halves = workloads(domains, tokenizer, scale.traffic, seed=seed)
    first, second = score(halves, trained.checkpoints, tokenizer, scale.traffic, watcher)
    return halves, (first, second)


async def _served(
    trained: Trained,
    halves: tuple[Workload, Workload],
    scores: tuple[Scores, Scores],
    config: DemoConfig,
    scale: Scale,
    watcher: Watcher,
    watch: Stopwatch,
) -> Served:
    out, seed = config.out, config.seed
    async with fleet(
        trained.checkpoints,
        trained.tokenizer.parent,
        out,
        scale.hardware,
        seed=seed,
        watcher=watcher,
    ) as running:
        watch.lap("starting the processes")
        rounds = Rounds(
            running,
            list(trained.checkpoints),
            n_output=scale.traffic.output,
            seed=seed,
            watcher=watcher,
        )
        return await serve(
            running, rounds, halves, scores, out, seed=seed, watcher=watcher, watch=watch
        )


def _machine() -> str:
    cores = os.cpu_count() or 1
    return (
        f"{cores} processor core{'s' if cores > 1 else ''} ({platform.machine()}), "
        f"Python {platform.python_version()}, torch {torch.__version__.partition('+')[0]}"
    )
