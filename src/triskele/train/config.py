"""What a training run is asked to do: one frozen record made of small ones.

The command line is derived from these classes: a field's name is its option, its docstring the
help, its default the default. A field left at None is settled by the run's ``Plan``. Nothing here
knows of torch, files or clocks.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

SizeName = Literal["tiny", "small", "medium", "124m"]
OptimizerName = Literal["dynmuon", "muon", "adamw"]
LrShape = Literal["wsd", "cosine", "linear", "power"]
Precision = Literal["auto", "bf16", "fp32"]

LABELS: dict[OptimizerName, str] = {"dynmuon": "DynMuon", "muon": "Muon", "adamw": "AdamW"}
"""What the optimizers are called where people read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A model shape and the batch that suits it."""

    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    context: int
    batch: int


SIZES: dict[SizeName, Size] = {
    "tiny": Size(
        d_model=192, n_layers=4, n_heads=4, n_kv_heads=4, vocab_size=4096, context=256, batch=32
    ),
    "small": Size(
        d_model=384, n_layers=6, n_heads=6, n_kv_heads=6, vocab_size=8192, context=512, batch=64
    ),
    "medium": Size(
        d_model=512, n_layers=8, n_heads=8, n_kv_heads=8, vocab_size=16384, context=1024, batch=128
    ),
    "124m": Size(
        d_model=768,
        n_layers=12,
        n_heads=12,
        n_kv_heads=12,
        vocab_size=32768,
        context=1024,
        batch=512,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What an optimizer uses where the command line says nothing.

    ``lr`` is that of the hidden matrices, ``adam_lr`` that of norms and biases. ``momentum`` is
    Muon's; ``betas`` are those of AdamW (and SOAP) wherever it steps. ``muon`` and ``adamw`` are
    plain: no gains, heads in one piece.
    """

    lr: float
    embedding_lr: float = 0.07
    head_lr: float = 0.012
    adam_lr: float = 0.012
    weight_decay: float = 0.0
    momentum: float = 0.9
    betas: tuple[float, float] = (0.7, 0.98)


