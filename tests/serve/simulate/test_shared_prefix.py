from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contracts.workload import WorkloadContract

from triskele.serve.cache.offline import number_prefixes, unlimited_hits
from triskele.serve.cache.radix import HASH_BYTES
from triskele.serve.simulate.shared_prefix import Order, SharedPrefix
from triskele.serve.simulate.workload import Workload


class TestSharedPrefix(WorkloadContract):
    def make(self, folder: Path) -> Workload:
        return SharedPrefix(groups=6, prompts_per_group=5, lengths=(40, 100), output=9)


def groups(workload: SharedPrefix) -> list[int]:
    return [job.id // workload.prompts_per_group for job in workload.arrivals()]


def test_the_published_settings_give_the_published_numbers() -> None:
    jobs = list(SharedPrefix().arrivals())
    requests = number_prefixes((job.key for job in jobs), HASH_BYTES)
    n_pages = sum(map(len, requests))
    assert len(jobs) == 4096
    assert sum(job.n_prompt for job in jobs) / len(jobs) == 3128
    assert unlimited_hits(requests) / n_pages == pytest.approx(0.484, abs=0.001)
    n_unique = n_pages // 2 - unlimited_hits(requests)
    assert n_unique * 16 == 200_192
    assert jobs[-1].at == pytest.approx(341, rel=0.03)


@given(
    n_groups=st.integers(1, 5),
    n_prompts=st.integers(1, 5),
    ratio=st.floats(0, 1),
    page_size=st.integers(1, 40),
)
def test_exactly_the_whole_pages_of_the_prefix_are_shared(
    n_groups: int, n_prompts: int, ratio: float, page_size: int
) -> None:
    workload = SharedPrefix(
        groups=n_groups,
        prompts_per_group=n_prompts,
        ratio=ratio,
        lengths=(30, 77),
        page_size=page_size,
    )
    keys = [job.key_after for job in workload.arrivals()]
    hits = unlimited_hits(number_prefixes(keys, HASH_BYTES))
    lengths = [(30, 77)[group % 2] for group in range(n_groups)]
    n_shared = [round(ratio * length) // page_size for length in lengths]
    assert hits == sum(n_shared) * (n_prompts - 1)


def test_grouped_goes_group_by_group_and_round_robin_takes_one_of_each() -> None:
    shape = {"groups": 3, "prompts_per_group": 2, "lengths": (20,)}
    assert groups(SharedPrefix(order="grouped", **shape)) == [0, 0, 1, 1, 2, 2]
    assert groups(SharedPrefix(order="round_robin", **shape)) == [0, 1, 2, 0, 1, 2]
    assert sorted(groups(SharedPrefix(**shape))) == [0, 0, 1, 1, 2, 2]


def test_another_seed_is_another_order_at_other_times() -> None:
    first, second = (list(SharedPrefix(groups=20, seed=seed).arrivals()) for seed in (0, 1))
    assert [job.id for job in first] != [job.id for job in second]
    assert [job.at for job in first] != [job.at for job in second]


@pytest.mark.parametrize("order", ["random", "grouped"])
def test_the_rate_moves_nothing_but_the_times(order: Order) -> None:
    slow, fast = (list(SharedPrefix(order=order, rate=rate).arrivals()) for rate in (6.0, 12.0))
    assert [job.key_after for job in slow] == [job.key_after for job in fast]
    assert [job.at for job in slow] == pytest.approx([2 * job.at for job in fast])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 0}, "groups of at least 1, got 0"),
        ({"lengths": ()}, "lengths of at least 1, got 0"),
        ({"lengths": (5, 0)}, "lengths of at least 1, got 0"),
        ({"ratio": 1.5}, "ratio from 0 to 1, got 1.5"),
        ({"rate": 0.0}, "finite rate above 0"),
        ({"seed": -1}, "seed of at least 0, got -1"),
        ({"order": "sorted"}, "expected one of .*got 'sorted'"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SharedPrefix(**options)
