from pathlib import Path

import pytest
from tests.evaluate.kinds import write_votes_of_kinds

from triskele import cli


def report(*arguments: str | Path) -> int:
    return cli.main(["evaluate", "report", *map(str, arguments)])


def test_votes_become_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    votes = write_votes_of_kinds(tmp_path / "votes.jsonl")
    out = tmp_path / "report.html"
    assert report(votes, "--out", out, "--clusters", "3", "--title", "Ours & theirs") == 0
    html = out.read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    assert "<h1>Ours &amp; theirs</h1>" in html
    assert html.count("<article") == 3
    assert str(out) in capsys.readouterr().out
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.html", "votes.jsonl"]


def test_a_fit_can_report_on_later_votes(tmp_path: Path) -> None:
    votes = write_votes_of_kinds(tmp_path / "votes.jsonl")
    later = write_votes_of_kinds(tmp_path / "later.jsonl", n=60, seed=1)
    model, out = tmp_path / "model.npz", tmp_path / "report.html"
    assert cli.main(["evaluate", "fit", str(votes), "--out", str(model), "--clusters", "3"]) == 0
    assert report(later, "--model", model, "--out", out) == 0
    assert "360" in out.read_text(encoding="utf-8")


def test_the_same_command_writes_the_same_page(tmp_path: Path) -> None:
    votes = write_votes_of_kinds(tmp_path / "votes.jsonl")
    pages = []
    for _ in range(2):
        assert report(votes, "--out", tmp_path / "report.html") == 0
        pages.append((tmp_path / "report.html").read_bytes())
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    "options",
    [
        ["--out", "nowhere/report.html"],
        ["--map-queries", "0"],
        ["--model", "m.npz", "--clusters", "3"],
    ],
)
def test_options_that_cannot_be_are_explained(tmp_path: Path, options: list[str]) -> None:
    votes = write_votes_of_kinds(tmp_path / "votes.jsonl", n=3)
    with pytest.raises(SystemExit) as ended:
        report(votes, *options)
    assert ended.value.code == 2


def test_no_votes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(tmp_path / "none.jsonl", "--out", tmp_path / "report.html") == 1
    assert capsys.readouterr().err.count("\n") == 1
