import itertools
import json
import subprocess
import sys

import pytest
import torch
from tests.train.small_runs import OPTIONS, STEPS, losses, small_config, weights, write_text

from triskele.train import (
    BatchOptions,
    ModelOptions,
    Notice,
    RunFinished,
    RunStarted,
    SnapshotError,
    SnapshotOptions,
    SnapshotSaved,
    StepRecord,
    TextOptions,
    TrainingDiverged,
    TuneOptions,
    ValidationRecord,
    WatchOptions,
    pretrain,
)
from triskele.train import snapshot as snapshot_module


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture(scope="module")
def uninterrupted(text, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "uninterrupted"
    pretrain(small_config(text, out))
    return out


def of_kind(records, kind):
    return [record for record in records if isinstance(record, kind)]


def stop_after(n_steps):
    """Return a sink and a stop that ends the run after so many steps of this attempt."""
    seen = []

    def sink(record):
        if isinstance(record, StepRecord):
            seen.append(record)

    return {"sink": sink, "stop": lambda: len(seen) >= n_steps}


def test_a_run_reports_everything_in_order(text, tmp_path):
    records = []
    ticks = itertools.count(0.0, 0.5)
    config = small_config(text, tmp_path / "run")
    finished = pretrain(config, sink=records.append, clock=lambda: next(ticks))
    assert [x.step for x in of_kind(records, StepRecord)] == list(range(1, STEPS + 1))
    assert of_kind(records, ValidationRecord)[-1] == finished.validation
    assert [x.step for x in of_kind(records, SnapshotSaved)] == [4, 8, 12]
    assert len(of_kind(records, RunStarted)) == 1
    assert records[-1] is finished
    assert isinstance(finished, RunFinished)
    assert not finished.interrupted
    first = of_kind(records, StepRecord)[0]
    assert first.tokens == 4 * 16
    assert first.tokens_per_second == 4 * 16 / 0.5
    assert finished.seconds == 0.5 * (2 * STEPS + 1)
    assert first.mfu > 0.0


def test_a_run_leaves_what_it_promises(uninterrupted):
    left = {path.name for path in uninterrupted.iterdir()}
    assert left == {
        *("tokens", "snapshots", "metrics.jsonl", "checkpoint"),
        *("loss.png", "sample.txt", "run.json"),
    }
    plan = json.loads((uninterrupted / "run.json").read_text())["plan"]
    assert plan["total_steps"] == STEPS


def test_the_loss_falls(text, tmp_path):
    """The made-up text has structure; a model that learns leaves the uniform guess behind."""
    config = small_config(
        text,
        tmp_path / "run",
        steps=60,
        batch=BatchOptions(size=16, context=16),
        snapshot=SnapshotOptions(every=60),
        watch=WatchOptions(validate_every=60, sample_tokens=0, tensorboard=False),
    )
    finished = pretrain(config)
    steps = [x for x in losses(config.out) if x[0] == "step"]
    uniform = torch.log(torch.tensor(300.0)).item()
    assert steps[0][2] == pytest.approx(uniform, abs=0.2)
    assert finished.validation.loss < 0.72 * uniform
    assert finished.validation.bits_per_byte > 0.0


@pytest.mark.parametrize("optimizer", ["dynmuon", "muon", "adamw"])
def test_every_optimizer_resumes_bit_for_bit(text, tmp_path, optimizer):
    config = small_config(text, tmp_path / "whole", optimizer=optimizer)
    pretrain(config)
    halves = small_config(text, tmp_path / "halves", optimizer=optimizer)
    assert pretrain(halves, **stop_after(5)).interrupted
    resumed = small_config(text, tmp_path / "halves", optimizer=optimizer, resume=True)
    records = []
    finished = pretrain(resumed, sink=records.append)
    assert of_kind(records, RunStarted)[0].first_step == 5
    assert not finished.interrupted
    assert losses(halves.out) == losses(config.out)
    assert weights(halves.out) == weights(config.out)


def test_accumulated_gradients_are_those_of_the_whole_batch(text, tmp_path):
    outs = []
    for micro in (4, 1):
        batch = BatchOptions(size=4, context=16, micro=micro)
        outs.append(tmp_path / f"micro-{micro}")
        pretrain(small_config(text, outs[-1], batch=batch, steps=3, optimizer="adamw"))
    for whole, parts in zip(*map(losses, outs), strict=True):
        assert whole[2] == pytest.approx(parts[2], abs=0.02)


def test_runs_with_other_seeds_differ(text, tmp_path):
    for seed in (1, 2):
        pretrain(small_config(text, tmp_path / f"{seed}", seed=seed, steps=2))
    assert losses(tmp_path / "1") != losses(tmp_path / "2")


def test_a_finished_run_is_not_overwritten(text, uninterrupted):
    with pytest.raises(ValueError, match="already holds a run; continue it with --resume"):
        pretrain(small_config(text, uninterrupted))


def test_resuming_a_finished_run_writes_its_results_anew(text, tmp_path):
    out = tmp_path / "run"
    pretrain(small_config(text, out))
    before = weights(out)
    (out / "checkpoint" / "model.safetensors").unlink()
    finished = pretrain(small_config(text, out, resume=True))
    assert weights(out) == before
    assert finished.step == STEPS
    assert finished.validation is not None


def test_resuming_without_a_snapshot_starts_from_the_beginning(text, tmp_path):
    records = []
    pretrain(small_config(text, tmp_path / "run", resume=True), sink=records.append)
    assert any("starting from the beginning" in x.text for x in of_kind(records, Notice))


def test_a_damaged_snapshot_is_passed_over_and_the_end_is_the_same(text, tmp_path, uninterrupted):
    out = tmp_path / "run"
    pretrain(small_config(text, out), **stop_after(9))
    newest = out / "snapshots" / "step-00000009" / "state.pt"
    newest.write_bytes(newest.read_bytes()[:-100])
    records = []
    pretrain(small_config(text, out, resume=True), sink=records.append)
    assert any("step-00000009 is damaged" in x.text for x in of_kind(records, Notice))
    assert of_kind(records, RunStarted)[0].first_step == 8
    assert losses(out) == losses(uninterrupted)
    assert weights(out) == weights(uninterrupted)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.5}, "lr was 0.02, is now 0.5"),
        ({"steps": 20}, "total_steps was 12, is now 20"),
        ({"batch": BatchOptions(size=8, context=16)}, "batch was 4, is now 8"),
        ({"model": ModelOptions(d_model=64, n_layers=1, n_heads=2)}, "model.d_model was 32"),
        ({"text": TextOptions(vocab_size=290, validation_share=0.1)}, "vocab_size was 300, is 290"),
        ({"optimizer": "adamw"}, "optimizer was dynmuon, is now adamw"),
    ],
)
def test_a_run_cannot_be_resumed_with_other_settings(text, uninterrupted, changes, message):
    before = weights(uninterrupted)
    with pytest.raises(ValueError, match=f"cannot be resumed with other .*{message}"):
        pretrain(small_config(text, uninterrupted, resume=True, **changes))
    assert weights(uninterrupted) == before


