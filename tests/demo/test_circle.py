"""The whole circle with models of no talent: that every part fits the next, and what is left."""

import json
from dataclasses import replace

import pytest
from tests.demo.small_demo import SCALE, STEPS, Watched

from triskele.demo.circle import run_demo
from triskele.demo.config import DemoConfig
from triskele.demo.rounds import POLICIES
from triskele.model import load_checkpoint
from triskele.serve.journal import read, read_feedback


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    out = tmp_path_factory.mktemp("circle") / "demo"
    watched = Watched()
    return out, watched, run_demo(DemoConfig(out=out, steps=STEPS), scale=SCALE, watcher=watched)


@pytest.mark.slow
def test_every_request_of_every_round_is_answered(turned):
    _, _, found = turned
    n = 3 * SCALE.traffic.passages * SCALE.traffic.turns
    assert tuple(each.policy for each in found.rounds) == POLICIES
    assert [len(each.answers) for each in found.rounds] == [n] * 3
    assert len(found.before.round.answers) == len(found.after.round.answers) == n
    assert {answer.reason for answer in found.before.round.answers} == {"latency"}


@pytest.mark.slow
def test_prompts_that_begin_alike_are_found_in_caches(turned):
    # One worker per model: whatever the policy, the second prompt finds the first.
    assert all(each.hit_rate > 0 for each in turned[2].rounds)


@pytest.mark.slow
def test_the_journal_has_every_prompt_and_every_pair_was_told(turned):
    out, _, found = turned
    n = len(found.workloads[0].queries)
    records = {record.id: record for record in read(out / "journal")}
    feedback = list(read_feedback(out / "journal"))
    assert len(feedback) == found.n_comparisons == 3 * n
    for said in feedback:
        better, worse = records[said.id], records[said.better_than]
        assert better.prompt == worse.prompt
        assert better.model != worse.model


@pytest.mark.slow
def test_what_was_found_is_written_as_a_page_and_as_figures(turned):
    out, _, found = turned
    assert (out / "index.html").read_text().startswith("<!doctype html>")
    assert json.loads((out / "demo.json").read_text()) == json.loads(json.dumps(found.figures()))
    for folder in found.trained.checkpoints.values():
        load_checkpoint(folder)


@pytest.mark.slow
def test_all_of_it_is_shown_while_it_happens(turned):
    stages = turned[1].stages
    for name in ("three kinds of text", "code: Muon", "requests, lbgr", "one turn of the loop"):
        assert name in stages


def test_a_folder_with_something_else_in_it_is_not_touched(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds something that is no demo"):
        run_demo(DemoConfig(out=tmp_path), scale=SCALE, watcher=Watched())
    assert (tmp_path / "models" / "thesis.txt").read_text() == "years of work"


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "demo").write_text("a file")
    with pytest.raises(ValueError, match="is a file"):
        run_demo(DemoConfig(out=tmp_path / "demo"), scale=SCALE, watcher=Watched())


def test_an_earlier_demonstration_is_replaced_even_if_the_new_one_fails(tmp_path):
    (tmp_path / "demo.json").write_text("{}")
    (tmp_path / "index.html").write_text("old")
    (tmp_path / "journal").mkdir()
    too_much = replace(SCALE, traffic=replace(SCALE.traffic, passages=100_000))
    with pytest.raises(ValueError, match="expected text for 200000 passages"):
        run_demo(DemoConfig(out=tmp_path, steps=5), scale=too_much, watcher=Watched())
    assert not (tmp_path / "index.html").exists()
    assert not (tmp_path / "journal").exists()
