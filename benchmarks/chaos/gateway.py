"""The gateway as it is, in a process that tells on SIGUSR1 what asyncio tasks and memory it has.

``python -m benchmarks.chaos.gateway OPTIONS`` takes the options of ``triskele serve``.
"""

import asyncio
import gc
import json
import signal
import sys

from triskele.serve.__main__ import main


def tell(number: int, frame: object) -> None:
    """Write what tasks there are, and how many blocks of memory live, as a line of JSON."""
    gc.collect()
    names = sorted(task.get_coro().__qualname__ for task in asyncio.all_tasks())
    sys.stderr.write(json.dumps({"tasks": names, "blocks": sys.getallocatedblocks()}) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, tell)
    status = main()
    # Asked while it goes away, an interpreter would end by that signal, as if it had failed.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    sys.exit(status)