def test_a_run_cannot_be_resumed_on_other_text(uninterrupted, tmp_path):
    other = write_text(tmp_path / "text.txt", seed=1)
    with pytest.raises(ValueError, match="other tokens: the text has changed"):
        pretrain(small_config(other, uninterrupted, resume=True))


def test_how_often_things_are_written_may_change_on_resume(text, tmp_path, uninterrupted):
    out = tmp_path / "run"
    pretrain(small_config(text, out), **stop_after(5))
    pretrain(small_config(text, out, resume=True, snapshot=SnapshotOptions(every=3, keep=1)))
    assert weights(out) == weights(uninterrupted)


def test_a_loss_that_is_no_number_stops_the_run_before_it_is_saved(text, tmp_path):
    config = small_config(text, tmp_path / "run", lr=1e30, optimizer="adamw", steps=40)
    with pytest.raises(TrainingDiverged, match=r"at step \d+ .*try a lower --lr"):
        pretrain(config)
    for path in (config.out / "snapshots").glob("step-*"):
        model = torch.load(path / "state.pt", weights_only=True)["model"]
        assert all(bool(torch.isfinite(tensor).all()) for tensor in model.values())


def test_a_full_disk_ends_the_run_with_the_old_snapshot_intact(text, tmp_path, monkeypatch):
    config = small_config(text, tmp_path / "run")
    pretrain(config, **stop_after(5))

    def refuse(state, stream):
        stream.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshot_module.torch, "save", refuse)
    resumed = small_config(text, tmp_path / "run", resume=True)
    with pytest.raises(SnapshotError, match="No space left on device; the snapshot of step 5 is"):
        pretrain(resumed)
    monkeypatch.undo()
    records = []
    pretrain(resumed, sink=records.append)
    assert of_kind(records, RunStarted)[0].first_step == 5


