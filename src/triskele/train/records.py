"""What a run reports: small records handed to one sink, in the order things happen.

Whoever shows or stores progress (a progress bar, a file, TensorBoard, a test) is a callable that
takes one record. The run itself never prints.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from triskele.train.config import OptimizerName


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a preparatory stage (reading, tokenizing) has come, in its own unit."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One sentence for the person who watches."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """What is about to be trained."""

    optimizer: OptimizerName
    first_step: int
    total_steps: int
    n_parameters: int
    n_train_tokens: int
    n_validation_tokens: int
    tokens_per_step: int
    vocab_size: int
    device: str
    precision: str
    peak_flops: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One optimizer step.

    ``step`` counts finished steps from 1; ``loss`` is the mean cross-entropy in nats per token of
    the step's own batch, before the update; ``lr`` the rate of the hidden matrices; ``power`` the
    exponent p of the spectral shaping where the optimizer has one; ``seconds`` the wall time of
    the step; ``mfu`` model FLOP/s over the hardware's peak, where that is known.
    """

    step: int
    loss: float
    lr: float
    power: float | None
    grad_norm: float | None
    tokens: int
    seconds: float
    tokens_per_second: float
    mfu: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationRecord:
    """Loss on the fixed held-out windows after ``step`` steps.

    ``loss`` in nats per token; ``bits_per_byte`` is independent of the tokenizer and None where
    the bytes behind the tokens are unknown.
    """

    step: int
    loss: float
    perplexity: float
    bits_per_byte: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSaved:
    """A complete snapshot is on disk."""

    step: int
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifacts:
    """What a complete run leaves for people: ``sample`` is None where there is no tokenizer."""

    checkpoint: Path
    plot: Path
    sample: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """The end of a run.

    ``interrupted`` runs can be resumed; ``artifacts`` are there once a run is complete.
    """

    step: int
    total_steps: int
    interrupted: bool
    validation: ValidationRecord | None
    seconds: float
    artifacts: Artifacts | None


Record = (
    Progress | Notice | RunStarted | StepRecord | ValidationRecord | SnapshotSaved | RunFinished
)
Sink = Callable[[Record], None]


def discard(record: Record) -> None:
    """Take a record and do nothing: the sink of those who do not watch."""
    del record
