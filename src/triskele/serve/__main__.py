"""The command line of the room: ``triskele serve``, and ``python -m triskele.serve``."""

import sys
from collections.abc import Sequence

import tyro

from triskele.serve.launch.front import run
from triskele.serve.launch.options import ServeConfig

FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``triskele serve`` and return its exit status; what goes wrong is said in one line."""
    config = tyro.cli(
        ServeConfig,
        args=arguments,
        prog="triskele serve",
        config=(tyro.conf.OmitArgPrefixes,),
    )
    try:
        return run(config)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"triskele serve: {_one_line(error)}\n")
        return FAILED


def _one_line(error: ValueError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
