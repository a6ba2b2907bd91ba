import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from triskele.train.records import (
    Artifacts,
    Notice,
    Progress,
    RunFinished,
    RunStarted,
    SnapshotSaved,
    StepRecord,
    ValidationRecord,
)
from triskele.train.terminal import Terminal, duration

STARTED = RunStarted(
    optimizer="dynmuon",
    first_step=0,
    total_steps=100,
    n_parameters=2_000_000,
    n_train_tokens=10_000,
    n_validation_tokens=1_000,
    tokens_per_step=640,
    vocab_size=512,
    device="cpu",
    precision="bf16",
    peak_flops=1e11,
)
STEP = StepRecord(
    step=42,
    loss=3.25,
    lr=0.1,
    power=-0.2,
    grad_norm=1.0,
    tokens=640 * 42,
    seconds=0.1,
    tokens_per_second=6400.0,
    mfu=0.25,
)
VALIDATION = ValidationRecord(step=42, loss=3.5, perplexity=math.exp(3.5), bits_per_byte=1.25)
ARTIFACTS = Artifacts(
    checkpoint=Path("run/checkpoint"), plot=Path("run/loss.png"), sample=Path("run/sample.txt")
)
FINISHED = RunFinished(
    step=100,
    total_steps=100,
    interrupted=False,
    validation=VALIDATION,
    seconds=75.0,
    artifacts=ARTIFACTS,
)


def shown(*records, terminal):
    stream = io.StringIO()
    console = Console(file=stream, width=140, force_terminal=terminal, color_system=None)
    with Terminal(console) as sink:
        for record in records:
            sink(record)
    return stream.getvalue()


def test_the_live_line_shows_step_loss_validation_speed_and_mfu():
    text = shown(STARTED, VALIDATION, STEP, terminal=True)
    for figure in ("DynMuon", "42/100", "loss 3.250", "val 3.500", "6.4k tok/s", "MFU 25%"):
        assert figure in text


def test_a_file_gets_a_line_per_validation_and_no_bar():
    text = shown(STARTED, STEP, VALIDATION, terminal=False)
    assert "step 42/100: validation loss 3.5000, perplexity 33.12, 1.2500 bits per byte" in text
    assert "━" not in text


def test_the_beginning_says_what_is_trained():
    text = shown(STARTED, terminal=False)
    assert "2.00M parameters, vocabulary 512" in text
    assert "100 steps of 640 tokens; dynmuon, bf16 on cpu" in text


def test_the_end_names_the_files():
    text = shown(STARTED, FINISHED, terminal=False)
    assert "100 steps in 1:15" in text
    for path in ("run/checkpoint", "run/loss.png", "run/sample.txt"):
        assert path in text


def test_an_interrupted_run_has_no_end_to_show():
    ended = RunFinished(
        step=5,
        total_steps=100,
        interrupted=True,
        validation=None,
        seconds=1.0,
        artifacts=None,
    )
    assert shown(STARTED, terminal=False) == shown(STARTED, ended, terminal=False)


def test_stages_and_notices_are_shown_and_markup_in_them_is_plain_text():
    text = shown(
        Progress(stage="tokenizing", done=1_500_000, total=3_000_000),
        Notice(text="a [bold] folder"),
        SnapshotSaved(step=1, path=Path("snapshot")),
        terminal=True,
    )
    assert "tokenizing" in text
    assert "1.5 of 3.0 MB" in text
    assert "a [bold] folder" in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3600.0, "1:00:00"), (7325.0, "2:02:05")]
)
def test_durations_read_like_a_clock(seconds, text):
    assert duration(seconds) == text
