"""The models: one per domain, pretrained with DynMuon, and one of them with Muon as well.

Tokenizer, model, batches, schedule and seed are the same for all; the two runs on one domain differ
in the optimizer only. What is compared is the number of steps until validation loss comes down to
what Muon has after 80 % of its steps.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from triskele.demo.config import Training
from triskele.demo.domains import Domain
from triskele.demo.training import train_side_by_side
from triskele.demo.watching import Watcher, watched_preparation
from triskele.model import train_tokenizer
from triskele.train import (
    Curves,
    SnapshotOptions,
    TextOptions,
    TrainConfig,
    WatchOptions,
    read_curves,
    steps_to_reach,
)
from triskele.train.artifacts import CHECKPOINT, SAMPLE
from triskele.train.config import LABELS, OptimizerName
from triskele.train.metrics import METRICS
from triskele.train.tokens import prepare

TEXTS, MODELS, LOGS, TOKENIZER = "texts", "models", "logs", "tokenizer.json"
TOKENIZER_STAGE = "one tokenizer for all"
RIVAL: OptimizerName = "muon"
CONTENDER: OptimizerName = "dynmuon"
TARGET_AT = 0.8
"""The fraction of Muon's steps whose loss is the target."""
FEW_VALIDATIONS = 3
"""Of runs that are not compared."""
SAMPLE_TOKENS = 60
PROMPTS = {"code": "\ndef read(", "english": "\nReturn the ", "arithmetic": "\nWhat is 12 plus 7? "}
TOKENIZED_CHARACTERS = 1_500_000
"""Of each domain, what the tokenizer is trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A training run: its curves, and what it left."""

    optimizer: OptimizerName
    curves: Curves
    checkpoint: Path
    sample: str

    @property
    def loss(self) -> float:
        """Validation loss at its end, in nats per token."""
        return self.curves.validation_losses[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """Two arms on one domain.

    Attributes
    ----------
    domain
        On which.
    rival, contender
        Muon's and DynMuon's.
    target
        The loss to be reached.
    """

    domain: str
    rival: Arm
    contender: Arm
    target: float

    @property
    def rival_steps(self) -> float | None:
        """Steps until Muon reached the target."""
        return self._steps(self.rival)

    @property
    def contender_steps(self) -> float | None:
        """Steps until DynMuon did; ``None`` if it did not."""
        return self._steps(self.contender)

    @property
    def saving(self) -> float | None:
        """The share of Muon's steps that DynMuon did not need; ``None`` if it got not so far."""
        needed, reference = self.contender_steps, self.rival_steps
        return None if needed is None or not reference else 1.0 - needed / reference

    def _steps(self, arm: Arm) -> float | None:
        curves = arm.curves
        return steps_to_reach(curves.validation_steps, curves.validation_losses, self.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """All models.

    Attributes
    ----------
    arms
        By the name of the domain.
    race
        The comparison, on the first of them.
    tokenizer
        The file of the tokenizer that they share.
    """

    arms: dict[str, Arm]
    race: Race
    tokenizer: Path

    @property
    def checkpoints(self) -> dict[str, Path]:
        """Folders of the models, by the name of the domain."""
        return {name: arm.checkpoint for name, arm in self.arms.items()}


def train_models(
    domains: Sequence[Domain],
    out: Path,
    scale: Training,
    *,
    steps: int,
    seed: int,
    watcher: Watcher,
) -> Trained:
    """Train all models.

    Parameters
    ----------
    domains
        On the first of them Muon is trained, too.
    out
        Where texts and models go.
    scale
        How large.
    steps
        Of each run.
    seed
        Of weights and batches.
    watcher
        Shown all progress.

    Raises
    ------
    ValueError
        If a run fails, or something cannot be written.
    """
    tokenizer = out / MODELS / TOKENIZER
    _train_tokenizer(domains, tokenizer, scale.vocab_size, watcher)
    plans: dict[str, TrainConfig] = {}
    for domain in domains:
        folder = out / MODELS / domain.name
        _prepare(domain, out / TEXTS, folder, tokenizer, scale, watcher)
        is_raced = domain is domains[0]
        plan = _plan(folder, domain.name, scale, steps=steps, seed=seed, is_raced=is_raced)
        for optimizer in (RIVAL, CONTENDER) if is_raced else (CONTENDER,):
            name = f"{domain.name}: {LABELS[optimizer]}"
            plans[name] = replace(plan, optimizer=optimizer, out=folder / optimizer)
    train_side_by_side(plans, logs=out / LOGS, n_processors=os.cpu_count() or 1, watcher=watcher)
    rival, *others = (_arm(plan) for plan in plans.values())
    arms = {domain.name: arm for domain, arm in zip(domains, others, strict=True)}
    return Trained(arms=arms, race=_race(domains[0].name, rival, arms), tokenizer=tokenizer)


def _train_tokenizer(
    domains: Sequence[Domain], path: Path, vocab_size: int, watcher: Watcher
) -> None:
    watcher.begin(TOKENIZER_STAGE, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    train_tokenizer(_sample(domains), vocab_size=vocab_size).save(path)
    watcher.advance(TOKENIZER_STAGE, 1)


def _prepare(
    domain: Domain, texts: Path, folder: Path, tokenizer: Path, scale: Training, watcher: Watcher
) -> None:
    """Write the text of a domain, and its tokens."""
    texts.mkdir(parents=True, exist_ok=True)
    text = texts / f"{domain.name}.txt"
    domain.write(text)
    options = TextOptions(tokenizer=tokenizer, validation_share=scale.validation_share)
    prepare(
        TrainConfig(data=text, out=folder, text=options),
        context=scale.batch.context or 1,
        sink=watched_preparation(watcher, domain.name),
    )


def _sample(domains: Sequence[Domain]) -> Iterator[str]:
    """Yield some documents of each domain, as much of one as of the other."""
    for domain in domains:
        taken = 0
        for document in domain.training:
            if taken >= TOKENIZED_CHARACTERS:
                break
            taken += len(document)
            yield document


def _plan(
    folder: Path, name: str, scale: Training, *, steps: int, seed: int, is_raced: bool
) -> TrainConfig:
    """Return what the arms on a domain have in common."""
    validations = scale.validations if is_raced else FEW_VALIDATIONS
    return TrainConfig(
        data=folder / "tokens",
        out=folder,
        steps=steps,
        seed=seed,
        model=scale.model,
        batch=scale.batch,
        watch=WatchOptions(
            validate_every=max(1, steps // validations),
            validation_tokens=scale.validation_tokens,
            tensorboard=False,
            prompt=PROMPTS.get(name, "\n"),
            sample_tokens=SAMPLE_TOKENS,
        ),
        snapshot=SnapshotOptions(every=steps, keep=1),
    )


def _arm(config: TrainConfig) -> Arm:
    """Return what a run has left."""
    sample = (config.out / SAMPLE).read_text(encoding="utf-8", errors="replace")
    return Arm(
        optimizer=config.optimizer,
        curves=read_curves(config.out / METRICS),
        checkpoint=config.out / CHECKPOINT,
        sample=sample,
    )


def _race(name: str, rival: Arm, arms: dict[str, Arm]) -> Race:
    curves = rival.curves
    at_target = min(
        zip(curves.validation_steps, curves.validation_losses, strict=True),
        key=lambda point: abs(point[0] - TARGET_AT * curves.steps[-1]),
    )
    return Race(domain=name, rival=rival, contender=arms[name], target=at_target[1])
