"""What every Workload must do: tell the same story every time, in order, in whole pages."""

import heapq
from pathlib import Path

from triskele.serve.cache.radix import HASH_BYTES
from triskele.serve.simulate.workload import Job, Workload


def play(workload: Workload, *, latency: float = 0.5) -> list[Job]:
    """Return all jobs by time, where every answer takes ``latency`` seconds."""
    waiting = [(job.at, number, job) for number, job in enumerate(workload.arrivals())]
    heapq.heapify(waiting)
    served: list[Job] = []
    while waiting:
        now, _, job = heapq.heappop(waiting)
        served.append(job)
        following = workload.follow_up(job, now + latency)
        if following is not None:
            assert following.at >= now + latency
            heapq.heappush(waiting, (following.at, workload.n_jobs + len(served), following))
    return served


class WorkloadContract:
    def make(self, folder: Path) -> Workload:
        raise NotImplementedError

    def test_it_is_the_same_every_time_it_is_begun(self, tmp_path: Path) -> None:
        workload = self.make(tmp_path)
        assert play(workload) == play(workload)
        assert play(workload) == play(self.make(tmp_path))
        half_read = workload.arrivals()
        next(half_read)
        assert list(workload.arrivals()) == list(workload.arrivals())

    def test_jobs_arrive_in_order_of_time(self, tmp_path: Path) -> None:
        times = [job.at for job in self.make(tmp_path).arrivals()]
        assert times == sorted(times)
        assert times[0] >= 0

    def test_it_holds_as_many_jobs_as_it_says_each_with_an_id_of_its_own(
        self, tmp_path: Path
    ) -> None:
        workload = self.make(tmp_path)
        assert len({job.id for job in play(workload)}) == len(play(workload)) == workload.n_jobs

    def test_keys_are_the_whole_pages_of_prompt_and_answer(self, tmp_path: Path) -> None:
        workload = self.make(tmp_path)
        for job in play(workload):
            assert job.n_prompt >= 1
            assert job.n_output >= 1
            assert len(job.key) == job.n_prompt // workload.page_size * HASH_BYTES
            n_after = (job.n_prompt + job.n_output) // workload.page_size
            assert len(job.key_after) == n_after * HASH_BYTES
            assert job.key_after.startswith(job.key)

    def test_a_page_stands_for_itself_and_all_before_it(self, tmp_path: Path) -> None:
        above: dict[bytes, bytes] = {}
        for job in play(self.make(tmp_path)):
            pages = [
                job.key_after[at : at + HASH_BYTES]
                for at in range(0, len(job.key_after), HASH_BYTES)
            ]
            for before, page in zip([b"", *pages], pages, strict=False):
                assert above.setdefault(page, before) == before

    def test_a_follow_up_goes_on_where_prompt_and_answer_ended(self, tmp_path: Path) -> None:
        workload = self.make(tmp_path)
        for job in play(workload):
            following = workload.follow_up(job, 99.0)
            if following is not None:
                assert following.key.startswith(job.key_after)
                assert following.n_prompt > job.n_prompt + job.n_output
                assert following.session == job.session is not None
