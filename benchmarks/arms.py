"""The arms and settings of the steps-to-target claim.

All arms share the auxiliary rates that were tuned for Muon; each has learning rates of its own.
``CONTROLS`` names, for an arm, the arm that differs from it in the shape of the update alone.
"""

from typing import Any

from benchmarks.pretraining import Arm, Setting
from triskele.model import ModelConfig
from triskele.train.config import ScheduleOptions

SCHEDULE = ScheduleOptions(shape="wsd", warmup=0.02, cooldown=0.6)

SETTINGS = {
    "cpu": Setting(
        name="cpu",
        model=ModelConfig(
            vocab_size=2048,
            d_model=160,
            n_layers=4,
            n_heads=2,
            d_ff=432,
            max_seq_len=128,
            tie_embeddings=False,
        ),
        batch=64,
        micro=64,
        context=128,
        steps=128,
        text_bytes=12_000_000,
        validation_tokens=40_960,
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
    "adamw_betas": (0.8, 0.98),
    "weight_decay": 0.0,
    "momentum": 0.9,
}
PUBLISHED = {"shape": "logistic", "start": 1.0, "end": -0.25, "midpoint": 0.04, "width": 0.04}
LOGISTIC = {**PUBLISHED, "start": 0.25}
REVERSED = {**PUBLISHED, "start": -0.25, "end": 0.25, "midpoint": 0.5, "width": 0.1}


def constant(p: float) -> dict[str, Any]:
    """Return the schedule that stays at ``p``."""
    return {"shape": "constant", "start": p}


def dynmuon(name: str, lrs: tuple[float, ...], *, share: float = 1.0, **options: Any) -> Arm:
    """Return an arm of DynMuon; rates are Muon's unless ``options`` say otherwise."""
    return Arm(
        name=name,
        kind="dynmuon",
        lrs=lrs,
        steps_share=share,
        options={**AUXILIARY, "head": "adamw", **options},
    )


BASELINE = "tuned Muon"
RECIPE = "DynMuon recipe"
WHOLE: dict[str, Any] = {"head": "soap", "query_key_gain": 2.0, "schedule": constant(-0.2)}
LRS = (0.014, 0.02, 0.03)
HIGH = (0.02, 0.03, 0.045)

ARMS = (
    Arm(name="AdamW", kind="adamw", lrs=(0.003, 0.006, 0.012), options={**AUXILIARY}),
    Arm(name=BASELINE, kind="muon", lrs=LRS, options=AUXILIARY),
    dynmuon(RECIPE, HIGH, **WHOLE),
    dynmuon("recipe with p = 0", HIGH, **{**WHOLE, "schedule": constant(0.0)}),
    dynmuon("recipe, 78 % of the steps", HIGH, share=0.78, **WHOLE),
)
STRICT = ("recipe, 78 % of the steps",)
MAIN_ARMS = ARMS
CONTROLS = {RECIPE: "recipe with p = 0"}
