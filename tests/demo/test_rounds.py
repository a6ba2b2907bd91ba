import asyncio
from pathlib import Path

import pytest
from tests.demo.small_demo import MODELS, Gateway, Watched, listening, scores, workload

from triskele.demo.fleet import Fleet
from triskele.demo.rounds import POLICIES, Rounds


def in_rounds(gateway, do):
    """Return what ``do`` returns of rounds before a gateway."""

    async def run():
        async with listening(gateway):
            fleet = Fleet(gateway.url, Path(), Path())
            return await do(Rounds(fleet, MODELS, n_output=2, seed=0, watcher=Watched()))

    return asyncio.run(run())


def test_every_policy_gets_the_same_requests_and_the_models_take_turns():
    gateway, asked = Gateway(), workload()
    rounds, ids = in_rounds(gateway, lambda rounds: rounds.compare(asked))
    assert gateway.policies == list(POLICIES)
    assert tuple(each.policy for each in rounds) == POLICIES
    said = dict(gateway.asked)
    for place, query in enumerate(asked.queries):
        own = [said[f"{policy}-{place}"] for policy in POLICIES]
        assert {each["prompt"] for each in own} == {query.prompt}
        assert {each["model"] for each in own} == set(MODELS)
        for model, name in zip(MODELS, ids[place], strict=True):
            assert said[name]["model"] == model


def test_all_requests_about_a_passage_go_to_one_model_in_a_round():
    gateway, asked = Gateway(), workload()
    in_rounds(gateway, lambda rounds: rounds.compare(asked))
    said = dict(gateway.asked)
    for policy in POLICIES:
        models: dict[int, set[object]] = {}
        for place, query in enumerate(asked.queries):
            models.setdefault(query.passage, set()).add(said[f"{policy}-{place}"]["model"])
        assert all(len(each) == 1 for each in models.values())


def test_what_is_left_open_is_asked_of_auto_and_the_answers_say_who_it_was():
    gateway, asked = Gateway(auto="english"), workload()
    found = in_rounds(gateway, lambda rounds: rounds.choose(asked, scores(asked), "before"))
    assert {said["model"] for _, said in gateway.asked} == {"auto"}
    assert {answer.model for answer in found.round.answers} == {"english"}
    # English is right for its own queries, and for one of code.
    assert found.share_right == pytest.approx(5 / 12)


def test_warming_up_reaches_every_model():
    gateway = Gateway()
    in_rounds(gateway, lambda rounds: rounds.warm_up())
    assert {said["model"] for _, said in gateway.asked} == set(MODELS)


def test_a_policy_that_the_gateway_does_not_know_is_told():
    with pytest.raises(ValueError, match="does not route by round-robin: status 400"):
        in_rounds(Gateway(status=400), lambda rounds: rounds.compare(workload()))
