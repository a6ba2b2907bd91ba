import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triskele.evaluate import Comparisons
from triskele.loop.evidence import PAR, Evidence, Gathering

rows = st.lists(
    st.tuples(st.sampled_from("pqr"), st.sampled_from("abc"), st.floats(0, 1), st.integers(0, 9))
)


@given(rows)
def test_what_is_gathered_is_there_row_by_row(said: list[tuple[str, str, float, int]]) -> None:
    gathering = Gathering()
    for text, model, score, at in said:
        gathering.score(text, model, score, answered=at, arrived=at + 1, source=f"s{at}")
    evidence = gathering.evidence()
    known = evidence.comparisons
    assert len(evidence) == len(said)
    assert evidence.is_score.all()
    assert known.models[evidence.par] == PAR
    assert sorted(evidence.models) == sorted({model for _, model, _, _ in said})
    for row, (text, model, score, at) in enumerate(said):
        assert evidence.texts[known.query[row]] == text
        assert known.models[known.model_b[row]] == model
        assert known.outcome[row] == score
        assert (evidence.answered[row], evidence.arrived[row]) == (at, at + 1)
        assert evidence.sources[evidence.source[row]] == f"s{at}"


@given(rows, st.data())
def test_some_rows_are_of_the_same_queries_and_models(
    said: list[tuple[str, str, float, int]], data: st.DataObject
) -> None:
    gathering = Gathering()
    for text, model, score, at in said:
        gathering.score(text, model, score, answered=at, arrived=at, source="s")
    evidence = gathering.evidence()
    mask = np.array(
        data.draw(st.lists(st.booleans(), min_size=len(said), max_size=len(said))), bool
    )
    some = evidence.take(mask)
    assert len(some) == mask.sum()
    assert some.texts == evidence.texts
    assert some.answered.tolist() == evidence.answered[mask].tolist()
    weighted = evidence.weighted(mask.astype(float))
    assert weighted.weight.tolist() == mask.astype(float).tolist()


def test_columns_that_do_not_fit_together_are_refused() -> None:
    one = Comparisons.from_arrays([0], ["a"], ["b"], [1.0])
    column = np.zeros(1)
    with pytest.raises(ValueError, match="last model"):
        Evidence(
            texts=("p",), comparisons=one, answered=column, arrived=column,
            source=np.zeros(1, np.int64), sources=("s",),
        )  # fmt: skip
    with pytest.raises(ValueError, match="expected 1 rows"):
        Evidence(
            texts=(), comparisons=one, answered=column, arrived=column,
            source=np.zeros(1, np.int64), sources=("s",),
        )  # fmt: skip
