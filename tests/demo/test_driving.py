import asyncio

import pytest
from tests.demo.small_demo import Gateway, listening

from triskele.demo.driving import Ask, drive


def driven(gateway, asks, on_answer=lambda answer: None):
    async def run():
        async with listening(gateway):
            return await drive(gateway.url, asks, on_answer=on_answer)

    return asyncio.run(run())


def test_answers_come_in_the_order_of_the_requests_with_their_times_and_tokens():
    gateway, heard = Gateway(), []
    asks = [Ask(f"r-{n}", 0.05 * n, "code", f"prompt {n}", 3) for n in range(4)]
    answers = driven(gateway, asks, heard.append)
    assert [answer.id for answer in answers] == ["r-0", "r-1", "r-2", "r-3"]
    assert sorted(answer.id for answer in heard) == ["r-0", "r-1", "r-2", "r-3"]
    for answer in answers:
        assert (answer.model, answer.n_prompt, answer.n_cached) == ("code", 9, 4)
        assert 0 <= answer.ttft <= answer.latency
    said = dict(gateway.asked)["r-2"]
    assert (said["prompt"], said["max_tokens"], said["stream"]) == ("prompt 2", 3, True)


def test_requests_are_sent_when_they_are_due_and_not_before():
    gateway = Gateway()
    driven(gateway, [Ask("late", 0.3, "code", "b", 1), Ask("soon", 0.0, "code", "a", 1)])
    assert [name for name, _ in gateway.asked] == ["soon", "late"]


def test_the_model_that_the_gateway_chose_is_taken_from_its_answer():
    answer = driven(Gateway(auto="english"), [Ask("r", 0.0, "auto", "x", 1)])[0]
    assert (answer.model, answer.reason) == ("english", "capability")


def test_an_answer_of_another_status_is_told():
    with pytest.raises(ValueError, match="status 503"):
        driven(Gateway(status=503), [Ask("r", 0.0, "code", "x", 1)])


def test_a_gateway_that_is_not_there_is_told():
    with pytest.raises(ValueError, match="broke off"):
        asyncio.run(
            drive("http://127.0.0.1:9", [Ask("r", 0.0, "a", "x", 1)], on_answer=lambda _: None)
        )
