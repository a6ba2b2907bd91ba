"""The command line of the room: ``triskele serve``, and ``python -m triskele.serve``."""

import sys
from collections.abc import Sequence

import tyro

from triskele.serve.launch.front import run
from triskele.serve.launch.options import ServeConfig

DONE = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``triskele serve`` and return its exit status."""
    config = tyro.cli(
        ServeConfig,
        args=arguments,
        prog="triskele serve",
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return run(config)


if __name__ == "__main__":
    sys.exit(main())
