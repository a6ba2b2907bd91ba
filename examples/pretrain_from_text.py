"""Pretrain a small model on a text, watch the loss, and let it write a little.

    python examples/pretrain_from_text.py [FILE-or-FOLDER]

Without an argument it reads the documentation strings of Python's own ``email`` package. The same
from the command line: ``triskele train --data FILE-or-FOLDER --out run``.
"""

import email
import sys
import tempfile
from pathlib import Path

from triskele.model import load_checkpoint, load_tokenizer
from triskele.train import (
    BatchOptions,
    ModelOptions,
    Record,
    TextOptions,
    TrainConfig,
    ValidationRecord,
    pretrain,
)


def show(record: Record) -> None:
    """Print validation losses; every other kind of record passes by."""
    if isinstance(record, ValidationRecord):
        print(f"step {record.step:3}: {record.loss:.3f} nats per token")


def main() -> None:
    """Train for sixty steps and load what was written."""
    data = Path(sys.argv[1] if len(sys.argv) > 1 else email.__path__[0])
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            data=data,
            out=Path(folder) / "run",
            optimizer="dynmuon",
            steps=60,
            model=ModelOptions(d_model=64, n_layers=2, n_heads=2),
            text=TextOptions(vocab_size=512, validation_share=0.05),
            batch=BatchOptions(size=16, context=64),
        )
        finished = pretrain(config, sink=show)
        assert finished.artifacts is not None
        assert finished.artifacts.sample is not None
        model = load_checkpoint(finished.artifacts.checkpoint)
        tokenizer = load_tokenizer(finished.artifacts.checkpoint)
        print(f"{model.config.n_params:,} parameters over {tokenizer.vocab_size} tokens write:")
        print(finished.artifacts.sample.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
