from dataclasses import replace

import pytest
import tyro
from tests.demo.small_demo import Watched
from tests.train.small_runs import STEPS, losses, small_config, write_text

from triskele.demo.training import train_side_by_side, words_of
from triskele.train import TrainConfig, pretrain


def test_words_on_a_command_line_mean_the_configuration(tmp_path):
    config = small_config(tmp_path / "text.txt", tmp_path / "run", optimizer="muon", seed=3)
    config = replace(config, watch=replace(config.watch, prompt="\ndef read("))
    assert tyro.cli(TrainConfig, args=words_of(config)) == config


def test_runs_side_by_side_come_to_what_they_would_alone(tmp_path):
    text = write_text(tmp_path / "text.txt")
    names = ("a", "b", "c")
    configs = {
        name: small_config(text, tmp_path / name / "dynmuon", seed=seed)
        for seed, name in enumerate(names)
    }
    watched = Watched()
    train_side_by_side(configs, logs=tmp_path / "logs", n_processors=2, watcher=watched)
    assert watched.stages == list(names)
    ends = {stage: done for stage, done, _ in watched.shown}
    assert ends == dict.fromkeys(names, STEPS)
    assert "val" in watched.shown[-1][2]
    alone = replace(configs["b"], out=tmp_path / "alone")
    pretrain(alone)
    theirs = [loss for *_, loss in losses(configs["b"].out)]
    assert theirs == pytest.approx([loss for *_, loss in losses(alone.out)], rel=1e-3)


def test_a_run_that_fails_is_told_in_its_own_words_and_ends_the_others(tmp_path):
    text = write_text(tmp_path / "text.txt")
    configs = {
        "long": small_config(text, tmp_path / "long" / "dynmuon", steps=100_000),
        "lost": small_config(tmp_path / "missing.txt", tmp_path / "lost" / "dynmuon"),
    }
    with pytest.raises(ValueError, match=r"lost failed: .*missing\.txt does not exist"):
        train_side_by_side(configs, logs=tmp_path / "logs", n_processors=2, watcher=Watched())
