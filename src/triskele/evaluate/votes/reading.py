"""Votes in files: who was compared with whom on which query, and who won.

Columns are named as LMArena names them, and some more are understood:

==================  ===============================================================================
model_a, model_b    Names.
winner              ``model_a``, ``model_b``, ``tie``, or that both answers were bad:
                    ``tie (bothbad)``, ``both_bad`` or ``bothbad``.
outcome             In place of ``winner``: 1 if b won, 0 if a won, ½ for a tie, or a share.
winner_model_a, …   In place of ``winner``, as in the file of 55,000: three columns of 0 and 1,
                    ``winner_model_a``, ``winner_model_b`` and ``winner_tie``.
weight              How much each vote counts; all the same if there is none.
question_id         Which query it is; also ``query_id`` or ``id``. Votes of one id share a query.
prompt              Text of the query; also ``query``. If there is none, the first message of the
                    user in ``conversation_a``: a list of messages, or its JSON.
==================  ===============================================================================

Without an id, votes of one text share a query; without either, each vote has a query of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from triskele.evaluate.columns import Floats, frozen
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.votes.batches import VoteBatch, first_places, vote_batches
from triskele.evaluate.votes.files import SUFFIXES, VoteFile, kind_of
from triskele.evaluate.whole_file import whole_file


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Votes:
    """Comparisons with the queries that they are about."""

    comparisons: Comparisons
    id_column: pa.Array
    """Id of each query, (n_queries,), as Arrow holds it; ``ids`` has it as Python does."""
    text_column: pa.Array
    """Text of each query, (n_queries,), empty where there is none."""
    differences: Floats
    """(n, n_differences): value of b less value of a in the columns that were asked for."""

    @classmethod
    def of(
        cls,
        comparisons: Comparisons,
        *,
        ids: Sequence[str] | None = None,
        texts: Sequence[str] | None = None,
    ) -> "Votes":
        """Put votes together.

        Parameters
        ----------
        comparisons
            Of queries 0, 1, ….
        ids
            (n_queries,), each once; their numbers if not given.
        texts
            (n_queries,); empty if not given.

        Raises
        ------
        ValueError
            If there is not one id and one text for each query, or an id is there twice.
        """
        n = comparisons.n_queries
        ids = [str(number) for number in range(n)] if ids is None else ids
        texts = [""] * n if texts is None else texts
        if not len(ids) == len(texts) == n:
            raise ValueError(
                f"expected {n} ids and texts, one per query, got {len(ids)} and {len(texts)}"
            )
        if len(set(ids)) < n:
            raise ValueError("expected each id once, got one more than once")
        return cls(
            comparisons=comparisons,
            id_column=pa.array(ids, pa.large_string()),
            text_column=pa.array(texts, pa.large_string()),
            differences=frozen(np.zeros((len(comparisons), 0))),
        )

    @property
    def ids(self) -> tuple[str, ...]:
        """Id of each query, (n_queries,); made anew each time."""
        return tuple(self.id_column.to_pylist())

    @property
    def texts(self) -> tuple[str, ...]:
        """Text of each query, (n_queries,); made anew each time."""
        return tuple(self.text_column.to_pylist())


def read_votes(
    path: Path | str,
    *,
    both_bad: Literal["tie", "drop"] = "tie",
    differences: Sequence[str] = (),
) -> Votes:
    """Read votes.

    Parameters
    ----------
    path
        A file that ends in ``.parquet``, ``.csv``, ``.jsonl`` or ``.json`` (lines or one list), of
        text also with ``.gz``; or a folder of such files.
    both_bad
        Whether a vote that both answers are bad is a tie, or is left out.
    differences
        Names of pairs of columns of numbers, for ``fit(…, covariates=…)``: ``"length"`` is
        ``length_b`` less ``length_a``.

    Returns
    -------
    Votes
        Models sorted by name, queries in the order in which they first occur. Where votes of one
        query differ in its text, the first counts.

    Raises
    ------
    ValueError
        If a file cannot be read, a column is missing, or a row is not a vote; naming the file, and
        the line or the row, the first being 1.
    """
    if both_bad not in ("tie", "drop"):
        raise ValueError(f'expected both_bad to be "tie" or "drop", got {both_bad!r}')
    files = _files_of(Path(path))
    parts = [
        part
        for file in files
        for part in vote_batches(file, drops_bad=both_bad == "drop", differences=differences)
    ]
    if not parts:
        raise ValueError(f"expected at least one vote in {path}, got none")
    return _joined(parts)


def write_votes(path: Path | str, votes: Votes) -> None:
    """Write votes, all of them or none, such that :func:`read_votes` reads them.

    The columns are ``question_id``, ``prompt``, ``model_a``, ``model_b``, ``winner`` and
    ``weight``. ``outcome`` stands in place of ``winner`` if an outcome is neither 0, ½ nor 1.
    Models and queries without comparisons are not in the file.

    Parameters
    ----------
    path
        What it ends in decides on the form: ``.parquet``, ``.csv`` or ``.jsonl``.
    votes
        What is written.

    Raises
    ------
    ValueError
        If the path ends in anything else.
    """
    path = Path(path)
    if path.suffix not in (".parquet", ".csv", ".jsonl"):
        raise ValueError(f"expected a path that ends in .parquet, .csv or .jsonl, got {path}")
    table = _table(votes)
    with whole_file(path) as file:
        if path.suffix == ".parquet":
            pq.write_table(table, file, compression="zstd")
        elif path.suffix == ".csv":
            pa_csv.write_csv(table, file)
        else:
            encoder = msgspec.json.Encoder()
            for batch in table.to_batches(max_chunksize=1 << 16):
                file.write(encoder.encode_lines(batch.to_pylist()))


def _files_of(path: Path) -> list[VoteFile]:
    if not path.is_dir():
        return [VoteFile(path)]
    inside = sorted(file for file in path.iterdir() if kind_of(file) in SUFFIXES)
    if not inside:
        raise ValueError(f"expected files of votes in {path}, there are none")
    return [VoteFile(file) for file in inside]


def _joined(parts: Sequence[VoteBatch]) -> Votes:
    """Return the votes of all batches, with the numbers of queries and models changed."""
    ids = pa.chunked_array([part.ids for part in parts], pa.large_string()).combine_chunks()
    texts = pa.chunked_array([part.texts for part in parts], pa.large_string()).combine_chunks()
    encoded = ids.dictionary_encode()
    number = encoded.indices.to_numpy().astype(np.int64)
    begins = np.cumsum([0, *(len(part.ids) for part in parts)])
    query = np.concatenate(
        [number[begin + part.query] for begin, part in zip(begins, parts, strict=False)]
    )
    models = sorted({name for part in parts for name in part.models})
    place = {name: index for index, name in enumerate(models)}
    new = [np.array([place[name] for name in part.models], np.int64) for part in parts]
    sides = [
        np.concatenate([places[column] for places, column in zip(new, columns, strict=True)])
        for columns in ([part.model_a for part in parts], [part.model_b for part in parts])
    ]
    comparisons = Comparisons(
        query=frozen(query),
        model_a=frozen(sides[0]),
        model_b=frozen(sides[1]),
        outcome=frozen(np.concatenate([part.outcome for part in parts])),
        weight=frozen(np.concatenate([part.weight for part in parts])),
        models=tuple(models),
        n_queries=len(encoded.dictionary),
    )
    differences = np.concatenate([part.differences for part in parts], axis=1)
    return Votes(
        comparisons=comparisons,
        id_column=encoded.dictionary,
        text_column=texts.take(pa.array(first_places(number, len(encoded.dictionary)))),
        differences=frozen(np.ascontiguousarray(differences.T)),
    )


def _table(votes: Votes) -> pa.Table:
    comparisons, names = votes.comparisons, pa.array(votes.comparisons.models, pa.string())
    query = pa.array(comparisons.query)
    columns = {
        "question_id": votes.id_column.take(query),
        "prompt": votes.text_column.take(query),
        "model_a": names.take(pa.array(comparisons.model_a)),
        "model_b": names.take(pa.array(comparisons.model_b)),
    }
    outcome = comparisons.outcome
    if np.isin(outcome, (0.0, 0.5, 1.0)).all():
        winners = pa.array(["model_a", "tie", "model_b"])
        columns["winner"] = winners.take(pa.array((2 * outcome).astype(np.int64)))
    else:
        columns["outcome"] = pa.array(outcome)
    return pa.table(columns | {"weight": pa.array(comparisons.weight)})
