import json
import os
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from triskele import cli

TINY = ["--size", "2", "--lengths", "64", "96", "--rate", "200", "--workers", "2"]
"""64 short requests in a third of a second."""


def simulate(out: Path, line: str = "", *, tiny: bool = True) -> int:
    return cli.main(["simulate", "--out", str(out), *(TINY if tiny else ()), *line.split()])


def summary(out: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return read


def assert_one_line(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert error.startswith("triskele simulate: "), error
    assert all(word in error for word in words), error


def test_it_ends_with_a_table_and_its_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(tmp_path, "--router lbgr --eviction rlt --compare round-robin+lru random") == 0
    text = capsys.readouterr().out
    for word in (
        "lbgr",
        "round-robin",
        "random",
        "+rlt",
        "+lru",
        "TTFT",
        "64 requests",
        "summary.png",
    ):
        assert word in text
    assert "…" not in text, "nothing is cut"
    read = summary(tmp_path)
    assert [made["router"] for made in read["runs"]] == ["lbgr", "round-robin", "random"]
    files = {"summary.png", "summary.json", *(made["file"] for made in read["runs"])}
    assert {path.name for path in tmp_path.iterdir()} == files
    for made in read["runs"]:
        assert made["requests"]["n_requests"] == made["requests"]["n_finished"] == 64
        assert parquet.read_table(tmp_path / made["file"]).num_rows == 64


def test_the_same_seed_gives_the_same_figures(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert simulate(tmp_path / name, f"--eviction random --compare random --seed {seed}") == 0
    first, again, other = (summary(tmp_path / name)["runs"] for name in "abc")
    assert first == again
    assert first[0]["figures"] != other[0]["figures"]


def test_requests_that_no_worker_can_hold_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(tmp_path, "--router least-loaded --kv-tokens 80") == 0
    [made] = summary(tmp_path)["runs"]
    assert made["requests"] == {
        "n_requests": 64,
        "n_finished": 32,
        "n_rejected": 32,
        "n_failed": 0,
        "n_abandoned": 0,
    }
    rows = parquet.read_table(tmp_path / made["file"]).to_pylist()
    assert sum(row["status"] == "rejected" for row in rows) == 32
    assert " 32" in capsys.readouterr().out


def test_a_trace_is_read_and_each_of_its_lines_accounted_for(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    lines = [f"2023-11-16 18:17:0{second},48,10" for second in range(5)]
    path.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines]))
    line = f"--workload azure --trace {path} --router round-robin --speed 10"
    assert simulate(tmp_path / "out", line, tiny=False) == 0
    [made] = summary(tmp_path / "out")["runs"]
    assert made["requests"]["n_finished"] == 5


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--router fastest", ("no router 'fastest'", "lbgr", "round-robin")),
        ("--compare lbgr+belady", ("no eviction 'belady'", "sieve")),
        ("--workers 0", ("--workers of at least 1, got 0",)),
        ("--kv-tokens 8", ("room for a page of 16 tokens, got 8",)),
        ("--speed 2", ("--speed", "gsp has", "--rate")),
    ],
)
def test_what_cannot_be_is_one_line(
    line: str, words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(tmp_path / "out", f"--router random {line}") == 1
    assert_one_line(capsys, *words)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_missing_trace_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"--workload mooncake --trace {tmp_path / 'none.jsonl'}"
    assert simulate(tmp_path / "out", line, tiny=False) == 1
    assert_one_line(capsys, "none.jsonl")


def test_a_malformed_line_of_a_trace_is_named_by_its_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trace.jsonl"
    good = {"timestamp": 0, "input_length": 600, "output_length": 3, "hash_ids": [0, 1]}
    path.write_text(json.dumps(good) + '\n\n{"timestamp": 3}\n')
    assert simulate(tmp_path / "out", f"--workload mooncake --trace {path}", tiny=False) == 1
    assert_one_line(capsys, "trace.jsonl, line 3")


def test_a_folder_that_cannot_be_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert simulate(tmp_path / "file", "--router random") == 1
    assert_one_line(capsys, "file: File exists")


@pytest.mark.parametrize("number", [2, 15], ids=["Ctrl-C", "SIGTERM"])
def test_an_interruption_is_one_line_and_leaves_what_was_there(
    number: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert simulate(tmp_path, "--router random") == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    capsys.readouterr()
    monkeypatch.setattr(
        "triskele.serve.simulate.__main__.plot_results",
        lambda *arguments, **options: os.kill(os.getpid(), number),
    )
    assert simulate(tmp_path, "--router random --seed 3") == 130
    assert_one_line(capsys, "interrupted")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_options_that_are_not_understood_end_with_status_2(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        simulate(tmp_path, "--no-such-option")
    assert ended.value.code == 2
