"""Pretraining from text: what ``triskele train`` does, as functions.

A run is described by one frozen record, reports to one sink, and can be stopped at any moment and
continued bit for bit.

>>> from triskele.train import TrainConfig, pretrain
>>> config = TrainConfig(data=Path("book.txt"), out=Path("run"), optimizer="dynmuon")
>>> finished = pretrain(config, sink=print)
"""

from triskele.train.batches import Batches
from triskele.train.config import (
    BatchOptions,
    ComputeOptions,
    ModelOptions,
    ScheduleOptions,
    SnapshotOptions,
    TextOptions,
    TrainConfig,
    TuneOptions,
    WatchOptions,
)
from triskele.train.lr import lr_at_step, lr_multiplier
from triskele.train.metrics import Curves, read_curves, steps_to_reach
from triskele.train.pretrain import pretrain
from triskele.train.ranks import Ranks
from triskele.train.records import (
    Artifacts,
    Notice,
    Progress,
    Record,
    RunFinished,
    RunStarted,
    SnapshotSaved,
    StepRecord,
    ValidationRecord,
)
from triskele.train.run import TrainingDiverged
from triskele.train.shards import ShardWriter, TokenShards, write_shard
from triskele.train.snapshot import SnapshotError

__all__ = [
    "Artifacts",
    "BatchOptions",
    "Batches",
    "ComputeOptions",
    "Curves",
    "ModelOptions",
    "Notice",
    "Progress",
    "Ranks",
    "Record",
    "RunFinished",
    "RunStarted",
    "ScheduleOptions",
    "ShardWriter",
    "SnapshotError",
    "SnapshotOptions",
    "SnapshotSaved",
    "StepRecord",
    "TextOptions",
    "TokenShards",
    "TrainConfig",
    "TrainingDiverged",
    "TuneOptions",
    "ValidationRecord",
    "WatchOptions",
    "lr_at_step",
    "lr_multiplier",
    "pretrain",
    "read_curves",
    "steps_to_reach",
    "write_shard",
]
