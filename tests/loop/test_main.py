import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.loop.worlds import MODELS, World, config_of

from triskele.cli import main
from triskele.serve.routing.capability_table import Shelf


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = config_of(tmp_path)
    world = World(np.random.default_rng(1), now=1.7e9)
    world.serve(config.journal, 800)
    return tmp_path


def loop(folder: Path, *words: str) -> int:
    return main(["loop", "--capability", str(folder / "capability"), *words])


def test_one_turn_publishes_and_says_so_in_a_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--journal", str(folder / "journal"), "--half-life", "5000d", "--seed", "0"]
    assert loop(folder, *words, "--embedder", "hashed-words:64") == 0
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert re.match(r"....-..-.. ..:..:..Z published version 1: better: ", said)
    assert Shelf(folder / "capability").versions() == [1]
    assert loop(folder, "--status") == 0
    said = capsys.readouterr().out
    assert "version 1 is current" in said
    assert all(model in said for model in MODELS)
    assert loop(folder, "--rollback") == 1
    assert "no version before 1" in capsys.readouterr().err
    assert loop(folder, "--rollback", "1") == 0
    assert "back to version 1" in capsys.readouterr().out
    assert loop(folder, "--release") == 0
    assert "released" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected --journal"),
        (["--journal", "none"], "none: No such file"),
        (["--journal", ".", "--prices", "none.toml"], "file of prices"),
        (["--journal", ".", "--embedder", "bert"], "hashed-words:"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert loop(tmp_path, *words) == 1
    error = capsys.readouterr().err
    assert error.startswith("triskele loop: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("words", [["--every", "soon"], ["--half-life", "0d"]])
def test_times_that_are_none_are_not_understood(tmp_path: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        loop(tmp_path, *words)
    assert ended.value.code == 2


def test_it_turns_again_and_again_over_errors_and_ends_cleanly(folder: Path) -> None:
    command = [
        sys.executable, "-m", "triskele.loop", "--journal", str(folder / "journal"),
        "--capability", str(folder / "capability"), "--every", "0.1s", "--half-life", "5000d",
        "--embedder", "hashed-words:64", "--prices", str(folder / "prices.json"),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert "a turn failed" in first
        (folder / "prices.json").write_text('{"coder": 1}')
        for line in process.stdout:
            if "published version 1" in line:
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
    assert process.returncode == 0
    assert "Traceback" not in rest
    assert Shelf(folder / "capability").versions() == [1]
