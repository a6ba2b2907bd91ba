from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.evaluate.collect.calls import entry, entry_of

from triskele.evaluate.collect.budget import Bounds
from triskele.evaluate.collect.config import AskingOptions, CollectConfig, LimitOptions
from triskele.evaluate.collect.job import begin, prepare
from triskele.evaluate.collect.judge import JUDGE_PROMPT
from triskele.evaluate.collect.ledger import Settled


def config(folder: Path, **changes: Any) -> CollectConfig:
    (folder / "p.txt").write_text("Why?\nHow?\n")
    fields: dict[str, Any] = {
        "prompts": folder / "p.txt",
        "models": ("a", "b", "c"),
        "judge": "c",
        "endpoints": ("http://a/v1",),
    }
    return CollectConfig(**{**fields, **changes})


def test_a_job_is_what_the_words_mean(tmp_path: Path) -> None:
    limits = LimitOptions(
        prices=("a=1/2", "b=0/0", "c=1/1"), max_cost=5.0, max_tokens=9, concurrency=("4", "far=64")
    )
    job = prepare(
        config(
            tmp_path,
            models=("a@own", "b@far", "c@own"),
            judge="c@own",
            endpoints=("own=http://a/v1", "far=http://b/v1"),
            limits=limits,
        )
    )
    assert job.concurrency == {"own": 4, "far": 64}
    assert job.bounds == Bounds(tokens=9, cost=5.0)
    assert len(job.comparisons) == 2 * 3
    assert job.asking.template == JUDGE_PROMPT
    assert job.backoff.n_retries == 6
    assert prepare(config(tmp_path)).concurrency == {"default": 8}


def test_the_judge_may_be_one_of_the_models_but_not_share_a_label(tmp_path: Path) -> None:
    two = {"endpoints": ("own=http://a/v1", "far=http://b/v1"), "models": ("a@own", "b@own")}
    assert prepare(config(tmp_path, **two, judge="b@own")).judge.label == "b"
    with pytest.raises(ValueError, match="another label for the judge"):
        prepare(config(tmp_path, **two, judge="b@far"))
    assert prepare(config(tmp_path, **two, judge="j=b@far")).judge.label == "j"


def test_pairs_come_from_a_file_or_are_drawn(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("model_a,model_b\na,c\n")
    job = prepare(config(tmp_path, pairs=tmp_path / "pairs.csv"))
    assert [(one.model_a, one.model_b) for one in job.comparisons] == [("a", "c")] * 2
    drawn = prepare(config(tmp_path, pairs_per_prompt=1, seed=3)).comparisons
    assert len(drawn) == 2
    assert drawn == prepare(config(tmp_path, pairs_per_prompt=1, seed=3)).comparisons


def test_a_judge_s_prompt_of_one_s_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "judge.txt"
    path.write_text("{prompt} {answer_a} {answer_b}")
    job = prepare(config(tmp_path, asking=AskingOptions(judge_prompt=path)))
    assert job.asking.template == "{prompt} {answer_a} {answer_b}"
    path.write_text("{prompt}")
    with pytest.raises(ValueError, match="in the judge's prompt"):
        prepare(config(tmp_path, asking=AskingOptions(judge_prompt=path)))
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"judge\.txt"):
        prepare(config(tmp_path, asking=AskingOptions(judge_prompt=path)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": ("a",)}, "at least 2 models"),
        ({"limits": LimitOptions(max_cost=1.0)}, "needs --prices of all, there is none of a"),
        ({"limits": LimitOptions(max_cost=-1.0)}, "--max-cost of at least 0"),
        ({"limits": LimitOptions(deadline=-1.0)}, "--deadline of at least 0"),
        ({"limits": LimitOptions(retries=-1)}, "--retries of at least 0"),
        ({"limits": LimitOptions(timeout=0.0)}, "--timeout of more than 0"),
        ({"limits": LimitOptions(concurrency=("0",))}, "at least 1 in --concurrency"),
        ({"limits": LimitOptions(concurrency=("many",))}, "at least 1 in --concurrency"),
        ({"asking": AskingOptions(answer_tokens=0)}, "--answer-tokens of at least 1"),
        ({"asking": AskingOptions(verdict_tokens=0)}, "--verdict-tokens of at least 1"),
        ({"pairs_per_prompt": 0}, "at least 1 pair"),
    ],
)
def test_what_cannot_be_is_said(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        prepare(config(tmp_path, **changes))


def test_work_is_what_the_ledger_does_not_know(tmp_path: Path) -> None:
    job = prepare(config(tmp_path, limits=LimitOptions(prices=("a=1/1",))))
    fresh = begin(job, [], Settled())
    assert (fresh.agenda.n_done, fresh.agenda.n_calls) == (0, 2 * 3 + 2 * 3 * 2)
    call = fresh.agenda.take("default")
    other = fresh.agenda.take("default")
    assert call is not None
    assert other is not None
    history = [
        entry_of(call, "text", tokens_in=600, tokens_out=400),
        entry_of(other, "", status="failed", tokens_in=0, tokens_out=0),
        entry("lost", status="lost", model="a", tokens_in=0, tokens_out=1000),
    ]
    work = begin(job, history, Settled(history))
    assert work.agenda.n_done == 2
    assert (work.budget.spent.tokens, work.budget.spent.cost) == (2000, pytest.approx(0.002))
    assert sum(line.n_known for line in work.estimate) == 2
    again = begin(replace(job, retries_failed=True), history, Settled(history))
    assert again.agenda.n_done == 1