def test_gradients_are_clipped_to_the_norm_that_is_asked_for(text, tmp_path):
    """AdamW hardly feels a scale, so the reported norm is that before clipping."""
    norms = []
    for clip in (None, 0.01):
        records = []
        out = tmp_path / f"{clip}"
        pretrain(small_config(text, out, steps=1, tune=TuneOptions(clip=clip)), sink=records.append)
        norms.append(of_kind(records, StepRecord)[0].grad_norm)
    assert norms[0] == norms[1] > 0.01


KILLED_RUNS = """
import os, pathlib, random, signal, sys, time
from triskele.cli import main

text, out, seed, *options = sys.argv[1:]
rng = random.Random(int(seed))
metrics = pathlib.Path(out) / "metrics.jsonl"
command = ["--data", text, "--out", out, "--compute.device", "cpu", *options]

def attempt(number, after):
    # Kill once so many bytes are logged or, with after = None, at some moment before.
    child = os.fork()
    if child == 0:
        sys.stdout = open(os.devnull, "w")
        os._exit(main(["train", *command, "--resume"]))
    before = metrics.stat().st_size if metrics.exists() else 0
    if after is None:
        time.sleep(rng.random() * 0.3)
        os.kill(child, number)
    elif number is not None:
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if metrics.exists() and metrics.stat().st_size - before > after:
                time.sleep(rng.random() * 0.02)
                os.kill(child, number)
                break
            time.sleep(0.001)
        else:
            return 0
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

statuses = [attempt(signal.SIGKILL, None), attempt(signal.SIGKILL, 300)]
for number in (signal.SIGINT, signal.SIGKILL, signal.SIGKILL, signal.SIGINT):
    statuses.append(attempt(number, rng.randrange(1, 1500)))
statuses.append(attempt(None, 0))
print(*statuses)
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_killed_again_and_again_ends_as_if_it_had_not_been(
    text, tmp_path, seed, uninterrupted
):
    """Kill -9 and Ctrl-C at random moments: the same losses, the same weights, to the bit."""
    out = tmp_path / "killed"
    done = subprocess.run(
        [sys.executable, "-c", KILLED_RUNS, text, out, str(seed), *OPTIONS],
        capture_output=True,
        text=True,
        check=True,
        env={"OMP_NUM_THREADS": str(torch.get_num_threads()), "PATH": ""},
    )
    statuses = [int(word) for word in done.stdout.split()]
    assert statuses[:2] == [-9, -9], done.stderr
    assert set(statuses) <= {-9, 130, 0}, done.stderr
    assert statuses[-1] == 0, done.stderr
    assert losses(out) == losses(uninterrupted)
    assert weights(out) == weights(uninterrupted)
