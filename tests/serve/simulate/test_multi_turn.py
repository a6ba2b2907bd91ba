from pathlib import Path

import pytest
from tests.contracts.workload import WorkloadContract, play

from triskele.serve.simulate.multi_turn import MultiTurn
from triskele.serve.simulate.workload import Workload


class TestMultiTurn(WorkloadContract):
    def make(self, folder: Path) -> Workload:
        return MultiTurn(conversations=7, turns=(1, 3), message=50, answer=9)


def test_the_published_settings_make_640_turns() -> None:
    workload = MultiTurn()
    assert workload.n_jobs == len(play(workload)) == 640
    assert len(list(workload.arrivals())) == 128


def test_prompts_grow_by_a_message_and_an_answer() -> None:
    jobs = play(MultiTurn(conversations=1, turns=(4,)))
    assert [job.n_prompt for job in jobs] == [1024, 2052, 3080, 4108]
    assert {job.n_output for job in jobs} == {4}


def test_think_times_do_not_depend_on_the_order_of_the_calls() -> None:
    workload = MultiTurn(seed=3)
    first_turns = list(workload.arrivals())
    forward = [workload.follow_up(job, 100.0) for job in first_turns]
    backward = [workload.follow_up(job, 100.0) for job in reversed(first_turns)]
    assert forward == backward[::-1]
    waits = [job.at - 100 for job in forward if job is not None]
    assert len(set(waits)) == 128
    assert sum(waits) / 128 == pytest.approx(10, rel=0.3)


def test_conversations_start_at_the_rate_over_their_mean_turns() -> None:
    workload = MultiTurn(conversations=5000, rate=20.0)
    *_, last = workload.arrivals()
    assert 5000 / last.at == pytest.approx(20 / 5, rel=0.05)


def test_different_seeds_start_and_think_at_other_times() -> None:
    one, two = (play(MultiTurn(conversations=3, seed=seed)) for seed in (0, 1))
    assert not {job.at for job in one} & {job.at for job in two}


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="turns of at least 1, got 0"):
        MultiTurn(turns=())
    with pytest.raises(ValueError, match="think of at least 0, got -1"):
        MultiTurn(think=-1.0)
