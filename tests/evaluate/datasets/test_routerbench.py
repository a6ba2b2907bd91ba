from pathlib import Path

import numpy as np
import pytest

from triskele.evaluate.datasets.routerbench import read_routerbench

CSV = """\
sample_id,prompt,eval_name,gpt-4,org/small,gpt-4|model_response,gpt-4|total_cost,\
org/small|total_cost,oracle_model_to_route_to
mmlu.1,"['Which?\\n', 'A or B?']",mmlu,1.0,0.0,['A'],0.002,0.0001,gpt-4
gsm.2,How many?,gsm,0.25,,['3'],0.004,,gpt-4
gsm.3,[not a list,gsm,0,1,['3'],,0.0003,org/small
"""


def test_models_are_columns_with_a_cost(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text(CSV)
    dataset = read_routerbench(path)
    assert dataset.ids == ("mmlu.1", "gsm.2", "gsm.3")
    assert dataset.texts == ("Which?\n\nA or B?", "How many?", "[not a list")
    assert dataset.categories == dataset.tasks == ("mmlu", "gsm", "gsm")
    assert dataset.models == ("gpt-4", "org/small")
    np.testing.assert_array_equal(dataset.scores, [[1, 0], [0.25, np.nan], [0, 1]])
    np.testing.assert_allclose(dataset.prices, [0.003, 0.0002])


def test_a_model_that_cost_nothing_known_has_no_price(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("sample_id,prompt,eval_name,m,m|total_cost\na,b,c,1,\n")
    assert np.isnan(read_routerbench(path).prices).all()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sample_id,prompt,eval_name\na,b,c\n", r"r\.csv: expected columns NAME and NAME\|total"),
        ("prompt,eval_name,m,m|total_cost\na,b,1,2\n", r"expected a column 'sample_id'"),
        ("sample_id,prompt,eval_name,m,m|total_cost\na,b,c,yes,1\n", r"row 1: .* 'm', got 'yes'"),
        ("sample_id,prompt,eval_name,m,m|total_cost\na,b,c,1,1\na,b,c,1,1\n", "'a' more than once"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_routerbench(path)


def test_the_pickle_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "routerbench_0shot.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match="is a pickle"):
        read_routerbench(tmp_path / "routerbench_0shot.pkl")
