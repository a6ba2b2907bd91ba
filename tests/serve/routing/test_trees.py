import numpy as np
import pytest
from tests.contracts.router import workers
from tests.serve.routing.prompts import chained, finished, pages_of, prompt

from triskele.serve.routing import Worker
from triskele.serve.routing.trees import Trees


def sent(trees: Trees, fleet: tuple[Worker, ...], *, slot: int, number: int, n: int) -> None:
    request = prompt(number, *pages_of(number, n))
    hashes, _ = trees.update(request, fleet)
    assert hashes == chained(*pages_of(number, n))
    assert trees.send(request, slot, hashes)[0] is fleet[slot]
    trees.check()


@pytest.mark.parametrize(("is_told", "n_held"), [(True, 5), (False, 30)])
def test_a_tree_has_the_capacity_of_its_worker_only_if_the_policy_is_told(
    is_told: bool, n_held: int
) -> None:
    trees = Trees(30, is_told_capacities=is_told)
    fleet = (Worker("a", 5), Worker("b", None))
    for slot in (0, 1):
        sent(trees, fleet, slot=slot, number=slot, n=40)
        assert trees.held(chained(*pages_of(slot, 40)))[slot] == (30 if slot else n_held)


def test_the_smallest_tree_is_drawn_among_equals_that_are_present() -> None:
    trees, fleet, rng = Trees(100), workers("abc"), np.random.default_rng(0)
    for slot, n in enumerate((3, 9, 3)):
        sent(trees, fleet, slot=slot, number=slot, n=n)
    assert {trees.smallest(rng) for _ in range(50)} == {0, 2}
    assert {trees.pick(rng, np.array([True, True, False])) for _ in range(50)} == {0, 1}
    assert trees.update(prompt(9), workers("ab"))[1] == [2]
    assert {trees.smallest(rng) for _ in range(50)} == {0}
    assert {trees.pick(rng, np.array([False, True, True])) for _ in range(50)} == {1}


def test_who_left_takes_its_tree_and_its_load_along() -> None:
    trees, fleet = Trees(100), workers("ab")
    sent(trees, fleet, slot=1, number=1, n=4)
    trees.update(prompt(2), workers("a"))
    assert trees.load.settle(finished(1, "b")) is None
    trees.update(prompt(3), fleet)
    assert trees.held(chained(*pages_of(1, 4))).tolist() == [0, 0]
    trees.check()


def test_events_are_passed_on_and_those_of_strangers_ignored() -> None:
    trees, hashes = Trees(100), chained(*pages_of(1, 4))
    trees.hear("a", stored=hashes)
    trees.update(prompt(1), workers("a"))
    assert trees.held(hashes).tolist() == [0]
    trees.hear("a", stored=hashes)
    trees.hear("a", removed=hashes[3:])
    assert trees.held(hashes).tolist() == [3]
    trees.hear("a", cleared=True)
    assert trees.held(hashes).tolist() == [0]
    trees.check()
