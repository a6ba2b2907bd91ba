import json
from pathlib import Path

import numpy as np
import pytest
from tests.evaluate.kinds import source_of_kinds

from triskele import cli
from triskele.evaluate.fitting import fit_model
from triskele.evaluate.options import FitOptions
from triskele.evaluate.storage import save_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onboard")
    source = source_of_kinds(folder)
    fitted, _ = fit_model(source, FitOptions(clusters=3))
    save_model(folder / "model.npz", fitted)
    (folder / "prompts.txt").write_text("\n".join(source.texts) + "\n")
    return folder


def onboard(folder: Path, *arguments: str | Path) -> int:
    fixed = ("--prompts", folder / "prompts.txt")
    return cli.main(["evaluate", "onboard", *map(str, (folder / "model.npz", *fixed, *arguments))])


def asked(
    folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str
) -> list[dict[str, str]]:
    assert onboard(folder, "--name", "new", "--json", *arguments) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def votes_on(questions: list[dict[str, str]], path: Path, *, winner: str) -> Path:
    path.write_text("".join(json.dumps({**q, "winner": winner}) + "\n" for q in questions))
    return path


def test_questions_are_votes_without_a_winner(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = asked(folder, capsys, "--ask", "7")
    assert len(questions) == 7
    assert len({question["prompt"] for question in questions}) == 7
    prompts = (folder / "prompts.txt").read_text().splitlines()
    for question in questions:
        assert question["prompt"] in prompts
        assert question["model_a"] == "new"
        assert question["model_b"] in ("ada", "bob", "cy", "dan")


def test_answers_move_the_new_model_and_are_not_asked_again(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    questions = asked(folder, capsys, "--ask", "40")
    places = {}
    for winner in ("model_a", "model_b"):
        votes = votes_on(questions, tmp_path / f"{winner}.jsonl", winner=winner)
        assert onboard(folder, "--name", "new", "--votes", votes) == 0
        lines = capsys.readouterr().out.splitlines()
        assert "40 comparisons" in lines[0]
        [line] = [line for line in lines if " new " in line and " to " in line]
        places[winner] = int(line.split()[0])
        again = asked(folder, capsys, "--votes", str(votes))
        assert not {q["prompt"] for q in again} & {q["prompt"] for q in questions}
    assert places["model_a"] == 1
    assert places["model_b"] >= 4


def test_votes_of_others_and_on_other_prompts_are_passed_over(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    questions = asked(folder, capsys, "--ask", "5")
    strange = [
        {"question_id": "x", "prompt": "of no prompt here", "model_a": "new", "model_b": "ada"},
        {**questions[0], "model_b": "nobody"},
        {**questions[1], "model_a": "ada", "model_b": "bob"},
    ]
    votes = votes_on([*questions, *strange], tmp_path / "votes.jsonl", winner="tie")
    assert onboard(folder, "--name", "new", "--votes", votes) == 0
    assert "after 5 comparisons" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--name", "ada"), "'ada' is known"),
        (("--name", "new", "--ask", "1000"), "at most 120 questions"),
        (("--name", "new", "--votes", "missing.jsonl"), "missing.jsonl"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    assert onboard(folder, *arguments) != 0
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_fewer_questions_than_none_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        onboard(folder, "--name", "new", "--ask", "-1")
    assert raised.value.code == 2
    assert "--ask of at least 0" in capsys.readouterr().err


def test_votes_without_the_new_model_are_an_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert onboard(folder, "--name", "new", "--votes", folder / "votes.jsonl") == 1
    assert "expected votes on 'new', there are none" in capsys.readouterr().err


def test_places_and_levels_agree(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert onboard(folder, "--name", "new", "--ask", "0") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[2:] if line.strip()]
    levels = [float(line[2]) for line in lines]
    assert levels == sorted(levels, reverse=True)
    assert np.mean(
        [level for level, line in zip(levels, lines, strict=True) if line[1] != "new"]
    ) == (pytest.approx(0.0, abs=0.02))
