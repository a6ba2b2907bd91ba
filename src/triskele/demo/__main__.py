"""The command line of the room: ``triskele demo``.

Everything that belongs to a process and not to the demonstration is here: arguments, signals, the
terminal, and the exit status.
"""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import tyro
from rich.console import Console

from triskele.demo.circle import PAGE, run_demo
from triskele.demo.config import DemoConfig, Scale
from triskele.demo.terminal import Terminal, show_findings

DONE = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``triskele demo`` and return its exit status.

    Raises
    ------
    ValueError, OSError
        If it could not be done; the text is one line.
    KeyboardInterrupt
        When told to stop; all processes have ended then.
    """
    config = tyro.cli(DemoConfig, args=arguments, prog="triskele demo")
    console = Console()
    with _stopped_by_sigterm(), Terminal(console) as terminal:
        found = run_demo(config, scale=Scale(), watcher=terminal)
    show_findings(console, found, config.out / PAGE)
    return DONE


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, so that no process is left behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        # Not by SIGINT, which is ignored by what a shell starts in the background.
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
