"""Prompts to be answered, read from a text file (one per line) or from a table.

Prompts without an identifier are named by a digest of their text: the same prompt has the same
name wherever it stands in its file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from triskele.evaluate.collect.tables import SUFFIXES, Row, rows_of

IDENTIFIERS = ("question_id", "query_id", "prompt_id", "id", "uid")
TEXTS = ("prompt", "query", "question", "text", "instruction")
CATEGORY = "category"


@dataclass(frozen=True, slots=True)
class Prompt:
    """What models are asked; ``category`` is handed through to the votes."""

    id: str
    text: str
    category: str | None = None


def read_prompts(
    path: Path,
    *,
    id_column: str | None = None,
    text_column: str | None = None,
    limit: int | None = None,
) -> tuple[Prompt, ...]:
    """Read prompts in the order of their file.

    Parameters
    ----------
    path
        ``.txt``: one prompt per line, a line that stands twice is one prompt. ``.jsonl``, ``.csv``
        or ``.parquet``: one prompt per row.
    id_column, text_column
        Where identifier and text stand; the first of ``IDENTIFIERS`` and ``TEXTS`` that the row
        has, if not given.
    limit
        Read no more than so many.

    Raises
    ------
    ValueError
        If a prompt is missing or blank, an identifier stands twice, or there is no prompt at all.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"expected a limit of at least 1 prompt, got {limit}")
    found: dict[str, Prompt] = {}
    places: dict[str, str] = {}
    is_plain = path.suffix == ".txt"
    read = _plain(path) if is_plain else _rows(path, id_column, text_column)
    for place, prompt in read:
        if prompt.id in found:
            if is_plain:
                continue
            raise ValueError(f"{place}: {prompt.id!r} stands there already at {places[prompt.id]}")
        found[prompt.id], places[prompt.id] = prompt, place
        if len(found) == limit:
            break
    if not found:
        raise ValueError(f"expected at least one prompt, {path} has none")
    return tuple(found.values())


def digest_of(text: str) -> str:
    """Return the name of a prompt that has none."""
    return f"p{blake2b(text.encode(), digest_size=8).hexdigest()}"


def _plain(path: Path) -> Iterator[tuple[str, Prompt]]:
    if not path.is_file():
        raise ValueError(f"expected a file, there is none at {path}")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            place = f"{path}, line {number}"
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise ValueError(f"{place}: {error}") from None
            if text:
                yield place, Prompt(digest_of(text), text)


def _rows(path: Path, identifier: str | None, text: str | None) -> Iterator[tuple[str, Prompt]]:
    if path.suffix not in SUFFIXES:
        endings = ", ".join((".txt", *SUFFIXES))
        raise ValueError(f"expected prompts in a file that ends in {endings}, got {path}")
    identifiers = IDENTIFIERS if identifier is None else (identifier,)
    texts = TEXTS if text is None else (text,)
    for place, row in rows_of(path, (*identifiers, *texts, CATEGORY)):
        prompt = _first(row, texts)
        if prompt is None:
            raise ValueError(f"{place}: expected a prompt in a column {' or '.join(texts)}")
        if not prompt.strip():
            raise ValueError(f"{place}: the prompt is blank")
        name = _first(row, identifiers)
        if name is None and identifier is not None:
            raise ValueError(f"{place}: expected an identifier in the column {identifier}")
        yield place, Prompt(name or digest_of(prompt), prompt, row.get(CATEGORY))


def _first(row: Row, names: tuple[str, ...]) -> str | None:
    return next((row[name] for name in names if name in row), None)
