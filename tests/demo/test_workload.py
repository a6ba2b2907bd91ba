from itertools import pairwise

import pytest
from tests.demo.small_demo import SCALE

from triskele.demo.config import Traffic
from triskele.demo.domains import Domain
from triskele.demo.workload import workloads
from triskele.model import train_tokenizer

TRAFFIC = SCALE.traffic


def domain(name: str, n_documents: int = 12) -> Domain:
    documents = tuple(
        "".join(f"{name} {number} has line {line} of it.\n" for line in range(30))
        for number in range(n_documents)
    )
    return Domain(name, name, documents, documents)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(domain("code").training, vocab_size=400)


@pytest.fixture(scope="module")
def halves(tokenizer):
    return workloads([domain("code"), domain("english")], tokenizer, TRAFFIC, seed=0)


def test_both_halves_are_as_large_as_they_should_be(halves):
    for half in halves:
        assert [passage.domain for passage in half.passages] == ["code"] * 2 + ["english"] * 2
        assert len(half.queries) == 2 * 2 * TRAFFIC.turns


def test_no_text_is_in_both_halves(halves):
    first, second = ({passage.tokens for passage in half.passages} for half in halves)
    assert not first & second


def test_each_prompt_of_a_passage_begins_with_the_one_before(halves):
    for number in range(len(halves[0].passages)):
        own = [query for query in halves[0].queries if query.passage == number]
        own.sort(key=lambda query: query.turn)
        for earlier, later in pairwise(own):
            assert later.prompt.startswith(earlier.prompt)
            assert len(later.prompt) > len(earlier.prompt)
            assert later.at >= earlier.at


def test_prompts_end_with_a_line_where_one_ends_near(halves):
    assert all(query.prompt.endswith("\n") for query in halves[0].queries)


def test_queries_come_in_the_order_of_their_times_within_the_time_given(halves):
    times = [query.at for query in halves[0].queries]
    assert times == sorted(times)
    assert times[0] >= 0.0
    assert times[-1] <= TRAFFIC.seconds


def test_long_pauses_are_shortened_to_the_time_given(tokenizer):
    traffic = Traffic(
        passages=2, turns=2, first=32, more=16, scored=8, output=2, seconds=1.0, pause=100.0
    )
    half, _ = workloads([domain("code")], tokenizer, traffic, seed=0)
    assert max(query.at for query in half.queries) <= 1.0


def test_there_is_text_to_score_after_every_prompt(halves):
    for half in halves:
        for passage in half.passages:
            assert len(passage.cuts) == TRAFFIC.turns
            assert max(passage.cuts) + TRAFFIC.scored <= len(passage.tokens)


def test_the_same_seed_asks_the_same_and_another_something_else(tokenizer, halves):
    domains = [domain("code"), domain("english")]
    assert workloads(domains, tokenizer, TRAFFIC, seed=0) == halves
    assert workloads(domains, tokenizer, TRAFFIC, seed=1) != halves


def test_too_little_text_is_told(tokenizer):
    with pytest.raises(ValueError, match="expected text for 4 passages of code, got"):
        workloads([domain("code", 1)], tokenizer, TRAFFIC, seed=0)
