"""What a complete run leaves for people: a checkpoint, a picture of the losses, a text sample.

These are written once, at the end, and again whenever a complete run is resumed. They know the
run only through its weights, its plan and its log.
"""

import json
from importlib import metadata
from pathlib import Path

import torch

from triskele import __version__
from triskele.model import BytePairTokenizer, generate, save_checkpoint
from triskele.train.config import LABELS, TrainConfig
from triskele.train.metrics import METRICS, read_curves
from triskele.train.plots import Run as PlottedRun
from triskele.train.plots import plot_losses
from triskele.train.records import Artifacts
from triskele.train.run import Run
from triskele.train.tokens import Dataset

CHECKPOINT, PLOT, SAMPLE, RUN = "checkpoint", "loss.png", "sample.txt", "run.json"
SAMPLE_TEMPERATURE, SAMPLE_TOP_P = 0.8, 0.95


def write_artifacts(config: TrainConfig, run: Run, dataset: Dataset) -> Artifacts:
    """Write checkpoint, plot, sample and ``run.json`` into ``config.out``."""
    out = config.out
    _write_run(out / RUN, config, run)
    save_checkpoint(run.model, out / CHECKPOINT, tokenizer=dataset.tokenizer)
    curves = read_curves(out / METRICS)
    millions = run.plan.model.n_params / 1e6
    title = f"{millions:.1f}M parameters on {config.data.name}"
    plot_losses(out / PLOT, [PlottedRun(LABELS[run.plan.optimizer], curves)], title=title)
    sample = None
    if dataset.tokenizer is not None and config.watch.sample_tokens:
        text = _sample_text(config, run, dataset.tokenizer)
        sample = out / SAMPLE
        sample.write_text(text, encoding="utf-8", errors="replace")
    return Artifacts(checkpoint=out / CHECKPOINT, plot=out / PLOT, sample=sample)


def _write_run(path: Path, config: TrainConfig, run: Run) -> None:
    """Write down what was asked for, what it became, and with which versions."""
    versions = {name: metadata.version(name) for name in ("torch", "numpy", "tokenizers")}
    record = {
        "config": config.to_dict(),
        "plan": run.plan.to_dict(),
        "versions": {"triskele": __version__, **versions},
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _sample_text(config: TrainConfig, run: Run, tokenizer: BytePairTokenizer) -> str:
    """Continue the prompt, looking back at most half a context once that is full."""
    context = run.plan.context
    ids_T = torch.tensor(tokenizer.encode(config.watch.prompt) or [tokenizer.eos_id or 0])
    wanted = len(ids_T) + config.watch.sample_tokens
    generator = torch.Generator(device=run.device).manual_seed(run.plan.seed)
    while len(ids_T) < wanted:
        recent_T = ids_T[-max(1, context // 2) :]
        longer_T = generate(
            run.model,
            recent_T,
            n_tokens=min(wanted - len(ids_T), context - len(recent_T)),
            temperature=SAMPLE_TEMPERATURE,
            top_p=SAMPLE_TOP_P,
            generator=generator,
        )
        ids_T = torch.cat((ids_T, longer_T[len(recent_T) :].cpu()))
    return tokenizer.decode(ids_T.tolist())
