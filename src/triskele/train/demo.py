"""The demonstration: one small model, trained twice on the text that every Python brings along.

The sources of the standard library are the corpus. Model, seed, batches and schedule are the same
for both runs; the optimizer differs. The figure of merit is the number of steps until validation
loss comes down to what Muon has after 80 % of its steps. Everything has a fixed number of steps,
so that the result does not depend on how fast the machine is. It needs no network.
"""

import json
import shutil
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from triskele.train.config import (
    LABELS,
    BatchOptions,
    ModelOptions,
    OptimizerName,
    SnapshotOptions,
    TextOptions,
    TrainConfig,
    WatchOptions,
)
from triskele.train.corpus import SEPARATOR
from triskele.train.metrics import METRICS, Curves, read_curves, steps_to_reach
from triskele.train.plots import Run, plot_losses
from triskele.train.pretrain import never, pretrain
from triskele.train.records import Artifacts, Record, RunFinished, Sink, discard
from triskele.train.tokens import prepare

CORPUS, PLOT, MARK = "stdlib.txt", "steps_to_target.png", "demo.json"
LEFT_OUT = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "idlelib"})
LEAST_BYTES = 1_000_000
BASELINE: OptimizerName = "muon"
CONTENDER: OptimizerName = "dynmuon"
MODEL = ModelOptions(d_model=160, n_layers=4, n_heads=2, d_ff=432)
TEXT = TextOptions(vocab_size=2048, validation_share=0.02, sample_bytes=6_000_000)
BATCH = BatchOptions(size=64, context=128)
TARGET_AT = 0.8
"""The fraction of Muon's steps whose loss is the target."""
VALIDATIONS = 40
PROMPT = '\ndef read_lines(path):\n    """'


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoConfig:
    """Train a small model twice, with DynMuon and with Muon, and compare the steps they need.

    Takes about three minutes on two cores. Writes the comparison, and for each optimizer a
    checkpoint that loads in transformers and a sample of text, to OUT.
    """

    out: Path = Path("demo")
    """A new folder, or that of an earlier demo, which is replaced."""
    steps: int = 200
    """Optimizer steps of each run."""
    seed: int = 0
    """Seed of the weights and of the order of the data."""

    def __post_init__(self) -> None:
        if self.steps < 5:
            raise ValueError(f"steps must be at least 5, got {self.steps}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmReport:
    """One of the two runs: when it reached the target (None if never), and where it ended."""

    optimizer: OptimizerName
    label: str
    steps_to_target: float | None
    final_loss: float
    bits_per_byte: float | None
    seconds: float
    artifacts: Artifacts


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """The comparison. ``saving`` is the share of Muon's steps that the contender did not need."""

    target: float
    baseline: ArmReport
    contender: ArmReport
    saving: float | None
    plot: Path


def run_demo(
    config: DemoConfig, *, sink: Sink = discard, stop: Callable[[], bool] = never
) -> DemoReport | None:
    """Train both models and compare them.

    Parameters
    ----------
    config
        Where to write, and how long to train.
    sink
        Told of all progress.
    stop
        Asked after every step; when it says yes, the demonstration ends.

    Returns
    -------
    DemoReport or None
        None if it was stopped.

    Raises
    ------
    ValueError
        If the folder holds something else, or this Python has no sources.
    """
    _claim_folder(config)
    write_stdlib(config.out / CORPUS)
    prepare(_text_config(config), context=BATCH.context or 1, sink=sink)
    arms: dict[OptimizerName, tuple[RunFinished, Curves]] = {}
    for optimizer in (BASELINE, CONTENDER):
        run = _run_config(config, optimizer)
        finished = pretrain(run, sink=_without_end(sink), stop=stop)
        if finished.interrupted:
            return None
        arms[optimizer] = finished, read_curves(run.out / METRICS)
    return _compare(config, arms)


def write_stdlib(path: Path) -> None:
    """Write the sources of this Python's standard library into one file, tests left out.

    Raises
    ------
    ValueError
        If they are not on disk.
    """
    folder = Path(sysconfig.get_paths()["stdlib"])
    names = sorted(
        source.relative_to(folder)
        for source in folder.rglob("*.py")
        if not LEFT_OUT.intersection(source.relative_to(folder).parts[:-1])
    )
    n_bytes = 0
    with path.open("w", encoding="utf-8") as stream:
        for name in names:
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
            if text.strip():
                n_bytes += stream.write(f"{text.rstrip()}\n{SEPARATOR}\n")
    if n_bytes < LEAST_BYTES:
        raise ValueError(f"the standard library's sources are not in {folder}")


def _claim_folder(config: DemoConfig) -> None:
    """Take an empty folder or replace an earlier demonstration, and nothing else."""
    out = config.out
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; --out must be a folder")
    if out.exists() and any(out.iterdir()) and not (out / MARK).exists():
        raise ValueError(f"{out} holds something that is no demo; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).write_text(json.dumps({"steps": config.steps, "seed": config.seed}) + "\n")
    for name in (BASELINE, CONTENDER):
        shutil.rmtree(out / name, ignore_errors=True)


def _run_config(config: DemoConfig, optimizer: OptimizerName) -> TrainConfig:
    return TrainConfig(
        data=config.out / "tokens",
        out=config.out / optimizer,
        optimizer=optimizer,
        steps=config.steps,
        seed=config.seed,
        model=MODEL,
        text=TEXT,
        batch=BATCH,
        watch=WatchOptions(
            validate_every=max(1, config.steps // VALIDATIONS),
            validation_tokens=16_384,
            prompt=PROMPT,
        ),
        snapshot=SnapshotOptions(every=config.steps, keep=1),
    )


def _text_config(config: DemoConfig) -> TrainConfig:
    """Ask for the corpus to be tokenized beside the runs, once for both."""
    return TrainConfig(data=config.out / CORPUS, out=config.out, text=TEXT)


def _without_end(sink: Sink) -> Sink:
    """Keep the end of a single run from the watcher: the comparison says it better."""

    def forward(record: Record) -> None:
        if not isinstance(record, RunFinished):
            sink(record)

    return forward


def _compare(
    config: DemoConfig, arms: dict[OptimizerName, tuple[RunFinished, Curves]]
) -> DemoReport:
    muon = arms[BASELINE][1]
    at_target = min(
        zip(muon.validation_steps, muon.validation_losses, strict=True),
        key=lambda point: abs(point[0] - TARGET_AT * config.steps),
    )
    target = at_target[1]
    reports = {name: _report(name, *arm, target) for name, arm in arms.items()}
    baseline, contender = reports[BASELINE], reports[CONTENDER]
    saving = None
    if contender.steps_to_target is not None and baseline.steps_to_target:
        saving = 1.0 - contender.steps_to_target / baseline.steps_to_target
    plot = config.out / PLOT
    plot_losses(
        plot,
        [Run(LABELS[name], arm[1]) for name, arm in arms.items()],
        title=f"Python's standard library, {config.steps} steps: "
        f"steps to Muon's loss at {TARGET_AT:.0%}",
        target=target,
    )
    return DemoReport(
        target=target, baseline=baseline, contender=contender, saving=saving, plot=plot
    )


def _report(
    optimizer: OptimizerName, finished: RunFinished, curves: Curves, target: float
) -> ArmReport:
    assert finished.validation is not None
    assert finished.artifacts is not None
    return ArmReport(
        optimizer=optimizer,
        label=LABELS[optimizer],
        steps_to_target=steps_to_reach(curves.validation_steps, curves.validation_losses, target),
        final_loss=finished.validation.loss,
        bits_per_byte=finished.validation.bits_per_byte,
        seconds=finished.seconds,
        artifacts=finished.artifacts,
    )
