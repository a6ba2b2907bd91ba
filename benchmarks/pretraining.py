"""Short pretraining runs for the steps-to-target claim: one function of (setting, arm, lr, seed).

A run is cached by what it depends on, so that a benchmark can be stopped and continued at any
time. All arms of a seed share the initial weights and the order of the data; they differ in the
optimizer alone.
"""

import hashlib
import json
import lzma
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from triskele.model import ModelConfig, Transformer
from triskele.optim import DynMuon, PowerSchedule, assign_parameters
from triskele.train.batches import Batches
from triskele.train.config import ScheduleOptions, TextOptions, TrainConfig
from triskele.train.hardware import has_fast_bf16
from triskele.train.lr import lr_at_step
from triskele.train.records import discard
from triskele.train.tokens import Dataset, prepare

WHOLE_FILE = 1 << 26
READ_AT = (0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all arms share: model, data, number of steps, learning-rate shape."""

    name: str
    model: ModelConfig
    batch: int
    micro: int
    context: int
    steps: int
    text_bytes: int
    validation_tokens: int
    schedule: ScheduleOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One optimizer with its options, and the learning rates it is tried at."""

    name: str
    kind: Literal["adamw", "muon", "dynmuon"]
    lrs: tuple[float, ...]
    steps_share: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training run to be made."""

    arm: Arm
    lr: float
    seed: int

    def key(self, setting: Setting) -> str:
        """Return a digest of everything the run depends on, but for the arm's name."""
        plain = json.dumps(
            [asdict(setting), asdict(replace(self.arm, name="", lrs=())), self.lr, self.seed],
            default=str,
            sort_keys=True,
        )
        return hashlib.sha256(plain.encode()).hexdigest()[:16]


def cut_text(source: Path, folder: Path, n_bytes: int) -> Path:
    """Write the first ``n_bytes`` of a text file (plain or .xz) to ``folder`` once."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{source.name.split('.')[0]}-{n_bytes}.txt"
    if not target.exists():
        with lzma.open(source) if source.suffix == ".xz" else source.open("rb") as stream:
            text = stream.read(n_bytes)
        partial = target.with_suffix(".partial")
        partial.write_bytes(text[: text.rfind(b"\n") + 1])
        partial.replace(target)
    return target


def open_tokens(setting: Setting, data: Path, cache: Path) -> Dataset:
    """Tokenize once and return training and validation tokens."""
    train = cut_text(data / "docs-train.txt.xz", cache, setting.text_bytes)
    validation = cut_text(data / "docs-val.txt.xz", cache, WHOLE_FILE)
    config = TrainConfig(
        data=train,
        out=cache / f"tokens-{setting.model.vocab_size}-{setting.text_bytes}",
        text=TextOptions(
            vocab_size=setting.model.vocab_size,
            validation=validation,
            sample_bytes=8_000_000,
        ),
    )
    return prepare(config, context=setting.context, sink=discard)


def is_made(setting: Setting, run: Run, cache: Path) -> bool:
    """Tell whether the record of a run is in the cache."""
    return (cache / "runs" / f"{run.key(setting)}.json").exists()


def train(setting: Setting, run: Run, data: Path, cache: Path) -> dict[str, Any]:
    """Return the curve of a run, from the cache if it was made before.

    The record holds ``curve``, a list of (step, mean validation loss), and how long it took.
    """
    path = cache / "runs" / f"{run.key(setting)}.json"
    if path.exists():
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record
    record = _train(setting, run, open_tokens(setting, data, cache))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(record), encoding="utf-8")
    partial.replace(path)
    return record


def _train(setting: Setting, run: Run, dataset: Dataset) -> dict[str, Any]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    n_steps = round(setting.steps * run.arm.steps_share)
    generator = torch.Generator().manual_seed(1000 + run.seed)
    model = Transformer(setting.model, generator=generator).to(device)
    optimizers = make_optimizers(model, run.arm, run.lr, n_steps, device)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    batches = Batches(dataset.train, context=setting.context, size=setting.batch, seed=run.seed)
    read_at = {round(share * n_steps) for share in READ_AT}
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bf16(device))
    curve: list[tuple[int, float]] = []
    optimizer_seconds, begun = 0.0, time.perf_counter()
    for step in range(n_steps):
        rows = torch.from_numpy(batches.at(step)).to(device)
        for part in rows.split(setting.micro):
            with autocast:
                loss = model(part[:, :-1], part[:, 1:]) * (len(part) / len(rows))
            loss.backward()
        multiplier = lr_at_step(step, n_steps, setting.schedule)
        began = time.perf_counter()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * multiplier
            optimizer.step()
            optimizer.zero_grad()
        optimizer_seconds += time.perf_counter() - began
        if not torch.isfinite(loss):
            break
        if step + 1 in read_at:
            with autocast:
                curve.append((step + 1, validate(model, dataset, setting)))
    seconds = time.perf_counter() - begun
    return {
        "arm": run.arm.name,
        "lr": run.lr,
        "seed": run.seed,
        "steps": n_steps,
        "curve": curve,
        "final": curve[-1][1] if curve and curve[-1][0] == n_steps else float("inf"),
        "seconds": round(seconds, 1),
        "optimizer_share": round(optimizer_seconds / seconds, 4),
    }


@torch.no_grad()
def validate(model: nn.Module, dataset: Dataset, setting: Setting) -> float:
    """Return the mean loss in nats per token over the fixed validation windows."""
    batches = Batches(dataset.validation, context=setting.context, size=setting.micro, seed=0)
    n_windows = min(batches.n_windows, setting.validation_tokens // setting.context)
    device = next(model.parameters()).device
    losses = []
    for step in range(max(1, n_windows // setting.micro)):
        rows = torch.from_numpy(batches.at(step)).to(device)
        losses.append(model(rows[:, :-1], rows[:, 1:]).item())
    return sum(losses) / len(losses)


def make_optimizers(
    model: nn.Module, arm: Arm, lr: float, n_steps: int, device: torch.device
) -> list[Optimizer]:
    """Build the optimizers of an arm; every auxiliary rate stands in its options."""
    options = dict(arm.options)
    if arm.kind == "dynmuon":
        schedule = PowerSchedule(**options.pop("schedule"))
        return [DynMuon.from_model(model, total_steps=n_steps, lr=lr, schedule=schedule, **options)]
    if arm.kind == "muon" and not has_fast_bf16(device):
        # torch.optim.Muon computes in bfloat16, which takes minutes a step without such units.
        options["adjust_lr"] = options.pop("adjust_lr_fn", "original")
        return [
            DynMuon.from_model(
                model,
                total_steps=n_steps,
                lr=lr,
                schedule=PowerSchedule(shape="constant", start=0.0),
                method="newton_schulz",
                dtype=torch.float32,
                head="adamw",
                query_key_gain=1.0,
                feed_forward_gain=1.0,
                split_heads=False,
                **options,
            )
        ]
    matrices, auxiliary = [], []
    rates = {"embedding": options["embedding_lr"], "head": options["head_lr"]}
    for assignment in assign_parameters(model):
        if assignment.algorithm == "dynmuon":
            matrices.append(assignment.parameter)
        else:
            rate = rates.get(assignment.role, options["adamw_lr"])
            auxiliary.append({"params": [assignment.parameter], "lr": rate, "weight_decay": 0.0})
    betas, decay = options["adamw_betas"], options["weight_decay"]
    if arm.kind == "adamw":
        group = {"params": matrices, "lr": lr, "weight_decay": decay}
        return [AdamW([group, *auxiliary], betas=betas)]
    muon = Muon(
        matrices,
        lr=lr,
        weight_decay=decay,
        momentum=options["momentum"],
        adjust_lr_fn=options.get("adjust_lr_fn"),
    )
    return [muon, AdamW(auxiliary, betas=betas)]
