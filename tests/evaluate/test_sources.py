from pathlib import Path

import numpy as np
import pytest
from tests.evaluate.kinds import MODELS, write_votes_of_kinds

from triskele.evaluate.options import ScoreOptions
from triskele.evaluate.sources import Source, read_source


def read(path: Path, **options: object) -> Source:
    return read_source(path, options=ScoreOptions(**options), seed=0)  # type: ignore[arg-type]


def write_scores(folder: Path, scores: str) -> Path:
    folder.mkdir()
    (folder / "queries.csv").write_text("query_id,query\na,What?\nb,Why?\nc,How?\n")
    (folder / "scores.csv").write_text(f"query_id,x,y,z\n{scores}")
    return folder


def test_votes_are_read_with_their_texts(tmp_path: Path) -> None:
    source = read(write_votes_of_kinds(tmp_path / "votes.jsonl", n=9))
    assert source.comparisons.models == MODELS
    assert (len(source.ids), len(source.comparisons)) == (9, 54)
    assert source.texts[0].endswith("please 0")
    assert not source.is_sampled


def test_a_folder_of_votes_is_one_source(tmp_path: Path) -> None:
    write_votes_of_kinds(tmp_path / "one.jsonl", n=3)
    write_votes_of_kinds(tmp_path / "two.jsonl", n=5, seed=1)
    assert len(read(tmp_path).comparisons) == 48


def test_scores_become_comparisons(tmp_path: Path) -> None:
    folder = write_scores(tmp_path / "set", "a,1,0,1\nb,0,1,0\nc,1,1,1\n")
    source = read(folder)
    assert source.is_sampled
    assert len(source.comparisons) == 4  # ties are left out
    assert len(read(folder, ties="half").comparisons) == 9
    assert len(read(folder, ties="half", per_query=1).comparisons) == 3
    assert source.texts == ("What?", "Why?", "How?")


def test_embeddings_of_a_data_set_come_along(tmp_path: Path) -> None:
    folder = write_scores(tmp_path / "set", "a,1,0,1\nb,0,1,0\nc,1,1,1\n")
    np.save(folder / "embeddings.npy", np.eye(3, dtype=np.float16))
    embeddings = read(folder).embeddings
    assert embeddings is not None
    assert embeddings.shape == (3, 3)


def test_nothing_to_compare_is_one_line(tmp_path: Path) -> None:
    folder = write_scores(tmp_path / "set", "a,1,1,1\nb,0,0,0\nc,1,1,1\n")
    with pytest.raises(ValueError, match="set holds none that count"):
        read(folder)


def test_questions_alone_are_no_source(tmp_path: Path) -> None:
    path = tmp_path / "questions.csv"
    path.write_text("question,answer\nWhat?,x\n")
    with pytest.raises(ValueError, match=r"questions\.csv"):
        read(path)


@pytest.mark.parametrize(("name", "content"), [("none.jsonl", None), ("notes.txt", "hello")])
def test_what_is_no_source_is_named(tmp_path: Path, name: str, content: str | None) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=name):
        read(path)
