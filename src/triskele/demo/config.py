"""What the demonstration is asked to do, and how large it is.

The sizes are chosen so that two processor cores turn the whole circle in less than eight minutes.
"""

from dataclasses import dataclass, field
from pathlib import Path

from triskele.train import BatchOptions, ModelOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How large the models are, and what they are trained on."""

    model: ModelOptions = field(
        default_factory=lambda: ModelOptions(d_model=160, n_layers=4, n_heads=2, d_ff=432)
    )
    batch: BatchOptions = field(default_factory=lambda: BatchOptions(size=16, context=512))
    vocab_size: int = 2048
    characters: int = 3_000_000
    """Text per domain, at most."""
    validation_share: float = 0.05
    validation_tokens: int = 16_384
    validations: int = 24
    """Of the two runs that are compared, about so many each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Who asks what, and how often.

    A passage of held-out text is read on from one request to the next: each prompt is the passage
    up to some token, so that it begins with the prompt before it.
    """

    passages: int = 24
    """Per domain, and as many again for the second half of the demonstration."""
    turns: int = 6
    """Requests per passage."""
    first: int = 128
    """Tokens of its first prompt."""
    more: int = 64
    """Tokens that each further prompt has more."""
    scored: int = 48
    """Tokens of the text's own continuation by which models are compared."""
    output: int = 8
    """Tokens that are asked for."""
    seconds: float = 24.0
    """In which all requests of one workload are sent."""
    pause: float = 2.0
    """Mean seconds between two requests of a passage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What serves."""

    workers: int = 2
    """Per model."""
    cpu_share: float = 0.25
    """Of a processor, for each worker; so all of them are equally fast, whoever else computes."""
    cache_pages: int = 128
    """Of each worker's cache."""
    page_tokens: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large everything is."""

    training: Training = field(default_factory=Training)
    traffic: Traffic = field(default_factory=Traffic)
    hardware: Hardware = field(default_factory=Hardware)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoConfig:
    """Turn the whole circle once: train models, serve them, learn which is best for what.

    Three small models are pretrained on code, English and arithmetic, one of them also with Muon;
    each is served by two workers behind one gateway; three ways to route are compared; what the
    answers tell of the models is learned, and the gateway then chooses the model of each query by
    itself. Takes about six minutes on two cores, needs no network, and writes a page of pictures,
    all figures and the models to OUT.
    """

    out: Path = Path("demo")
    """A new folder, or that of an earlier demo, which is replaced."""
    seed: int = 0
    """Of all that is drawn."""
    steps: int = 120
    """Optimizer steps of each training run."""

    def __post_init__(self) -> None:
        """Refuse runs that are too short to be compared."""
        if self.steps < 5:
            raise ValueError(f"steps must be at least 5, got {self.steps}")
