from pathlib import Path

import pytest
from tests.contracts.workload import WorkloadContract

from triskele.serve.cache.offline import number_prefixes, unlimited_hits
from triskele.serve.cache.radix import HASH_BYTES
from triskele.serve.simulate.long_document import LongDocument
from triskele.serve.simulate.workload import Workload


class TestLongDocument(WorkloadContract):
    def make(self, folder: Path) -> Workload:
        return LongDocument(documents=5, questions=3, lengths=(50, 100), question=7, output=20)


def test_the_questions_on_a_document_share_its_whole_pages() -> None:
    workload = LongDocument(documents=6, questions=4, lengths=(100, 160), question=30)
    jobs = list(workload.arrivals())
    assert {job.n_prompt for job in jobs} == {130, 190}
    hits = unlimited_hits(number_prefixes((job.key_after for job in jobs), HASH_BYTES))
    assert hits == 3 * (4 - 1) * (100 // 16 + 160 // 16)


def test_questions_come_in_an_order_of_their_seed() -> None:
    orders = [[job.id for job in LongDocument(seed=seed).arrivals()] for seed in (0, 1)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(512 * 8))


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="questions of at least 1, got 0"):
        LongDocument(questions=0)
    with pytest.raises(ValueError, match="finite burstiness above 0"):
        LongDocument(burstiness=-1.0)
