import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.serve.cache.policies import POLICIES
from tests.serve.engine.models import (
    CONFIG,
    assert_nothing_is_held,
    drain,
    greedy,
    tiny_engine,
)

from triskele.model import ModelConfig
from triskele.serve.cache import EvictionPolicy
from triskele.serve.engine import Batching, SamplingParams, TooLong

GREEDY = SamplingParams(temperature=0, max_tokens=8)
# Few openings and few tokens, so that prompts share pages and answers run into prompts.
PROMPTS = st.tuples(
    st.sampled_from([[], [1, 2, 1, 2], [1, 2, 1, 2, 1, 1, 2, 2], [2] * 13]),
    st.lists(st.integers(1, 2), min_size=1, max_size=9),
).map(lambda parts: parts[0] + parts[1])


class EngineMachine(RuleBasedStateMachine):
    """Requests, steps and cancellations in any order, on a cache that holds hardly two answers."""

    make: Callable[[int], EvictionPolicy]

    def __init__(self) -> None:
        super().__init__()
        self.engine = tiny_engine(
            type(self).make(10), n_pages=10, batching=Batching(n_tokens=9, n_running=3)
        )
        self.asked: dict[str, tuple[list[int], int]] = {}
        self.got: dict[str, list[int]] = {}
        self.n_asked = 0

    @rule(prompt=PROMPTS, n_tokens=st.integers(1, 16))
    def ask(self, prompt: list[int], n_tokens: int) -> None:
        self._ask(prompt, n_tokens)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), n_tokens=st.integers(1, 10))
    def ask_further(self, data: st.DataObject, n_tokens: int) -> None:
        """Continue a conversation, finished or not, from what has been said so far."""
        id = data.draw(st.sampled_from(sorted(self.asked)))
        self._ask((self.asked[id][0] + self.got[id])[:30], n_tokens)

    def _ask(self, prompt: list[int], n_tokens: int) -> None:
        id = str(self.n_asked)
        self.n_asked += 1
        params = replace(GREEDY, max_tokens=n_tokens)
        self.engine.add(id, prompt, params)
        self.asked[id], self.got[id] = (prompt, n_tokens), []

    @rule(n_steps=st.integers(1, 6))
    def step(self, n_steps: int) -> None:
        for _ in range(n_steps):
            for piece in self.engine.step():
                self.got[piece.id].append(piece.token)
                assert (piece.finish is not None) == self._is_whole(piece.id)
            self.engine.check()

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.asked)))
        assert self.engine.cancel(id) == (not self._is_whole(id))
        del self.asked[id]

    @invariant()
    def nothing_is_lost(self) -> None:
        self.engine.check()

    def teardown(self) -> None:
        for id, pieces in drain(self.engine).items():
            self.got[id] += [piece.token for piece in pieces]
        for id, (prompt, n_tokens) in self.asked.items():
            assert self.got[id] == greedy(prompt, n_tokens)
        assert_nothing_is_held(self.engine)
        tally = self.engine.tally
        assert tally.n_finished + tally.n_cancelled == self.n_asked

    def _is_whole(self, id: str) -> bool:
        return len(self.got[id]) == self.asked[id][1]


@pytest.mark.parametrize("name", POLICIES)
def test_greedy_answers_are_those_of_uncached_forward_passes(name: str) -> None:
    class Machine(EngineMachine):
        make = staticmethod(POLICIES[name])

    Machine.TestCase.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
    Machine.TestCase("runTest").runTest()


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, n_kv_heads=4, tie_embeddings=False),
        replace(CONFIG, n_kv_heads=1, qkv_bias=True),
        replace(CONFIG, d_head=6, qk_norm=True),
    ],
)
def test_every_kind_of_model_answers_as_without_an_engine(config: ModelConfig) -> None:
    engine = tiny_engine(n_pages=24, config=config, batching=Batching(n_tokens=20, n_running=5))
    rng = random.Random(1)
    prompts = {str(n): [rng.randrange(257) for _ in range(rng.randint(1, 30))] for n in range(12)}
    for id, prompt in prompts.items():
        engine.add(id, prompt, replace(GREEDY, max_tokens=20))
    answers = drain(engine)
    for id, prompt in prompts.items():
        assert [piece.token for piece in answers[id]] == greedy(prompt, 20, config)
    assert_nothing_is_held(engine)


