from pathlib import Path

import pytest

from triskele.evaluate.datasets.arena import read_arena


def test_votes_have_queries_and_models_but_no_scores(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text(
        "question_id,prompt,model_a,model_b,winner\n1,Hi,x,y,model_a\n2,Ho,z,x,tie\n1,Hi,y,x,model_b\n"
    )
    dataset = read_arena(path)
    assert dataset.ids == ("1", "2")
    assert dataset.texts == ("Hi", "Ho")
    assert dataset.models == ("x", "y", "z")
    assert dataset.scores is None
    assert dataset.comparisons is not None
    assert len(dataset.comparisons) == 3


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text("model_a,model_b,winner\nx,y,nobody\n")
    with pytest.raises(ValueError, match=r"votes\.csv"):
        read_arena(tmp_path / "votes.csv")
