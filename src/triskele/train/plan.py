"""The plan of a run: every number that decides what is computed, chosen from the configuration.

What the command line leaves open (steps, batch, rates) is settled here by plain arithmetic. The
plan goes into every snapshot, and a resumed run must arrive at the same one: that is what makes
"bit for bit" a promise. It knows no tensors.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

from triskele.model import ModelConfig
from triskele.train.config import (
    RECIPES,
    SIZES,
    OptimizerName,
    ScheduleOptions,
    TrainConfig,
)

TOKENS_PER_PARAMETER = 20
PASSES_AT_MOST = 4
STEPS_AT_LEAST = 50
TOKENS_AT_ONCE = {"cpu": 8_192, "cuda": 65_536}
"""Tokens per forward pass where --batch.micro is not given."""
VOCABULARY_MULTIPLE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is computed. Two runs with equal plans on equal data and hardware are the same run."""

    model: ModelConfig
    data: str
    context: int
    batch: int
    micro: int
    world_size: int
    total_steps: int
    seed: int
    optimizer: OptimizerName
    lr: float
    embedding_lr: float
    head_lr: float
    adam_lr: float
    weight_decay: float
    momentum: float
    betas: tuple[float, float]
    clip: float | None
    schedule: ScheduleOptions
    device: str
    precision: str
    compile: bool

    @property
    def tokens_per_step(self) -> int:
        """Tokens predicted per optimizer step, over all processes."""
        return self.batch * self.context

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def context_of(config: TrainConfig) -> int:
    """Return the sequence length a configuration asks for."""
    return config.batch.context or SIZES[config.size].context


def make_plan(
    config: TrainConfig,
    *,
    vocab_size: int,
    n_train_tokens: int,
    data: str,
    device: str,
    precision: str,
    world_size: int = 1,
) -> Plan:
    """Settle every open number of a run.

    Parameters
    ----------
    config
        What was asked for.
    vocab_size, n_train_tokens, data
        Size of the vocabulary, length and fingerprint of the training tokens.
    device, precision
        ``"cpu"`` or ``"cuda"``; ``"bf16"`` or ``"fp32"``.
    world_size
        Number of processes that share every batch.

    Raises
    ------
    ValueError
        If model or batch sizes do not fit together.
    """
    size, recipe = SIZES[config.size], RECIPES[config.optimizer]
    context, batch = context_of(config), config.batch.size or size.batch
    model = _model_config(config, vocab_size=vocab_size, context=context)
    rows, rest = divmod(batch, world_size)
    if rest:
        raise ValueError(
            f"batch.size must be a multiple of the {world_size} processes, got {batch}"
        )
    micro = config.batch.micro or _largest_divisor(rows, max(1, TOKENS_AT_ONCE[device] // context))
    if rows % micro:
        raise ValueError(f"batch.micro must divide the {rows} sequences per process, got {micro}")
    tune = config.tune
    return Plan(
        model=model,
        data=data,
        context=context,
        batch=batch,
        micro=micro,
        world_size=world_size,
        total_steps=config.steps or _steps(model, n_train_tokens, batch * context),
        seed=config.seed,
        optimizer=config.optimizer,
        lr=_given(config.lr, recipe.lr),
        embedding_lr=_given(tune.embedding_lr, recipe.embedding_lr),
        head_lr=_given(tune.head_lr, recipe.head_lr),
        adam_lr=_given(tune.adam_lr, recipe.adam_lr),
        weight_decay=_given(tune.weight_decay, recipe.weight_decay),
        momentum=_given(tune.momentum, recipe.momentum),
        betas=recipe.betas,
        clip=tune.clip,
        schedule=config.schedule,
        device=device,
        precision=precision,
        compile=config.compute.compile,
    )


def changes(old: dict[str, Any], new: dict[str, Any], *, prefix: str = "") -> list[str]:
    """Say in words where two plans, as plain data, differ."""
    found = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            found += changes(before, after, prefix=f"{prefix}{name}.")
        elif before != after:
            found.append(f"{prefix}{name} was {before}, is now {after}")
    return found


def interval(given: int | None, total_steps: int, times: int) -> int:
    """Return the number of steps between two events that are to happen about ``times`` times."""
    return given or max(1, round(total_steps / times))


def _model_config(config: TrainConfig, *, vocab_size: int, context: int) -> ModelConfig:
    size, asked = SIZES[config.size], config.model
    n_heads = asked.n_heads or size.n_heads
    n_kv_heads = asked.n_kv_heads or (n_heads if asked.n_heads else size.n_kv_heads)
    return ModelConfig(
        vocab_size=math.ceil(vocab_size / VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE,
        d_model=asked.d_model or size.d_model,
        n_layers=asked.n_layers or size.n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        d_ff=asked.d_ff,
        max_seq_len=context,
        tie_embeddings=asked.tie_embeddings,
    )


def _steps(model: ModelConfig, n_train_tokens: int, tokens_per_step: int) -> int:
    wanted = min(TOKENS_PER_PARAMETER * model.n_params, PASSES_AT_MOST * n_train_tokens)
    return max(STEPS_AT_LEAST, wanted // tokens_per_step)


def _largest_divisor(number: int, at_most: int) -> int:
    return max(d for d in range(1, min(number, at_most) + 1) if number % d == 0)


def _given(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