def test_the_newest_is_preempted_when_answers_outgrow_the_pages() -> None:
    engine = tiny_engine(n_pages=8)
    for id, prompt in {"a": [1] * 8, "b": [2] * 8, "c": [3] * 7}.items():
        engine.add(id, prompt, replace(GREEDY, max_tokens=16))
    answers = drain(engine)
    assert engine.tally.n_preempted > 0
    for id, prompt in {"a": [1] * 8, "b": [2] * 8, "c": [3] * 7}.items():
        assert [piece.token for piece in answers[id]] == greedy(prompt, 16)


def test_requests_of_one_step_share_what_the_first_of_them_computes() -> None:
    engine = tiny_engine(batching=Batching(n_tokens=64, n_running=8))
    prompt = [5, 6, 7, 8, 9, 10, 11, 12, 13]
    for id in "abc":
        engine.add(id, prompt, GREEDY)
    first = engine.step()
    assert [piece.n_cached for piece in first] == [0, 8, 8]
    assert engine.tally.n_computed == 9 + 1 + 1
    assert engine.cache.n_pages == 2
    answers = drain(engine)
    assert len({tuple(p.token for p in pieces) for pieces in answers.values()}) == 1


def test_a_prompt_that_is_cached_to_its_end_is_computed_from_its_last_token() -> None:
    engine = tiny_engine()
    for n in range(2):
        engine.add("a", [5, 6, 7, 8, 9, 10, 11, 12], GREEDY)
        (piece,) = engine.step()
        assert (piece.n_prompt, piece.n_cached) == (8, 7 * n)
        tokens = [piece.token, *(p.token for p in drain(engine)["a"])]
        assert tokens == greedy([5, 6, 7, 8, 9, 10, 11, 12], 8)


def test_a_finished_answer_serves_the_next_turn_of_the_conversation() -> None:
    engine = tiny_engine()
    prompt = [5, 6, 7, 8, 9]
    engine.add("a", prompt, GREEDY)
    answer = [piece.token for piece in drain(engine)["a"]]
    engine.add("b", [*prompt, *answer, 4, 4], GREEDY)
    piece = engine.step()[0]
    assert piece.n_cached == 12  # 5 + 8 - 1 tokens were computed: three whole pages


def test_cancelling_frees_pages_at_once() -> None:
    engine = tiny_engine(n_pages=8)
    engine.add("a", [1] * 9, GREEDY)
    engine.step()
    reserved = engine.cache.n_reserved
    assert reserved > 0
    assert engine.cancel("a")
    assert_nothing_is_held(engine)
    assert not engine.cancel("a")
    assert engine.step() == []


def test_an_answer_ends_with_an_end_token_unless_it_is_ignored() -> None:
    tokens = greedy([1, 2, 3], 8)
    end = tokens[3]
    expected = tokens[: tokens.index(end) + 1]
    engine = tiny_engine(end_ids=frozenset({end}))
    engine.add("a", [1, 2, 3], GREEDY)
    engine.add("b", [1, 2, 3], replace(GREEDY, ignore_eos=True))
    engine.add("c", [1, 2, 3], replace(GREEDY, ignore_eos=True, stop_ids=frozenset({end})))
    answers = drain(engine)
    assert [piece.token for piece in answers["a"]] == expected
    assert answers["a"][-1].finish == answers["c"][-1].finish == "stop"
    assert [piece.token for piece in answers["b"]] == tokens
    assert answers["b"][-1].finish == "length"
    assert [piece.token for piece in answers["c"]] == expected


