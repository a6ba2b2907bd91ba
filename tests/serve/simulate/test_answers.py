from dataclasses import dataclass
from math import ceil

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.serve.simulate.job_streams import job

from triskele.serve.simulate.answers import Answers, Run


@dataclass
class Listed:
    """One running answer, written out."""

    run: Run
    context: int
    n_left: int
    n_grown: int = 0


class AnswersMachine(RuleBasedStateMachine):
    """Any order of calls, against a list of answers that are looked at one by one."""

    @initialize(page_size=st.integers(1, 6))
    def begin(self, page_size: int) -> None:
        self.page_size = page_size
        self.answers = Answers(page_size)
        self.running: list[Listed] = []
        self.preempted: list[Run] = []
        self.n_runs = 0

    def take_up(self, run: Run) -> None:
        self.answers.add(run)
        self.running.append(Listed(run, run.n_context, run.job.n_output - run.n_answered))

    @rule(n_prompt=st.integers(1, 20), n_output=st.integers(2, 30))
    def add(self, n_prompt: int, n_output: int) -> None:
        self.n_runs += 1
        new = job(self.n_runs, 0.0, n_prompt, n_output, page_size=self.page_size)
        self.take_up(Run(new, 0.0, n_answered=1))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        n = data.draw(st.integers(1, self.answers.n_until_end()))
        for _ in range(n):
            for listed in self.running:
                listed.n_grown += listed.context % self.page_size == 0
                listed.context += 1
                listed.n_left -= 1
        ended = [listed for listed in self.running if listed.n_left == 0]
        self.running = [listed for listed in self.running if listed.n_left]
        assert self.answers.step(n) == [listed.run for listed in ended]
        for listed in ended:
            self.assert_written(listed)

    @precondition(lambda self: self.running)
    @rule()
    def remove_newest(self) -> None:
        listed = self.running.pop()
        assert self.answers.remove_newest() is listed.run
        self.assert_written(listed)
        self.preempted.append(listed.run)

    @precondition(lambda self: self.preempted)
    @rule()
    def add_what_was_removed(self) -> None:
        run = self.preempted.pop()
        # Its prompt and its answer so far were computed again, which brought the next token.
        run.n_answered += 1
        if run.n_answered < run.job.n_output:
            run.n_own = 0
            self.take_up(run)

    @rule()
    def clear(self) -> None:
        assert self.answers.clear() == [listed.run for listed in self.running]
        for listed in self.running:
            self.assert_written(listed)
        self.running = []

    def assert_written(self, listed: Listed) -> None:
        run = listed.run
        assert run.n_answered == run.job.n_output - listed.n_left
        assert run.n_context == listed.context
        assert run.n_own == listed.n_grown

    @invariant()
    def counts_are_those_of_the_list(self) -> None:
        assert len(self.answers) == len(self.running)
        assert self.answers.n_kv == sum(listed.context for listed in self.running)
        if self.running:
            n_until_end = min(listed.n_left for listed in self.running)
            assert self.answers.n_until_end() == n_until_end
        for n in range(2 * self.page_size + 2):
            assert self.answers.n_pages(n) == sum(
                self.pages(listed.context + n) - self.pages(listed.context)
                for listed in self.running
            )

    def pages(self, n_tokens: int) -> int:
        return ceil(n_tokens / self.page_size)


TestAnswers = AnswersMachine.TestCase
TestAnswers.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