RECIPES: dict[OptimizerName, Recipe] = {
    "dynmuon": Recipe(lr=0.02, head_lr=0.03, momentum=0.88),
    "muon": Recipe(lr=0.02),
    "adamw": Recipe(lr=0.002),
}
"""The only place where a run's default rates stand; dynmuon's are ``DynMuon.from_model``'s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """The model's shape; whatever is not given comes from --size."""

    d_model: int | None = None
    """Width of the residual stream."""
    n_layers: int | None = None
    """Number of blocks."""
    n_heads: int | None = None
    """Number of attention heads; must divide d-model."""
    n_kv_heads: int | None = None
    """Number of key/value heads (grouped-query attention); must divide n-heads."""
    d_ff: int | None = None
    """Width of the SwiGLU layer; about 8/3 of d-model if not given."""
    tie_embeddings: bool = False
    """Use the embedding as output head too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextOptions:
    """How text becomes tokens."""

    tokenizer: Path | None = None
    """A tokenizer.json to use; without it a byte-pair encoding is trained on the text."""
    vocab_size: int | None = None
    """Size of the vocabulary to train, or of ready shards that come without a tokenizer."""
    validation: Path | None = None
    """Held-out text or shards; without it a share of the documents is held out."""
    validation_share: float = 0.01
    """Share of the documents held out when no --text.validation is given."""
    sample_bytes: int = 16_000_000
    """How much text the tokenizer is trained on, spread over the whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """How many tokens a step sees, and how many at once."""

    size: int | None = None
    """Sequences per optimizer step, over all processes."""
    micro: int | None = None
    """Sequences per forward pass and process; fewer means less memory, gradients accumulate."""
    context: int | None = None
    """Tokens per sequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleOptions:
    """The learning rate over the run, as a multiple of its peak."""

    shape: LrShape = "wsd"
    """wsd: flat, then linear to the floor; cosine; linear: falls from the start; power: flat, then
    (remaining fraction / cooldown)^1.2."""
    warmup: float = 0.02
    """Fraction of the steps over which the rate rises from zero."""
    cooldown: float = 0.6
    """Fraction of the steps over which wsd and power fall."""
    floor: float = 0.0
    """Where the rate ends, as a fraction of its peak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneOptions:
    """Finer settings of the optimizer; None means the recipe of --optimizer."""

    embedding_lr: float | None = None
    """Peak learning rate of the embedding."""
    head_lr: float | None = None
    """Peak learning rate of the output head."""
    adam_lr: float | None = None
    """Peak learning rate of norms and whatever else is no matrix."""
    weight_decay: float | None = None
    """Decoupled weight decay of the hidden matrices."""
    momentum: float | None = None
    """Momentum of the hidden matrices under dynmuon and muon."""
    clip: float | None = None
    """Scale gradients down to this global norm; off if not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeOptions:
    """Where and how precisely to compute."""

    device: str | None = None
    """A torch device; cuda where there is one, else cpu."""
    precision: Precision = "auto"
    """bf16 autocast or plain fp32; auto takes bf16 where the hardware has units for it."""
    compile: bool = False
    """Compile the model with torch.compile: slower to start, faster to run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """What is measured and shown along the way."""

    validate_every: int | None = None
    """Steps between validations; about 40 validations over the run if not given."""
    validation_tokens: int = 131_072
    """Tokens of the fixed validation set that are used (all of them if it is smaller)."""
    tensorboard: bool = True
    """Write TensorBoard events to OUT/tensorboard."""
    prompt: str = "\n"
    """What the sample at the end continues."""
    sample_tokens: int = 200
    """Length of that sample; 0 writes none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotOptions:
    """How often the whole state is saved, so that the run can be continued."""

    every: int | None = None
    """Steps between snapshots; about 20 over the run if not given."""
    keep: int = 2
    """How many snapshots stay on disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Pretrain a language model from text.

    Reads a text file (also .gz, .bz2, .xz), a folder of text or source code, or ready token
    shards; trains a tokenizer if none is given; writes checkpoint (loads in transformers), loss
    plot, metrics and snapshots to OUT. Ctrl-C is safe: run the same command with --resume.
    """

    data: Path
    """Text file, folder of text, or folder of .bin token shards (modded-nanogpt / llm.c format)."""
    out: Path
    """Folder for everything the run writes."""
    size: SizeName = "tiny"
    """Model size; tiny trains on a laptop, 124m is GPT-2 small's shape."""
    optimizer: OptimizerName = "dynmuon"
    """What steps the hidden matrices; embeddings, head and norms are always AdamW's."""
    lr: float | None = None
    """Peak learning rate; the recipe of the optimizer if not given."""
    steps: int | None = None
    """Optimizer steps; if not given, 20 tokens per parameter but at most 4 passes over the data."""
    seed: int = 0
    """Seed of the weights and of the order of the data."""
    resume: bool = False
    """Continue the run in OUT from its newest good snapshot, bit for bit."""
    model: ModelOptions = field(default_factory=ModelOptions)
    text: TextOptions = field(default_factory=TextOptions)
    batch: BatchOptions = field(default_factory=BatchOptions)
    schedule: ScheduleOptions = field(default_factory=ScheduleOptions)
    tune: TuneOptions = field(default_factory=TuneOptions)
    compute: ComputeOptions = field(default_factory=ComputeOptions)
    watch: WatchOptions = field(default_factory=WatchOptions)
    snapshot: SnapshotOptions = field(default_factory=SnapshotOptions)

    def __post_init__(self) -> None:
        _check_positive(self)
        if not 0.0 < self.text.validation_share < 0.5:
            raise ValueError(
                f"text.validation_share must lie in (0, 0.5), got {self.text.validation_share}"
            )
        for name in ("warmup", "cooldown", "floor"):
            value = getattr(self.schedule, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"schedule.{name} must lie in [0, 1], got {value}")
        if self.schedule.warmup + self.schedule.cooldown > 1.0:
            raise ValueError(
                "schedule.warmup and schedule.cooldown must add up to at most 1, "
                f"got {self.schedule.warmup} + {self.schedule.cooldown}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data for JSON (paths as text)."""
        return asdict(self, dict_factory=_plain)


def _check_positive(config: TrainConfig) -> None:
    """Raise for a count or rate that is given and not positive."""
    given = {
        "lr": config.lr,
        "steps": config.steps,
        "snapshot.every": config.snapshot.every,
        "snapshot.keep": config.snapshot.keep,
        "watch.validate_every": config.watch.validate_every,
        "watch.validation_tokens": config.watch.validation_tokens,
        "text.vocab_size": config.text.vocab_size,
        "text.sample_bytes": config.text.sample_bytes,
        "tune.embedding_lr": config.tune.embedding_lr,
        "tune.head_lr": config.tune.head_lr,
        "tune.adam_lr": config.tune.adam_lr,
        "tune.clip": config.tune.clip,
    }
    given |= {f"model.{k}": v for k, v in asdict(config.model).items() if k != "tie_embeddings"}
    given |= {f"batch.{k}": v for k, v in asdict(config.batch).items()}
    for name, value in given.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def _plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {k: str(v) if isinstance(v, Path) else v for k, v in pairs}