def test_a_stop_text_ends_the_answer_and_is_left_out() -> None:
    engine = tiny_engine()
    engine.add("a", [1, 2, 3], replace(GREEDY, logit_bias={ord("x"): 100}, max_tokens=20))
    engine.add(
        "b", [1, 2, 3], replace(GREEDY, logit_bias={ord("x"): 100}, max_tokens=20, stop=("xxx",))
    )
    answers = drain(engine)
    assert "".join(piece.text for piece in answers["a"]) == "x" * 20
    assert "".join(piece.text for piece in answers["b"]) == ""
    assert (len(answers["b"]), answers["b"][-1].finish) == (3, "stop")


@pytest.mark.parametrize("n_others", [0, 5])
def test_a_seed_draws_the_same_whatever_else_is_served(n_others: int) -> None:
    wanted = SamplingParams(temperature=1.0, top_p=0.9, seed=7, max_tokens=12)
    alone = tiny_engine()
    alone.add("a", [1, 2, 3], wanted)
    expected = [piece.token for piece in drain(alone)["a"]]
    engine = tiny_engine(n_pages=12)
    for n in range(n_others):
        engine.add(str(n), [n + 1] * 9, SamplingParams(max_tokens=14, top_k=5))
    engine.step()
    engine.add("a", [1, 2, 3], wanted)
    assert [piece.token for piece in drain(engine)["a"]] == expected


def test_penalties_count_what_is_in_the_answer() -> None:
    engine = tiny_engine()
    biased = replace(GREEDY, logit_bias={65: 100.0, 66: 99.0})
    engine.add("a", [1], biased)
    engine.add("b", [1], replace(biased, frequency_penalty=2.0, presence_penalty=2.0))
    answers = drain(engine)
    assert {piece.token for piece in answers["a"]} <= {65, 66}
    assert len({piece.token for piece in answers["b"]}) >= 2


def test_log_probabilities_are_those_of_the_model() -> None:
    engine = tiny_engine()
    engine.add("a", [1, 2], SamplingParams(temperature=0, max_tokens=2, logprobs=3))
    first = drain(engine)["a"][0]
    assert first.logprobs is not None
    assert first.logprobs.token == first.token == first.logprobs.top[0][0]
    assert first.logprobs.logprob == first.logprobs.top[0][1] <= 0
    assert len(first.logprobs.top) == 3


def test_what_cannot_be_served_is_refused() -> None:
    engine = tiny_engine(n_pages=8)
    assert engine.max_tokens == 32
    with pytest.raises(TooLong, match="at most 32 tokens fit, got 25 of the prompt and 8 of"):
        engine.add("a", [1] * 25, GREEDY)
    with pytest.raises(ValueError, match="at least one token, got none"):
        engine.add("a", [], GREEDY)
    for token in (-1, 257):
        with pytest.raises(ValueError, match="token ids below 257"):
            engine.add("a", [token], GREEDY)
    with pytest.raises(ValueError, match="logit_bias below 257"):
        engine.add("a", [1], replace(GREEDY, logit_bias={257: 1.0}))
    engine.add("a", [1], GREEDY)
    with pytest.raises(ValueError, match="not in use, got 'a'"):
        engine.add("a", [1], GREEDY)


def test_the_longest_sequence_that_fits_is_served() -> None:
    engine = tiny_engine(n_pages=8)
    engine.add("a", [1] * 24, GREEDY)
    assert [piece.token for piece in drain(engine)["a"]] == greedy([1] * 24, 8)


def test_after_a_failed_step_the_engine_starts_afresh() -> None:
    engine = tiny_engine()
    engine.add("a", [1] * 9, GREEDY)
    engine.add("b", [1] * 9, GREEDY)
    engine.step()
    assert sorted(engine.abort()) == ["a", "b"]
    assert engine.cache.n_free == engine.cache.capacity
    engine.add("a", [1] * 9, GREEDY)
    assert [piece.token for piece in drain(engine)["a"]] == greedy([1] * 9, 8)
