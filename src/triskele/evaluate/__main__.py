"""The command line of the room: ``triskele evaluate``, each of whose commands has its own module.

A command's module is imported when it is run and not before, so that none needs what only another
one does.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True, slots=True)
class Command:
    """Where a word leads, and what it does in a few words."""

    module: str
    summary: str


NOT_UNDERSTOOD = 2

COMMANDS = {
    "fit": Command(
        "triskele.evaluate.commands.fit",
        "Find which models suit which queries, and keep it in a file.",
    ),
    "rank": Command("triskele.evaluate.commands.rank", "Rank the models for new prompts."),
    "report": Command(
        "triskele.evaluate.commands.report",
        "Write one page with leaderboards, clusters and how sure they are.",
    ),
    "onboard": Command(
        "triskele.evaluate.commands.onboard",
        "Find out where a new model stands, with few comparisons.",
    ),
    "check": Command(
        "triskele.evaluate.commands.check",
        "Look for scores that do not belong to the queries in their rows.",
    ),
    "collect": Command(
        "triskele.evaluate.collect.command",
        "Let models answer prompts and a judge compare the answers.",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name.

    Parameters
    ----------
    arguments
        What follows ``triskele evaluate``; the process's own arguments if not given.

    Returns
    -------
    int
        The exit status: 0 done, 1 not so, 2 not understood.

    Raises
    ------
    ValueError, OSError
        If it could not be done.
    SystemExit
        With status 0 after help was asked for, with 2 if options were not understood.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words:
        sys.stdout.write(_usage())
        return 0
    if words[0] in ("-h", "--help"):
        sys.stdout.write(_usage())
        raise SystemExit(0)
    command = COMMANDS.get(words[0])
    if command is None:
        known = ", ".join(COMMANDS)
        sys.stderr.write(f"triskele evaluate: no command {words[0]!r}; there are: {known}\n")
        return NOT_UNDERSTOOD
    status: int = import_module(command.module).main(words[1:])
    return status


def _usage() -> str:
    width = max(len(name) for name in COMMANDS)
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: triskele evaluate COMMAND [OPTIONS]",
            "",
            "Which model is best for which kind of query, and how we know.",
            "",
            *lines,
            "",
            "triskele evaluate COMMAND --help tells what a command takes.",
            "",
            "  triskele evaluate report votes.jsonl --out report.html",
            "  triskele evaluate fit votes.jsonl --out model.npz",
            '  triskele evaluate rank model.npz --text "Why is the sky blue?"',
            "",
        ]
    )
