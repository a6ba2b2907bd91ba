"""The command line as a user meets it: a mistake is one line and a status, never a traceback."""

import os
import re
import resource
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
from tests.train.small_runs import OPTIONS, losses, weights, write_text

import triskele
from triskele.cli import COMMANDS, main
from triskele.train.shards import write_shard

# The option that says where a command's work goes, where that is no --out.
RESULT = {"serve": "--port", "loop": "--capability"}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture(scope="module")
def finished(text, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    assert train(text, out) == 0
    return out


def train(data, out, *more):
    """Run ``triskele train`` on little text with a little model."""
    arguments = ["--data", str(data), "--out", str(out), *OPTIONS, "--compute.device", "cpu"]
    return main(["train", *arguments, *map(str, more)])


def assert_one_line(capsys, pattern):
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert re.match(rf"triskele train: .*{pattern}", error), error
    assert "Traceback" not in error


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)
    assert main([]) == 0
    assert capsys.readouterr().out == text


def test_the_version_is_the_package_s(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"triskele {triskele.__version__}\n"


def test_an_unknown_command_is_one_line(capsys):
    assert main(["trian"]) == 2
    assert capsys.readouterr().err == (
        f"triskele: no command 'trian'; there are: {', '.join(COMMANDS)}\n"
    )


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_command_leads_to_a_function(command):
    assert callable(getattr(import_module(command.module), command.function))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_its_options(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: triskele {command}" in text
    assert RESULT.get(command, "--out") in text


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "triskele", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"triskele {triskele.__version__}\n"


def test_a_run_ends_with_its_files(finished, text, capsys):
    assert main(["train", "--data", str(text), "--out", str(finished), *OPTIONS, "--resume"]) == 0
    shown = capsys.readouterr().out
    for name in ("checkpoint", "loss.png", "sample.txt"):
        assert (finished / name).exists()
        assert name in shown


def test_options_reach_the_run(text, tmp_path):
    assert train(text, tmp_path / "run", "--steps", 2, "--optimizer", "adamw") == 0
    assert [x[1] for x in losses(tmp_path / "run") if x[0] == "step"] == [1, 2]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--lr", "fast"], "lr"),
        (["--steps", "0"], "steps must be positive"),
        (["--optimizer", "sgd"], "optimizer"),
        (["--no-such-option"], "no-such-option"),
    ],
)
def test_options_that_cannot_be_are_explained_with_status_2(text, tmp_path, capsys, options, word):
    with pytest.raises(SystemExit) as ended:
        train(text, tmp_path / "run", *options)
    assert ended.value.code == 2
    assert word in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "pattern"),
    [
        ("missing.txt", None, "does not exist"),
        ("empty.txt", b"", "is empty"),
        ("short.txt", b"too little", "is too short"),
        ("binary.txt", b"\0\1\2\3" * 100, "is not text"),
        ("folder", "folder", "holds no text files"),
        ("wrong.bin", b"\7\0\0\0" * 400, "is no token shard: expected magic 20240520"),
        ("cut.bin", "cut", "is truncated"),
    ],
)
def test_data_that_cannot_be_used_is_one_line(tmp_path, capsys, name, content, pattern):
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content == "cut":
        write_shard(path, np.arange(300), vocab_size=300)
        path.write_bytes(path.read_bytes()[:-7])
    elif content is not None:
        path.write_bytes(content)
    assert train(path, tmp_path / "run") == 1
    assert_one_line(capsys, f"{name} {pattern}")


def test_shards_with_tokens_beyond_the_vocabulary_are_one_line(tmp_path, capsys):
    path = tmp_path / "train.bin"
    write_shard(path, np.full(5000, 999), vocab_size=1000)
    assert train(path, tmp_path / "run") == 1
    assert_one_line(capsys, "the data holds token 999, the vocabulary ends at 319")


def test_a_missing_tokenizer_is_one_line(text, tmp_path, capsys):
    assert train(text, tmp_path / "run", "--text.tokenizer", tmp_path / "none.json") == 1
    assert_one_line(capsys, r"none\.json")


def test_an_output_that_cannot_be_written_is_one_line(text, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        assert train(text, out) == 1
        assert_one_line(capsys, "cannot write to .*file.*: (File exists|Not a directory)")


def test_a_run_that_is_there_is_not_overwritten(text, finished, capsys):
    assert train(text, finished) == 1
    assert_one_line(capsys, "already holds a run; continue it with --resume")


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        (["--text.vocab-size", "280"], "vocab_size was 300, is 280"),
        (["--batch.size", "8"], "batch was 4, is now 8"),
        (["--optimizer", "muon"], "optimizer was dynmuon, is now muon"),
    ],
)
def test_resuming_with_other_settings_is_one_line(text, finished, capsys, options, pattern):
    before = weights(finished)
    assert train(text, finished, "--resume", *options) == 1
    assert_one_line(capsys, f"cannot be resumed with other .*{pattern}")
    assert weights(finished) == before


def test_a_diverging_loss_is_one_line(text, tmp_path, capsys):
    options = ["--optimizer", "adamw", "--lr", "1e30", "--steps", "40"]
    assert train(text, tmp_path / "run", *options) == 1
    assert_one_line(capsys, "at step [0-9]+ .*try a lower --lr|not finite.*try a lower --lr")


def test_a_gpu_that_is_not_there_is_one_line(text, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert train(text, tmp_path / "run", "--compute.device", "cuda") == 1
    assert_one_line(capsys, "torch sees no GPU")


def test_a_full_disk_is_one_line_and_the_run_goes_on_from_the_old_snapshot(
    text, tmp_path, capsys, finished
):
    """No file may grow past a few kilobytes: the second snapshot fails in the middle."""
    out = tmp_path / "run"
    assert train(text, out, "--snapshot.every", "12", "--steps", "12", "--seed", "0") == 0
    for step in ("00000012",):
        for path in (out / "snapshots" / f"step-{step}").iterdir():
            path.unlink()
        (out / "snapshots" / f"step-{step}").rmdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    try:
        assert train(text, out, "--resume") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert_one_line(capsys, "cannot write the snapshot of step 4: File too large")
    assert train(text, out, "--resume") == 0
    assert weights(out) == weights(finished)


def test_a_full_disk_while_tokenizing_is_one_line_and_leaves_nothing_behind(text, tmp_path, capsys):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, before[1]))
    try:
        assert train(text, tmp_path / "run") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert_one_line(capsys, "File too large")
    assert list((tmp_path / "run").iterdir()) == []


def test_a_first_interrupt_before_training_ends_at_once(text, tmp_path, capsys, monkeypatch):
    def interrupt(*arguments, **options):
        os.kill(os.getpid(), 2)

    monkeypatch.setattr("triskele.train.tokens.train_tokenizer", interrupt)
    assert train(text, tmp_path / "run") == 130
    assert_one_line(capsys, "interrupted")
