"""What the columns of a batch of votes say: the meaning of names that ``votes`` lists."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from triskele.evaluate.columns import Flags, Floats, Integers
from triskele.evaluate.votes.conversations import first_prompts
from triskele.evaluate.votes.files import VoteFile
from triskele.evaluate.votes.rows import VoteRows

WINNERS = {
    "model_a": 0.0,
    "model_b": 1.0,
    "tie": 0.5,
    "tie (bothbad)": 0.5,
    "both_bad": 0.5,
    "bothbad": 0.5,
}
BOTH_BAD = ("tie (bothbad)", "both_bad", "bothbad")
IDS = ("question_id", "query_id", "id")
PROMPTS = ("prompt", "query")
CONVERSATION = "conversation_a"
ONE_EACH = ("winner_model_a", "winner_model_b", "winner_tie")


class VoteBatch(NamedTuple):
    """Votes of one batch; queries and models are numbered within it."""

    ids: pa.Array
    texts: pa.Array
    query: Integers
    models: list[str]
    model_a: Integers
    model_b: Integers
    outcome: Floats
    weight: Floats
    differences: Floats


def vote_batches(
    file: VoteFile, *, drops_bad: bool, differences: Sequence[str]
) -> Iterator[VoteBatch]:
    """Yield the votes of a file.

    Parameters
    ----------
    file
        Where they are.
    drops_bad
        Leave out votes that both answers are bad.
    differences
        Names of pairs of columns, without ``_a`` and ``_b``.

    Raises
    ------
    ValueError
        If a column is missing or a row is not a vote.
    """
    sides = [f"{name}_{side}" for name in differences for side in "ba"]
    batches = file.batches(
        texts=("model_a", "model_b", "winner", *IDS, *PROMPTS),
        numbers=("outcome", "weight", *ONE_EACH, *sides),
        talks=(CONVERSATION,),
    )
    begin = 0
    names: list[str] | None = None
    for columns in filter(len, batches):
        filled = VoteRows(file, columns, begin).filled()
        names = list(filled) if names is None else names
        for name in filled.keys() - names:
            place = file.place(begin + filled[name])
            raise ValueError(f"{place}: expected no {name}, for no row before has one")
        yield _batch(VoteRows(file, columns.select(names), begin), drops_bad, sides)
        begin += len(columns)


def first_places(numbers: Integers, n: int) -> Integers:
    """Return where each of 0, …, n − 1 first occurs."""
    first = np.empty(n, np.int64)
    first[numbers[::-1]] = np.arange(len(numbers))[::-1]
    return first


def _batch(rows: VoteRows, drops_bad: bool, sides: Sequence[str]) -> VoteBatch:
    names = [rows.texts(name, may_be_empty=False) for name in ("model_a", "model_b")]
    rows.require(
        pc.not_equal(*names).to_numpy(zero_copy_only=False),
        lambda row: f"model_a and model_b are both {names[0][row].as_py()!r}",
    )
    outcome, is_bad = _outcomes(rows)
    weight = rows.numbers("weight") if rows.first_of(["weight"]) else np.ones(len(rows))
    rows.require(weight >= 0, lambda row: f"expected a weight of at least 0, got {weight[row]}")
    values = [rows.numbers(side) for side in sides]
    both = pa.chunked_array(names).combine_chunks().dictionary_encode()
    a, b = both.indices.to_numpy().astype(np.int64).reshape(2, -1)
    query, ids, texts = _queries(rows)
    kept = ~is_bad if drops_bad else slice(None)
    return VoteBatch(
        ids=ids,
        texts=texts,
        query=query[kept],
        models=both.dictionary.to_pylist(),
        model_a=a[kept],
        model_b=b[kept],
        outcome=outcome[kept],
        weight=weight[kept],
        differences=np.array(
            [of_b - of_a for of_b, of_a in zip(values[::2], values[1::2], strict=True)]
        ).reshape(-1, len(rows))[:, kept],
    )


def _outcomes(rows: VoteRows) -> tuple[Floats, Flags]:
    """Return the outcomes, and which votes are that both answers are bad."""
    is_bad = np.zeros(len(rows), bool)
    if rows.first_of(["outcome"]):
        outcome = rows.numbers("outcome")
        rows.require(
            (outcome >= 0) & (outcome <= 1),
            lambda row: f"expected an outcome from 0 to 1, got {outcome[row]}",
        )
        return outcome, is_bad
    if rows.first_of(ONE_EACH[:1]) and not rows.first_of(["winner"]):
        of_a, of_b, tie = (rows.numbers(name) for name in ONE_EACH)
        rows.require(
            (of_a * of_b == 0) & (of_a + of_b + tie == 1),
            lambda row: (
                f"expected one of {', '.join(ONE_EACH)} to be 1, "
                f"got {of_a[row]:g}, {of_b[row]:g} and {tie[row]:g}"
            ),
        )
        return of_b + tie / 2, is_bad
    winner = rows.texts("winner", may_be_empty=True)
    which = pc.index_in(winner, value_set=pa.array(WINNERS, pa.large_string()))
    is_known = which.is_valid().to_numpy(zero_copy_only=False)
    rows.require(
        is_known,
        lambda row: (
            f"expected winner to be one of {', '.join(WINNERS)}, got {winner[row].as_py()!r}"
        ),
    )
    number = which.to_numpy(zero_copy_only=False).astype(np.int64)
    is_bad = np.isin(number, [index for index, name in enumerate(WINNERS) if name in BOTH_BAD])
    return np.array(list(WINNERS.values()))[number], is_bad


def _queries(rows: VoteRows) -> tuple[Integers, pa.Array, pa.Array]:
    """Return which query each vote is of, and the queries' ids and texts."""
    id_name, prompt = rows.first_of(IDS), rows.first_of(PROMPTS)
    if prompt is not None:
        texts = rows.texts(prompt, may_be_empty=True)
        if rows.first_of(ONE_EACH[:1]):
            texts = pa.array([_first_of_several(text) for text in texts.to_pylist()], texts.type)
    elif rows.first_of([CONVERSATION]):
        texts = first_prompts(rows.columns[CONVERSATION])
    else:
        texts = pa.array([""] * len(rows), pa.large_string())
        if id_name is None:
            return np.arange(len(rows)), rows.numbered(), texts
    ids = texts if id_name is None else rows.texts(id_name, may_be_empty=False)
    encoded = ids.dictionary_encode()
    query = encoded.indices.to_numpy().astype(np.int64)
    return (
        query,
        encoded.dictionary,
        texts.take(pa.array(first_places(query, len(encoded.dictionary)))),
    )


def _first_of_several(text: str) -> str:
    """Return the first of a JSON list of prompts: those of several turns."""
    try:
        return msgspec.json.decode(text, type=list[str | None])[0] or ""
    except (msgspec.MsgspecError, IndexError):
        return text
