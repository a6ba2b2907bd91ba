import re
from pathlib import Path

import numpy as np
import pytest
from tests.evaluate.kinds import write_votes_of_kinds

from triskele import cli
from triskele.evaluate.storage import load_model


def fit(*arguments: str | Path) -> int:
    return cli.main(["evaluate", "fit", *map(str, arguments)])


def assert_one_line(capsys: pytest.CaptureFixture[str], pattern: str) -> None:
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert re.match(rf"triskele evaluate: .*{pattern}", error), error


def test_it_ends_with_leaderboard_clusters_verdict_and_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    votes = write_votes_of_kinds(tmp_path / "votes.jsonl")
    out = tmp_path / "model.npz"
    assert fit(votes, "--out", out, "--clusters", "3") == 0
    text = capsys.readouterr().out
    assert "720 comparisons of 4 models on 120 queries" in text
    for word in ("rank", "strength", "90% interval", "wins", "ada", "dan", "about", "lead"):
        assert word in text
    assert "Which model is best depends on the query" in text
    assert "±" in text
    assert str(out) in text
    model = load_model(out)
    assert model.ecc.n_clusters_ == 3
    assert model.encoder is not None


def test_where_queries_do_not_differ_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    votes = write_votes_of_kinds(tmp_path / "votes.jsonl", talent=0.0)
    assert fit(votes, "--out", tmp_path / "model.npz") == 0
    text = capsys.readouterr().out
    assert "one ranking serves all" in text
    assert "about" not in text


def test_the_same_seed_gives_the_same_model(tmp_path: Path) -> None:
    votes = write_votes_of_kinds(tmp_path / "votes.jsonl")
    for name in "ab":
        assert fit(votes, "--out", tmp_path / f"{name}.npz", "--seed", "4") == 0
    a, b = (load_model(tmp_path / f"{name}.npz").ecc for name in "ab")
    assert np.array_equal(a.profiles_, b.profiles_)


def test_embeddings_from_a_file_are_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    votes = write_votes_of_kinds(tmp_path / "votes.jsonl")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((120, 5)))
    out = tmp_path / "model.npz"
    assert fit(votes, "--out", out, "--embeddings", tmp_path / "x.npy") == 0
    assert "it knows no embedder" in capsys.readouterr().out
    assert load_model(out).ecc.n_features_in_ == 5


def test_models_that_never_met_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "votes.jsonl"
    lines = [
        f'{{"prompt": "word {n}", "model_a": "{a}", "model_b": "{b}", "winner": "model_a"}}'
        for n, (a, b) in enumerate([("p", "q"), ("r", "s")] * 3)
    ]
    path.write_text("\n".join(lines))
    assert fit(path, "--out", tmp_path / "model.npz") == 0
    text = capsys.readouterr().out
    assert "2 groups of models were never compared with each other" in text
    assert "Too few queries" in text


def test_names_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    votes = write_votes_of_kinds(tmp_path / "votes.jsonl")
    votes.write_text(votes.read_text().replace('"ada"', '"[red]\\u001b[31mada[/]"'))
    assert fit(votes, "--out", tmp_path / "model.npz") == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "[red]�[31mada[/]" in text


@pytest.mark.parametrize(
    ("name", "content", "pattern"),
    [
        ("none.jsonl", None, "there is nothing at .*none"),
        ("bad.jsonl", '{"model_a": "a", "model_b": "b", "winner": "c"}', "bad.jsonl, line 1"),
        ("empty.jsonl", "", "empty.jsonl"),
    ],
)
def test_votes_that_cannot_be_used_are_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: str | None,
    pattern: str,
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    assert fit(tmp_path / name, "--out", tmp_path / "model.npz") == 1
    assert_one_line(capsys, pattern)
    assert not (tmp_path / "model.npz").exists()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--out", "model.bin"], "model.bin"),
        (["--out", "nowhere/model.npz"], "nowhere"),
        (["--clusters", "0"], "clusters"),
        (["--embedder", "tfidf", "--embeddings", "x.npy"], "both"),
    ],
)
def test_options_that_cannot_be_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], word: str
) -> None:
    votes = write_votes_of_kinds(tmp_path / "votes.jsonl", n=3)
    with pytest.raises(SystemExit) as ended:
        fit(votes, *options)
    assert ended.value.code == 2
    assert word in capsys.readouterr().err


def test_embeddings_of_other_queries_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    votes = write_votes_of_kinds(tmp_path / "votes.jsonl", n=30)
    np.save(tmp_path / "x.npy", np.ones((29, 5)))
    out = tmp_path / "model.npz"
    assert fit(votes, "--out", out, "--embeddings", tmp_path / "x.npy") == 1
    assert_one_line(capsys, "expected 30 rows")
