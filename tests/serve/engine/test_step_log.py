from pathlib import Path

import pytest

from triskele.serve.engine.batching import Work
from triskele.serve.engine.step_log import COLUMNS, StepLog
from triskele.serve.simulate.cost import fit_cost


def test_the_simulator_finds_the_cost_of_steps_again(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    log = StepLog(path)
    for n in range(1, 40):
        work = Work(n * n, 7.5 * n**3, 100 * (n % 5))
        seconds = 1e-3 * (2 + 0.1 * work.n_tokens + 1e-4 * work.n_attended + 1e-3 * work.n_kv)
        log.add(work, seconds)
    log.close()
    cost = fit_cost(path)
    assert (cost.token, cost.attention, cost.cache) == pytest.approx((0.1, 1e-4, 1e-3), rel=1e-2)


def test_a_step_is_in_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    log = StepLog(path)
    log.add(Work(3, 4.5, 0), 0.0125)
    assert path.read_text() == ",".join(COLUMNS) + "\n3,4.5,0,12.500\n"
    log.close()


def test_what_was_in_the_file_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    path.write_text("old")
    StepLog(path).close()
    assert path.read_text() == ",".join(COLUMNS) + "\n"
