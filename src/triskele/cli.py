"""The command line: hand each command to the room that knows it.

A room is imported when it is run and not before, so that ``triskele --help`` is instant and a room
that does not need torch never loads it. What goes wrong in a room is said here, in one line.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from triskele import __version__


@dataclass(frozen=True, slots=True)
class Command:
    """A word on the command line, where it leads, and what it does in a few words."""

    module: str
    function: str
    summary: str


FAILED, INTERRUPTED = 1, 130

COMMANDS = {
    "train": Command("triskele.train.__main__", "main", "Pretrain a language model from text."),
    "serve": Command(
        "triskele.serve.__main__",
        "main",
        "Put an OpenAI-compatible gateway before LLM workers, or serve a checkpoint.",
    ),
    "simulate": Command(
        "triskele.serve.simulate.__main__",
        "main",
        "Compare routing and eviction policies on a simulated fleet of LLM workers.",
    ),
    "evaluate": Command(
        "triskele.evaluate.__main__",
        "main",
        "Tell which model is best for which kind of query, from comparisons.",
    ),
    "loop": Command(
        "triskele.loop.__main__",
        "main",
        "Learn from the gateway's journal and feedback which model suits which query.",
    ),
    "demo": Command(
        "triskele.demo.__main__",
        "main",
        "Turn the whole circle on this machine: train, serve, learn, choose.",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name.

    Parameters
    ----------
    arguments
        What follows ``triskele``; the process's own arguments if not given.

    Returns
    -------
    int
        The exit status: 0 done, 1 could not, 2 not understood, 130 interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(_usage())
        return 0
    if words[0] == "--version":
        sys.stdout.write(f"triskele {__version__}\n")
        return 0
    command = COMMANDS.get(words[0])
    if command is None:
        known = ", ".join(COMMANDS)
        sys.stderr.write(f"triskele: no command {words[0]!r}; there are: {known}\n")
        return 2
    try:
        status: int = getattr(import_module(command.module), command.function)(words[1:])
    except KeyboardInterrupt as error:
        status, reason = INTERRUPTED, "; ".join(["interrupted", *map(str, error.args)])
    except (ValueError, OSError) as error:
        status, reason = FAILED, _one_line(error)
    else:
        return status
    sys.stderr.write(f"triskele {words[0]}: {reason}\n")
    return status


def _one_line(error: ValueError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return " ".join(str(error).split())


def _usage() -> str:
    width = max(len(name) for name in COMMANDS)
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: triskele COMMAND [OPTIONS]",
            "",
            "Foundation models made cheaper over their whole life.",
            "",
            *lines,
            "",
            "triskele COMMAND --help tells what a command takes; triskele --version the version.",
            "",
            "  triskele demo --out demo",
            "  triskele train --data book.txt --out run",
            "  triskele serve --upstream http://127.0.0.1:8001 --upstream http://127.0.0.1:8002",
            "  triskele simulate --workload gsp --compare cache-aware round-robin",
            "  triskele evaluate report votes.jsonl --out report.html",
            "  triskele loop --journal journal --capability capability --every 10m",
            "",
        ]
    )
