from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.evaluate.kinds import write_votes_of_kinds
from tests.evaluate.runs import as_released, difficult_scores

from triskele import cli

N, MODELS = 1200, ("m0", "m1", "m2", "m3", "m4", "m5")


def write(folder: Path, scores: NDArray[np.float64], *, name: str = "scores") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "queries.csv").write_text(
        "query_id,query\n" + "".join(f"{row},text\n" for row in range(N))
    )
    rows = (f"{row}," + ",".join(f"{x:g}" for x in line) for row, line in enumerate(scores))
    (folder / f"{name}.csv").write_text("\n".join([f"query_id,{','.join(MODELS)}", *rows]))
    return folder


def check(*arguments: str | Path) -> int:
    return cli.main(["evaluate", "check", *map(str, arguments)])


def test_scores_in_order_end_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "set", difficult_scores(N, 6, seed=0))
    assert check(folder) == 0
    text = capsys.readouterr().out
    assert "the same queries in the same rows" in text
    assert text.count("as the rows") == 6


def test_permuted_columns_end_with_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = difficult_scores(N, 6, seed=0)
    blocks = np.zeros(N, np.int64)
    folder = write(tmp_path / "set", as_released(scores, (1, 1, 1, 1, 4, 8), blocks))
    assert check(folder) == 1
    text = capsys.readouterr().out
    assert "rank after rank of 4" in text
    assert "rank after rank of 8" in text
    assert "The scores do not belong to the same queries" in text


def test_another_table_of_the_folder_can_be_named(tmp_path: Path) -> None:
    scores = difficult_scores(N, 6, seed=0)
    folder = write(tmp_path / "set", scores)
    blocks = np.zeros(N, np.int64)
    write(folder, as_released(scores, (1, 1, 1, 1, 4, 8), blocks), name="released")
    assert check(folder) == 0
    assert check(folder, "--scores", "released") == 1


def test_votes_have_nothing_to_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(write_votes_of_kinds(tmp_path / "votes.jsonl", n=6)) == 1
    assert "holds no scores" in capsys.readouterr().err


def test_nothing_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path / "none") == 1
    assert capsys.readouterr().err.count("\n") == 1
