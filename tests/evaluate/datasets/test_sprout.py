from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from triskele.evaluate.datasets.sprout import read_sprout


def answer(score: float | None, n_read: int = 100, n_written: int = 10) -> dict[str, object]:
    return {
        "response": "…",
        "score": score,
        "num_input_tokens": n_read,
        "num_output_tokens": n_written,
    }


def row(key: object, **models: object) -> dict[str, object]:
    return {
        "key": key,
        "dataset": "MATH/algebra",
        "dataset_level": None,
        "dataset_idx": 3,
        "prompt": f"prompt {key}",
        "golden_answer": "4",
        **models,
    }


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_every_column_of_records_with_a_score_is_a_model(tmp_path: Path) -> None:
    rows = [row("a", gpt=answer(1.0), llama=answer(0.0)), row("b", gpt=answer(0.5), llama=None)]
    dataset = read_sprout(write(tmp_path / "train.parquet", rows))
    assert dataset.ids == ("a", "b")
    assert dataset.texts == ("prompt a", "prompt b")
    assert dataset.models == ("gpt", "llama")
    assert dataset.categories == dataset.tasks == ("MATH/algebra",) * 2
    np.testing.assert_array_equal(dataset.scores, [[1, 0], [0.5, np.nan]])
    assert dataset.prices is None


def test_the_parts_follow_each_other_whatever_the_order_of_their_columns(tmp_path: Path) -> None:
    write(tmp_path / "test.parquet", [row("a", gpt=answer(1.0), llama=answer(0.0))])
    write(tmp_path / "train.parquet", [row("b", llama=answer(0.25), gpt=answer(0.75))])
    (tmp_path / "dataset_infos.json").write_text("{}")
    dataset = read_sprout(tmp_path)
    assert dataset.ids == ("a", "b")
    np.testing.assert_array_equal(dataset.scores, [[1, 0], [0.75, 0.25]])


def test_prices_are_means_per_answer(tmp_path: Path) -> None:
    rows = [row("a", gpt=answer(1.0, 100, 10)), row("b", gpt=answer(0.0, 300, 30))]
    path = write(tmp_path / "t.parquet", rows)
    dataset = read_sprout(path, prices={"gpt": (2.0, 10.0), "other": (1.0, 1.0)})
    np.testing.assert_allclose(dataset.prices, [(200 * 2 + 20 * 10) / 1e6])
    assert np.isnan(read_sprout(path, prices={}).prices).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("keys", [[7, 7], [None, None]])
def test_keys_that_do_not_tell_prompts_apart_are_not_used(tmp_path: Path, keys: list) -> None:
    path = write(tmp_path / "train.parquet", [row(key, gpt=answer(1.0)) for key in keys])
    assert read_sprout(path).ids == ("train/0", "train/1")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"t\.parquet: expected columns of records with a 'score'"):
        read_sprout(write(tmp_path / "t.parquet", [row("a")]))
    path = write(tmp_path / "t.parquet", [{"gpt": answer(1.0)}])
    with pytest.raises(ValueError, match=r"t\.parquet: expected a column 'prompt', got gpt"):
        read_sprout(path)
    write(tmp_path / "u.parquet", [row("a", claude=answer(1.0))])
    with pytest.raises(ValueError, match=r"u\.parquet: expected the models of .*t\.parquet"):
        read_sprout(tmp_path)
    (tmp_path / "u.parquet").unlink()
    write(tmp_path / "t.parquet", [row("a", gpt={"score": 1.0})])
    with pytest.raises(ValueError, match="a field 'num_input_tokens' in the column 'gpt'"):
        read_sprout(tmp_path, prices={"gpt": (1.0, 1.0)})
