"""Text and settings so small that a whole run takes a fraction of a second."""

import json
from pathlib import Path

import numpy as np

from triskele.train import (
    BatchOptions,
    ComputeOptions,
    ModelOptions,
    SnapshotOptions,
    TextOptions,
    TrainConfig,
    WatchOptions,
)

STEPS = 12
OPTIONS = [
    *("--steps", str(STEPS)),
    *("--model.d-model", "32", "--model.n-layers", "1", "--model.n-heads", "2"),
    *("--batch.size", "4", "--batch.context", "16"),
    *("--text.vocab-size", "300", "--text.validation-share", "0.1"),
    *("--watch.validation-tokens", "256", "--watch.sample-tokens", "8"),
    *("--watch.no-tensorboard",),
    *("--snapshot.every", "4"),
]


def write_text(path: Path, *, n_documents: int = 40, seed: int = 2) -> Path:
    """Write documents of made-up words, frequent ones short, one word leading to the next."""
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list("abcdefghij"), size=2 + i % 5)) for i in range(80)]
    documents = []
    for _ in range(n_documents):
        word, chosen = int(rng.integers(80)), []
        for _ in range(60):
            word = (word * 7 + int(rng.integers(4))) % 80
            chosen.append(words[word])
        documents.append(" ".join(chosen))
    path.write_text("\n<|endoftext|>\n".join(documents) + "\n", encoding="utf-8")
    return path


def small_config(data: Path, out: Path, **changes) -> TrainConfig:
    """Return a configuration like ``OPTIONS``, some fields given anew."""
    fields = {
        "steps": STEPS,
        "model": ModelOptions(d_model=32, n_layers=1, n_heads=2),
        "batch": BatchOptions(size=4, context=16),
        "text": TextOptions(vocab_size=300, validation_share=0.1),
        "watch": WatchOptions(validation_tokens=256, sample_tokens=8, tensorboard=False),
        "snapshot": SnapshotOptions(every=4),
        "compute": ComputeOptions(device="cpu"),
    }
    return TrainConfig(data=data, out=out, **{**fields, **changes})


def losses(out: Path) -> list[tuple[str, int, float]]:
    """Return every logged loss of a run: what must not depend on interruptions."""
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return [(x["kind"], x["step"], x["loss"]) for x in records]


def weights(out: Path) -> bytes:
    """Return the final checkpoint's tensors as they are on disk."""
    return (out / "checkpoint" / "model.safetensors").read_bytes()
