"""The command line of the room: ``triskele train``.

Everything that belongs to a process and not to a run is here: arguments, environment, signals, the
terminal, and exit statuses.
"""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import torch
import torch.distributed as dist
import tyro
from rich.console import Console

from triskele.train.config import TrainConfig
from triskele.train.pretrain import pretrain
from triskele.train.ranks import Ranks
from triskele.train.records import Record, RunStarted, Sink, discard
from triskele.train.terminal import Terminal

DONE, INTERRUPTED = 0, 130


class Interrupt:
    """What Ctrl-C and SIGTERM do: end the process, or, while a run trains, ask it to stop.

    A sink, so that it learns when training begins; a second signal ends the process even then.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._training, self._asked = False, False

    def __call__(self, record: Record) -> None:
        """Pass a record on."""
        self._training = self._training or isinstance(record, RunStarted)
        self._sink(record)

    def signal(self, number: int, frame: FrameType | None) -> None:
        """Take a signal."""
        del number, frame
        if self._asked or not self._training:
            raise KeyboardInterrupt
        self._asked = True

    def stop(self) -> bool:
        """Tell whether to stop after this step."""
        return self._asked


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``triskele train`` and return its exit status."""
    config = tyro.cli(TrainConfig, args=arguments, prog="triskele train")
    return _train(config)


def _train(config: TrainConfig) -> int:
    with _processes() as ranks, Terminal(Console()) as terminal:
        interrupt = Interrupt(terminal if ranks.is_first else discard)
        with _signals(interrupt):
            finished = pretrain(config, sink=interrupt, stop=interrupt.stop, ranks=ranks)
    if finished.interrupted and ranks.is_first:
        sys.stderr.write(
            f"triskele train: stopped after step {finished.step} of {finished.total_steps}; "
            "the same command with --resume continues\n"
        )
    return INTERRUPTED if finished.interrupted else DONE


@contextmanager
def _signals(interrupt: Interrupt) -> Iterator[None]:
    """Send Ctrl-C and SIGTERM to ``interrupt`` meanwhile."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, interrupt.signal) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _processes() -> Iterator[Ranks]:
    """Join the processes that torchrun started, if it did."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield Ranks()
        return
    ranks = Ranks(
        rank=int(os.environ["RANK"]),
        local_rank=int(os.environ.get("LOCAL_RANK", "0")),
        world_size=int(os.environ["WORLD_SIZE"]),
    )
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield ranks
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
