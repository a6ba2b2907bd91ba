import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evaluate.kinds import TALENT, source_of_kinds

from triskele import cli
from triskele.evaluate.fitting import fit_model
from triskele.evaluate.options import FitOptions
from triskele.evaluate.storage import save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    fitted, _ = fit_model(source_of_kinds(folder), FitOptions(clusters=3))
    save_model(folder / "model.npz", fitted)
    return folder / "model.npz"


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a fit that knows embeddings from a file."""
    folder = tmp_path_factory.mktemp("blind")
    np.save(folder / "x.npy", np.eye(3)[np.arange(120) % 3] + 0.1)
    options = FitOptions(clusters=3, embeddings=folder / "x.npy")
    fitted, _ = fit_model(source_of_kinds(folder), options)
    save_model(folder / "model.npz", fitted)
    return folder / "model.npz"


def rank(*arguments: str | Path) -> int:
    return cli.main(["evaluate", "rank", *map(str, arguments)])


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_each_prompt_is_led_by_the_talent_of_its_kind(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {"sums": "divide the total", "verse": "a rhyme, a sonnet", "soup": "simmer garlic"}
    for kind, text in texts.items():
        assert rank(model, "--text", text, "--json") == 0
        [found] = lines(capsys)
        assert found["ranking"][0]["model"] == TALENT[kind]
        assert found["text"] == text


def test_probabilities_are_those_of_the_capabilities(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rank(model, "--text", "divide", "--json") == 0
    [found] = lines(capsys)
    capability = np.array([line["capability"] for line in found["ranking"]])
    assert [line["rank"] for line in found["ranking"]] == [1, 2, 3, 4]
    assert (np.diff(capability) <= 0).all()
    beats = 1 / (1 + np.exp(capability[None, :] - capability[:, None]))
    for place, line in enumerate(found["ranking"]):
        assert line["beats_another"] == pytest.approx((beats[place].sum() - 0.5) / 3, abs=1e-5)
    assert found["ranking"][0]["beats_next"] == pytest.approx(beats[0, 1], abs=1e-5)
    assert found["ranking"][-1]["beats_next"] is None


def test_several_texts_and_a_file_are_ranked_in_order(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rank(model, "--text", "divide", "--text", "a poem", "--json") == 0
    both = [found["text"] for found in lines(capsys)]
    (tmp_path / "prompts.jsonl").write_text('{"id": "p1", "prompt": "divide"}\n')
    assert rank(model, "--prompts", tmp_path / "prompts.jsonl", "--json") == 0
    assert both == ["divide", "a poem"]
    assert lines(capsys)[0]["id"] == "p1"


def test_a_table_shows_the_first_models_and_the_cluster(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rank(model, "--text", "onion [b]broth[/b]", "--top", "2") == 0
    text = capsys.readouterr().out
    assert "onion [b]broth[/b]" in text
    assert "cluster" in text
    assert "dan" in text
    assert sum(name in text for name in ("ada", "bob", "cy", "dan")) == 2


def test_a_fit_without_embedder_asks_for_embeddings(
    blind: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rank(blind, "--text", "divide") == 1
    assert "expected --embeddings" in capsys.readouterr().err
    np.save(tmp_path / "x.npy", np.eye(3) + 0.1)
    assert rank(blind, "--embeddings", tmp_path / "x.npy", "--json") == 0
    assert [found["ranking"][0]["model"] for found in lines(capsys)] == ["bob", "cy", "dan"]


@pytest.mark.parametrize(
    "options", [[], ["--text", "a", "--prompts", "b.txt"], ["--text", "a", "--top", "0"]]
)
def test_options_that_cannot_be_are_explained(model: Path, options: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        rank(model, *options)
    assert ended.value.code == 2


def test_no_model_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rank(tmp_path / "none.npz", "--text", "a") == 1
    error = capsys.readouterr().err
    assert error.startswith("triskele evaluate: expected a fitted model")
    assert error.count("\n") == 1
