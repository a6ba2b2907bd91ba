import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.train.small_runs import small_config

from triskele.train.metrics import (
    Logs,
    MetricsLog,
    TensorBoardLog,
    bits_per_byte,
    perplexity,
    read_curves,
    steps_to_reach,
)
from triskele.train.ranks import Ranks
from triskele.train.records import Notice, StepRecord, ValidationRecord


def step(number, loss=2.0):
    return StepRecord(
        step=number,
        loss=loss,
        lr=0.1,
        power=None,
        grad_norm=1.0,
        tokens=number * 64,
        seconds=0.5,
        tokens_per_second=128.0,
        mfu=0.25,
    )


def validation(number, loss=2.5):
    return ValidationRecord(step=number, loss=loss, perplexity=math.exp(loss), bits_per_byte=1.0)


def write(path, records, *, after_step=0):
    log = MetricsLog(path, after_step=after_step)
    for record in records:
        log(record)
    log.close()


def test_curves_are_read_back_as_they_were_logged(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, [step(1, 3.0), step(2, 2.0), validation(2, 2.2), Notice(text="not a number")])
    curves = read_curves(path)
    assert (curves.steps, curves.losses) == ((1, 2), (3.0, 2.0))
    assert (curves.validation_steps, curves.validation_losses) == ((2,), (2.2,))


def test_what_was_logged_after_the_snapshot_is_dropped_on_resume(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, [step(1, 3.0), step(2, 2.0), validation(2), step(3, 9.0)])
    write(path, [step(3, 1.0)], after_step=2)
    assert read_curves(path).losses == (3.0, 2.0, 1.0)
    assert read_curves(path).validation_steps == (2,)


def test_a_last_line_cut_short_by_a_crash_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, [step(1), step(2)])
    path.write_text(path.read_text() + '{"kind": "step", "st')
    assert read_curves(path).steps == (1, 2)
    write(path, [step(3)], after_step=2)
    assert read_curves(path).steps == (1, 2, 3)


def test_a_new_run_starts_an_empty_log(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, [step(1)])
    write(path, [])
    assert path.read_text() == ""


def test_tensorboard_shows_the_numbers(tmp_path):
    log = TensorBoardLog(tmp_path)
    log(step(1, 3.0))
    log(validation(1, 2.5))
    log(Notice(text="not a number"))
    log.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    tags = events.Tags()["scalars"]
    assert {"train/loss", "train/lr", "speed/mfu", "validation/bits_per_byte"} <= set(tags)
    assert "train/power" not in tags
    assert events.Scalars("train/loss")[0].value == 3.0


def test_only_the_first_process_writes_but_every_sink_is_told(tmp_path):
    seen = []
    config = small_config(tmp_path / "text", tmp_path)
    ranks = Ranks(rank=1, world_size=2)
    with Logs(config, seen.append, after_step=0, ranks=ranks) as log:
        log(step(1))
    assert seen == [step(1)]
    assert list(tmp_path.iterdir()) == []


def test_a_line_holds_every_field(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, [step(1)])
    line = json.loads(path.read_text())
    assert line["kind"] == "step"
    assert line["tokens_per_second"] == 128.0


def test_bits_per_byte_of_a_uniform_guess_over_bytes_is_eight():
    assert bits_per_byte(math.log(256), 1.0) == pytest.approx(8.0)
    assert bits_per_byte(math.log(256), 4.0) == pytest.approx(2.0)
    assert bits_per_byte(1.0, None) is None


def test_perplexity_is_the_exponential_and_does_not_overflow():
    assert perplexity(math.log(50.0)) == pytest.approx(50.0)
    assert perplexity(1e4) == math.inf


@pytest.mark.parametrize(
    ("target", "expected"), [(4.0, 10.0), (3.5, 15.0), (3.0, 20.0), (2.5, 35.0), (1.9, None)]
)
def test_steps_to_a_target_are_read_off_the_straight_line_between_measurements(target, expected):
    reached = steps_to_reach((10, 20, 30, 40), (4.0, 3.0, 3.0, 2.0), target)
    assert reached == (None if expected is None else pytest.approx(expected))


@given(losses=st.lists(st.floats(0.0, 10.0), min_size=1, max_size=20), target=st.floats(0.0, 10.0))
def test_no_measurement_before_the_crossing_is_at_the_target(losses, target):
    steps = tuple(range(1, len(losses) + 1))
    reached = steps_to_reach(steps, tuple(losses), target)
    if reached is None:
        assert min(losses) > target
    else:
        assert all(x > target for s, x in zip(steps, losses, strict=True) if s < reached - 1e-9)
