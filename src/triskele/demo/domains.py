"""Three kinds of text that every Python installation has, or can make: code, English, arithmetic.

Code is the source of the standard library without its docstrings; English is those docstrings and
the language's own help topics; arithmetic is sheets of exercises with their answers, made up. A
share of the documents of each kind is kept back, from which queries are made.
"""

import ast
import random
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from inspect import cleandoc
from operator import add, mul, sub
from pathlib import Path

from triskele.train.corpus import SEPARATOR, is_held_out, uniform

LEFT_OUT = frozenset(
    [
        "site-packages",
        "dist-packages",
        "test",
        "tests",
        "idle_test",
        "idlelib",
        "encodings",
        "pydoc_data",
    ]
)
"""Folders of others' code, of tests, of tables, and of English in the guise of code."""
LEAST_CHARACTERS = 1_000_000
QUERY_SHARE = 0.08
"""Of the documents, kept back for queries."""
SHORTEST, LONGEST = 200, 12_000
"""Characters below which a document is none, and above which it is cut off: many short ones are a
fairer sample than a few long ones."""
SHEET_LINES = 80
OPERATIONS: tuple[tuple[str, Callable[[int, int], int]], ...] = (
    ("plus", add),
    ("minus", sub),
    ("times", mul),
)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Domain:
    """A kind of text.

    Attributes
    ----------
    name
        Also that of the model that is trained on it.
    title
        In words.
    training, queries
        Documents to learn from, and others to be asked about.
    """

    name: str
    title: str
    training: tuple[str, ...]
    queries: tuple[str, ...]

    def write(self, path: Path) -> None:
        """Write the documents to learn from into one file."""
        text = "".join(f"{document.rstrip()}\n{SEPARATOR}\n" for document in self.training)
        path.write_text(text, encoding="utf-8", errors="replace")


def gather(*, characters: int, seed: int) -> tuple[Domain, ...]:
    """Return the three domains.

    Parameters
    ----------
    characters
        Of each, at most.
    seed
        Of the exercises.

    Raises
    ------
    ValueError
        If this Python has no sources.
    """
    folder = Path(sysconfig.get_paths()["stdlib"])
    code, english = [], list(topics())
    for source, docstrings in modules(folder):
        code.append(source)
        english.append(docstrings)
    if sum(map(len, code)) < LEAST_CHARACTERS:
        raise ValueError(f"the standard library's sources are not in {folder}")
    return (
        _domain("code", "Python's own source", code, characters),
        _domain("english", "Docstrings and help", english, characters),
        _domain("arithmetic", "Sheets of exercises", sheets(characters, seed), characters),
    )


def modules(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each module under a folder as its source without docstrings, and its docstrings."""
    for path in sorted(folder.rglob("*.py")):
        if LEFT_OUT.intersection(path.relative_to(folder).parts[:-1]):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        try:
            yield parted(text)
        except SyntaxError:
            continue


def parted(source: str) -> tuple[str, str]:
    """Return a module's source without docstrings, and its docstrings.

    Raises
    ------
    SyntaxError
        If it is no Python of this version.
    """
    docstrings: list[tuple[int, str]] = []
    dropped: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            assert isinstance(first, ast.Expr)
            assert isinstance(first.value, ast.Constant)
            docstrings.append((first.lineno, cleandoc(str(first.value.value))))
            dropped.update(range(first.lineno - 1, first.end_lineno or first.lineno))
    lines = source.splitlines(keepends=True)
    code = "".join(line for number, line in enumerate(lines) if number not in dropped)
    return code, "\n\n".join(text for _, text in sorted(docstrings))


def topics() -> Iterator[str]:
    """Yield what ``help()`` says of the language; nothing where Python comes without it."""
    try:
        from pydoc_data.topics import topics as found  # noqa: PLC0415 - not everywhere
    except ImportError:
        return
    yield from (found[name] for name in sorted(found))


def sheets(characters: int, seed: int) -> Iterator[str]:
    """Yield sheets of exercises with their answers, about so many characters of them in all.

    All exercises of a sheet are of one kind: its operations, and how long its numbers are.
    """
    rng = random.Random(f"{seed}, sheets")
    written = 0
    while written < characters:
        operations = rng.sample(OPERATIONS, rng.randint(1, 2))
        largest = 10 ** rng.randint(1, 3)
        sheet = "".join(_exercise(rng, operations, largest) for _ in range(SHEET_LINES))
        written += len(sheet)
        yield sheet


def _exercise(
    rng: random.Random,
    operations: list[tuple[str, Callable[[int, int], int]]],
    largest: int,
) -> str:
    word, operation = rng.choice(operations)
    left, right = rng.randrange(largest), rng.randrange(largest)
    return f"What is {left} {word} {right}? {operation(left, right)}\n"


def _domain(name: str, title: str, documents: Iterable[str], characters: int) -> Domain:
    """Take documents in an order that their text decides, and keep some of them back."""
    training, queries, taken = list[str](), list[str](), 0
    known = [_beginning(each) for each in documents if len(each) >= SHORTEST]
    for document in sorted(known, key=lambda text: uniform(text, salt=b"order")):
        if taken >= characters:
            break
        taken += len(document)
        (queries if is_held_out(document, QUERY_SHARE) else training).append(document)
    return Domain(name, title, tuple(training), tuple(queries))


def _beginning(document: str) -> str:
    """Return whole lines of a document, as many as are not too long."""
    if len(document) <= LONGEST:
        return document
    return document[:LONGEST].rpartition("\n")[0] + "\n"
