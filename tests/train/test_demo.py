import sysconfig
from pathlib import Path

import pytest
from tests.train.small_runs import losses, write_text

from triskele.model import load_checkpoint
from triskele.train import BatchOptions, ModelOptions, RunStarted, TextOptions, demo
from triskele.train.demo import DemoConfig, run_demo, write_stdlib
from triskele.train.records import RunFinished


@pytest.fixture
def small(monkeypatch):
    """Put little text and a little model in place of the real ones."""
    monkeypatch.setattr(demo, "MODEL", ModelOptions(d_model=32, n_layers=1, n_heads=2))
    monkeypatch.setattr(demo, "TEXT", TextOptions(vocab_size=300, validation_share=0.1))
    monkeypatch.setattr(demo, "BATCH", BatchOptions(size=8, context=16))
    monkeypatch.setattr(demo, "write_stdlib", write_text)


def test_both_optimizers_train_on_the_same_batches_and_are_compared(small, tmp_path):
    records = []
    config = DemoConfig(out=tmp_path / "demo", steps=20)
    report = run_demo(config, sink=records.append)
    assert [x.optimizer for x in records if isinstance(x, RunStarted)] == ["muon", "dynmuon"]
    assert not any(isinstance(x, RunFinished) for x in records)
    muon, dynmuon = losses(config.out / "muon"), losses(config.out / "dynmuon")
    assert muon[0] == dynmuon[0], "the first batch under the same weights has the same loss"
    assert muon[-1] != dynmuon[-1]
    assert report.target == next(x[2] for x in muon if x[:2] == ("validation", 16))
    assert report.baseline.steps_to_target <= 16
    assert report.baseline.final_loss == muon[-1][2]
    if report.saving is not None:
        reached = report.contender.steps_to_target / report.baseline.steps_to_target
        assert report.saving == pytest.approx(1.0 - reached)
    assert report.plot.read_bytes().startswith(b"\x89PNG")
    load_checkpoint(report.contender.artifacts.checkpoint)
    assert report.contender.artifacts.sample.stat().st_size > 0


def test_a_second_demo_replaces_the_first_and_is_the_same(small, tmp_path):
    config = DemoConfig(out=tmp_path, steps=5)
    first = run_demo(config)
    assert run_demo(config).contender.final_loss == first.contender.final_loss


def test_a_stopped_demo_reports_nothing_and_can_start_again(small, tmp_path):
    config = DemoConfig(out=tmp_path, steps=5)
    assert run_demo(config, stop=lambda: True) is None
    assert run_demo(config) is not None


def test_a_folder_with_something_else_in_it_is_not_touched(small, tmp_path):
    (tmp_path / "muon").mkdir()
    (tmp_path / "muon" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds something that is no demo"):
        run_demo(DemoConfig(out=tmp_path))
    assert (tmp_path / "muon" / "thesis.txt").read_text() == "years of work"


def test_a_file_is_no_folder(small, tmp_path):
    (tmp_path / "demo").write_text("a file")
    with pytest.raises(ValueError, match="is a file"):
        run_demo(DemoConfig(out=tmp_path / "demo"))


def test_the_standard_library_is_written_in_a_fixed_order_without_its_tests(tmp_path):
    for name in ("a", "b"):
        write_stdlib(tmp_path / name)
    text = (tmp_path / "a").read_text()
    assert (tmp_path / "b").read_text() == text
    documents = text.split("\n<|endoftext|>\n")
    assert len(documents) > 200
    assert len(text) > 5_000_000
    argparse = Path(sysconfig.get_paths()["stdlib"]) / "argparse.py"
    assert argparse.read_text().rstrip() in documents


def test_a_python_without_sources_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(demo.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(ValueError, match="sources are not in"):
        write_stdlib(tmp_path / "corpus.txt")


def test_too_few_steps_are_refused():
    with pytest.raises(ValueError, match="steps must be at least 5, got 4"):
        DemoConfig(steps=4)
