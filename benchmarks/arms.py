"""The arms and settings of the steps-to-target claim.

All arms share the auxiliary rates that were tuned for Muon; each has learning rates of its own.
``CONTROLS`` names, for an arm, the arm that differs from it in the shape of the update alone.
"""

from typing import Any

from benchmarks.pretraining import Arm, Setting
from triskele.model import ModelConfig
from triskele.train.config import ScheduleOptions

SCHEDULE = ScheduleOptions(shape="wsd", warmup=0.05, cooldown=0.6)

SETTINGS = {
    "cpu": Setting(
        name="cpu",
        model=ModelConfig(
            vocab_size=2048,
            d_model=192,
            n_layers=4,
            n_heads=3,
            d_ff=512,
            max_seq_len=128,
            tie_embeddings=False,
        ),
        batch=16,
        micro=16,
        context=128,
        steps=256,
        text_bytes=12_000_000,
        validation_tokens=65_536,
        schedule=SCHEDULE,
    ),
    "gpu-30m": Setting(
        name="gpu-30m",
        model=ModelConfig(
            vocab_size=16384,
            d_model=384,
            n_layers=8,
            n_heads=6,
            max_seq_len=512,
            tie_embeddings=False,
        ),
        batch=512,
        micro=128,
        context=512,
        steps=600,
        text_bytes=160_000_000,
        validation_tokens=524_288,
        schedule=SCHEDULE,
    ),
    "gpu-124m": Setting(
        name="gpu-124m",
        model=ModelConfig(
            vocab_size=32768,
            d_model=768,
            n_layers=12,
            n_heads=12,
            max_seq_len=1024,
            tie_embeddings=False,
        ),
        batch=256,
        micro=32,
        context=1024,
        steps=1000,
        text_bytes=169_000_000,
        validation_tokens=524_288,
        schedule=SCHEDULE,
    ),
}

AUXILIARY: dict[str, Any] = {
    "embedding_lr": 0.07,
    "head_lr": 0.012,
    "adamw_lr": 0.012,
    "adamw_betas": (0.7, 0.98),
    "weight_decay": 0.0,
    "momentum": 0.9,
}
PUBLISHED = {"shape": "logistic", "start": 1.0, "end": -0.25, "midpoint": 0.04, "width": 0.04}
LOGISTIC = {**PUBLISHED, "start": 0.25}
REVERSED = {**PUBLISHED, "start": -0.25, "end": 0.25, "midpoint": 0.5, "width": 0.1}


def constant(p: float) -> dict[str, Any]:
    """Return the schedule that stays at ``p``."""
    return {"shape": "constant", "start": p}


PLAIN: dict[str, Any] = {
    "head": "adamw",
    "query_key_gain": 1.0,
    "feed_forward_gain": 1.0,
    "split_heads": False,
}


def dynmuon(name: str, lrs: tuple[float, ...], *, share: float = 1.0, **options: Any) -> Arm:
    """Return an arm of DynMuon that is Muon but for ``options``."""
    return Arm(
        name=name,
        kind="dynmuon",
        lrs=lrs,
        steps_share=share,
        options={**AUXILIARY, **PLAIN, **options},
    )


BASELINE = "tuned Muon"
RECIPE = "DynMuon recipe"
IN_LESS = "recipe in 78 % of the steps"
WHOLE: dict[str, Any] = {
    "head": "soap",
    "head_lr": 0.03,
    "query_key_gain": 2.0,
    "feed_forward_gain": 1.7,
    "split_heads": True,
    "momentum": 0.88,
    "schedule": LOGISTIC,
}
MILD = {**WHOLE, "schedule": constant(-0.12)}
FLAT = {**WHOLE, "schedule": constant(0.0)}
MUON_STEPS = {"method": "newton_schulz", "scale": "none", "schedule": constant(0.0)}
LR = (0.02,)
LRS = (0.014, 0.02, 0.028)
# The published size grows as gradients shrink, so its rates are lower.
PUBLISHED_LRS = (0.005, 0.01)

MAIN_ARMS = (
    Arm(name="AdamW", kind="adamw", lrs=(0.001, 0.002, 0.004), options=AUXILIARY),
    Arm(name=BASELINE, kind="muon", lrs=(*LRS, 0.04), options=AUXILIARY),
    dynmuon(RECIPE, LRS, **WHOLE),
    dynmuon(IN_LESS, LR, share=0.78, **WHOLE),
    dynmuon("recipe, p = −0.12", LR, **MILD),
    dynmuon("recipe, p = 0", LR, **FLAT),
    dynmuon("recipe, Muon's matrix step", LR, **{**WHOLE, **MUON_STEPS}),
)
ABLATIONS = (
    Arm(
        name="Muon, match_rms_adamw",
        kind="muon",
        lrs=(0.006, 0.0085, 0.012),
        options={**AUXILIARY, "adjust_lr_fn": "match_rms_adamw"},
    ),
    dynmuon("recipe, AdamW head", LR, **{**WHOLE, "head": "adamw", "head_lr": 0.012}),
    dynmuon("recipe, heads not split", LR, **{**WHOLE, "split_heads": False}),
    dynmuon("recipe, no query-key gain", LR, **{**WHOLE, "query_key_gain": 1.0}),
    dynmuon("recipe, no feed-forward gain", LR, **{**WHOLE, "feed_forward_gain": 1.0}),
    dynmuon("recipe, p = −0.12, update floor", LR, update_floor=1.5, **MILD),
    dynmuon("recipe, p = 0, update floor", LR, update_floor=1.5, **FLAT),
    dynmuon(
        "published (Taylor)", PUBLISHED_LRS, schedule=PUBLISHED, method="taylor", scale="reference"
    ),
    dynmuon(
        "Muon, published sizes",
        PUBLISHED_LRS,
        schedule=PUBLISHED,
        method="scalar",
        scale="reference",
    ),
    dynmuon("exact, p from 0.25 to −0.25", LRS[1:], schedule=LOGISTIC),
    dynmuon("exact, p = 0", LRS[1:], schedule=constant(0.0)),
    dynmuon("exact, p = −0.12", LRS[1:], schedule=constant(-0.12)),
    dynmuon("exact, reversed schedule", LRS[1:], schedule=REVERSED),
)
ARMS = (*MAIN_ARMS, *ABLATIONS)
# The arms of the headline figures have more seeds than the others.
HEADLINE = (BASELINE, RECIPE, IN_LESS)
STRICT = {IN_LESS: RECIPE}
CONTROLS = {
    RECIPE: "recipe, p = 0",
    "recipe, p = −0.12": "recipe, p = 0",
    "recipe, p = −0.12, update floor": "recipe, p = 0, update floor",
    "exact, p from 0.25 to −0.25": "exact, p = 0",
    "exact, p = −0.12": "exact, p = 0",
    "published (Taylor)": "Muon, published sizes",
}
# What the recipe has and the arm has not.
LEFT_OUT = {
    "recipe, AdamW head": "SOAP for the head",
    "recipe, p = 0": "the falling exponent",
    "recipe, Muon's matrix step": "the whole matrix step",
    "recipe, heads not split": "queries and keys by head",
    "recipe, no query-key gain": "the query-key gain",
    "recipe, no feed-forward gain": "the feed-forward gain",
}
