"""Command lines as documents show them: found in text, and given to the command that is named.

A command is understood when its own parser takes its words; it is stopped before it does anything.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from importlib import import_module

import pytest
import tyro

from triskele.cli import main

BLOCK = re.compile(r"^( *)```sh\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
ENGINE = "triskele.serve.engine"
ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")


class Understood(Exception):
    """What a parser has made of the words."""


def understood(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> object:
    """Return the settings that ``triskele …`` or ``python -m triskele…`` reads from words.

    Fails where the command does not understand them.
    """
    parse = tyro.cli

    def stop_there(*arguments: object, **options: object) -> None:
        raise Understood(parse(*arguments, **options))  # type: ignore[call-overload]

    with monkeypatch.context() as patched:
        patched.setattr(tyro, "cli", stop_there)
        try:
            if words[:3] == ["python", "-m", ENGINE]:
                status = import_module(f"{ENGINE}.__main__").main(words[3:])
            else:
                status = main(words[1:])
        except Understood as found:
            return found.args[0]
        except SystemExit as ended:
            status = ended.code
    # Help, or the version, which need no parser.
    assert status == 0, f"not understood: {shlex.join(words)}"
    return None


def commands_of(markdown: str) -> Iterator[list[str]]:
    """Yield the simple commands in a document's blocks of shell, as words."""
    for match in BLOCK.finditer(markdown):
        for line in match[2].replace("\\\n", " ").splitlines():
            yield from _simple_commands(line)


def own(words: list[str]) -> list[str] | None:
    """Return a command of ours as ``understood`` takes it; ``None`` for others."""
    while words and (ASSIGNMENT.fullmatch(words[0]) or words[0] == "sudo"):
        words = words[1:]
    if "-m" in words and words[0].rpartition("/")[2] in ("python", "python3", "torchrun"):
        at = words.index("-m")
        module, rest = words[at + 1], words[at + 2 :]
        if module == "triskele":
            return ["triskele", *rest]
        return ["python", "-m", module, *rest] if module == ENGINE else None
    return ["triskele", *words[1:]] if words and words[0].endswith("triskele") else None


def _simple_commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split, lexer.commenters = True, "#"
    words: list[str] = []
    for word in lexer:
        if set(word) <= set("();<>|&"):
            yield from [words] if words else []
            words = []
        else:
            words.append(word)
    yield from [words] if words else []
