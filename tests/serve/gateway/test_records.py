"""What is kept of a request, and of what its client thinks of the answer."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.serve.gateway.openai_worker import OpenAIWorker, Served, message_of, serving
from tests.serve.http.wire import Transport

from triskele.serve.gateway import Keys, parse_keys
from triskele.serve.gateway.journey import Journey
from triskele.serve.gateway.prompt import read_prompt
from triskele.serve.gateway.records import GONE, record_of
from triskele.serve.gateway.usage import Usage
from triskele.serve.http import HttpRequest, Reply
from triskele.serve.journal import Journal, Record
from triskele.serve.journal.feedback import FILE, Feedback, read_feedback
from triskele.serve.routing.capability import Candidate, Decision

KEYS = parse_keys("ann sk-0123456789abcdef", source="test")
KEY = (b"authorization", b"Bearer sk-0123456789abcdef")
FEEDBACK = "/v1/feedback"
CHAT = "/v1/chat/completions"
ASKED = {
    "model": "m",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
    "stream": True,
    "user": "s-1",
}


def journey(*, status: int | None = 200, prompt: dict[str, Any] | None = ASKED) -> Journey:
    async def begin() -> Journey:
        request = HttpRequest("POST", CHAT, "", [])
        reply = Reply(Transport(), request, keeps_alive=True, is_old=False)
        if status is not None:
            reply.send(status, b"{}")
        one = Journey("r-1", CHAT, reply, accepted=10.0, wall=1000.0, deadline=99.0)
        if prompt is not None:
            one.prompt = read_prompt(json.dumps(prompt).encode(), endpoint=CHAT, page_size=16)
            one.model = prompt["model"]
        return one

    return asyncio.run(begin())


def record(one: Journey, *, keeps_text: bool = False) -> Record:
    return record_of(one, 12.5, policy="lbgr", keeps_text=keeps_text)


def test_a_finished_request_is_kept_with_what_was_predicted_and_what_was() -> None:
    one = journey()
    one.outcome, one.worker, one.key_name, one.n_retries = "finished", "w-0", "ann", 1
    one.predicted, one.first_event = (0.25, 2.0), 10.5
    one.usage = Usage(n_prompt=30, n_cached=16, n_output=7)
    assert record(one) == Record(
        id="r-1",
        time=1000.0,
        endpoint=CHAT,
        model="m",
        worker="w-0",
        policy="lbgr",
        key="ann",
        session="s-1",
        status=200,
        outcome="finished",
        n_retries=1,
        stream=True,
        n_prompt=30,
        n_cached=16,
        n_output=7,
        predicted_ttft=0.25,
        ttft=0.5,
        predicted_latency=2.0,
        latency=2.5,
    )


def test_text_is_kept_only_where_it_was_asked_for() -> None:
    assert (record(journey()).prompt, record(journey()).query) == (None, None)
    kept = record(journey(), keeps_text=True)
    assert kept.prompt is not None
    assert "Be brief." in kept.prompt
    assert (kept.query, kept.answer) == ("Why?", None)
    assert record(journey(prompt=None), keeps_text=True).prompt is None


@pytest.mark.parametrize(("status", "outcome"), [(200, "cancelled"), (None, "cancelled")])
def test_a_client_that_went_away_was_answered_nothing(status: int | None, outcome: str) -> None:
    one = journey(status=status)
    one.outcome = outcome
    assert (record(one).status, record(one).ttft) == (GONE, None)


def test_a_request_that_was_never_read_has_neither_model_nor_session() -> None:
    one = journey(status=400, prompt=None)
    one.outcome, one.error = "refused", "malformed body"
    kept = record(one)
    assert (kept.model, kept.session, kept.stream, kept.status) == ("", None, False, 400)
    assert (kept.worker, kept.error) == (None, "malformed body")


def test_a_request_that_was_refused_keeps_the_model_that_it_named() -> None:
    one = journey(status=404)
    one.model = ""
    assert record(one).model == "m"


def test_why_a_model_was_chosen_is_kept_as_plain_values() -> None:
    one = journey()
    one.decision = Decision("m", (Candidate("m", 0.9, 1.0, None),), 3, "capability")
    decision = record(one).decision
    assert decision is not None
    assert (decision["model"], decision["version"]) == ("m", 3)
    assert msgspec.json.decode(msgspec.json.encode(decision))["candidates"][0]["quality"] == 0.9


# Feedback, which is kept beside.


def saying(
    test: Callable[[Served], Coroutine[Any, Any, None]],
    folder: Path | None,
    keys: Keys | None = None,
) -> list[Feedback]:
    """Run a test at a gateway, and return the feedback that was kept."""

    async def run() -> None:
        journal = None if folder is None else Journal(folder)
        try:
            async with serving([OpenAIWorker()], keys=keys, journal=journal) as served:
                await test(served)
        finally:
            if journal is not None:
                await asyncio.to_thread(journal.close)

    asyncio.run(run())
    return [] if folder is None else list(read_feedback(folder))


def test_feedback_ends_up_in_the_file_with_the_name_of_the_key(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        said: dict[str, Any]
        for number, said in enumerate(
            ({"score": 0.75}, {"score": 1, "comment": "pleasant \u2603"}, {"better_than": "r-0"})
        ):
            answer = await served.ask("POST", FEEDBACK, {"id": f"r-{number + 1}", **said}, [KEY])
            assert answer.status == 201
            assert json.loads(answer.body) == {"id": f"r-{number + 1}", "object": "feedback"}

    first, second, third = saying(test, tmp_path, KEYS)
    assert (first.id, first.score, first.source, first.comment) == ("r-1", 0.75, "ann", None)
    assert (second.score, second.comment) == (1.0, "pleasant \u2603")
    assert (third.better_than, third.score) == ("r-0", None)
    assert 1.6e9 < first.time <= second.time <= third.time
    assert b"sk-" not in (tmp_path / FILE).read_bytes()


def test_without_keys_it_is_anonymous(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        assert (await served.ask("POST", FEEDBACK, {"id": "a", "score": 0})).status == 201

    (one,) = saying(test, tmp_path)
    assert one.source == "anonymous"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"id":"a"}',
        b'{"id":"","score":1}',
        b'{"id":7,"score":1}',
        b'{"id":"a","score":1.01}',
        b'{"id":"a","score":-0.01}',
        b'{"id":"a","score":"1"}',
        b'{"id":"a","score":NaN}',
        b'{"id":"a","score":1e999}',
        b'{"id":"a","better_than":""}',
        b'{"id":"a","score":1,"source":"root"}',
        b'{"id":"a","score":1,"time":1}',
        b'{"id":"a","score":1,"comment":"%b"}' % (b"x" * 2001),
        b'{"id":"%b","score":1}' % (b"x" * 201),
        b'{"id":"\xff","score":1}',
        b'{"id":"\\ud800","score":1}',
        b"[" * 5000 + b"]" * 5000,
    ],
)
def test_feedback_that_says_nothing_that_can_be_is_refused(tmp_path: Path, body: bytes) -> None:
    async def test(served: Served) -> None:
        answer = await served.ask("POST", FEEDBACK, body)
        assert answer.status == 400
        assert message_of(answer).startswith("malformed feedback: ")

    assert saying(test, tmp_path) == []


def test_no_answer_is_better_than_itself(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        answer = await served.ask("POST", FEEDBACK, {"id": "a", "better_than": "a"})
        assert answer.status == 409
        assert message_of(answer) == "no answer is better than itself"

    assert saying(test, tmp_path) == []


def test_nobody_without_a_key_says_anything(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        wrong = (b"authorization", b"Bearer sk-fedcba9876543210")
        for headers in ([], [wrong]):
            answer = await served.ask("POST", FEEDBACK, {"id": "a", "score": 1}, headers)
            assert answer.status == 401
            assert answer.header(b"www-authenticate") == b"Bearer"

    assert saying(test, tmp_path, KEYS) == []


def test_without_a_journal_no_feedback_is_taken() -> None:
    async def test(served: Served) -> None:
        answer = await served.ask("POST", FEEDBACK, {"id": "a", "score": 1})
        assert answer.status == 404
        assert json.loads(answer.body)["error"]["code"] == "no_journal"

    saying(test, None)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_feedback_is_posted(tmp_path: Path, method: str) -> None:
    async def test(served: Served) -> None:
        answer = await served.ask(method, FEEDBACK)
        assert (answer.status, answer.header(b"allow")) == (405, b"POST")

    saying(test, tmp_path)


def test_a_disk_that_takes_nothing_is_said_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).mkdir()

    async def test(served: Served) -> None:
        answer = await served.ask("POST", FEEDBACK, {"id": "a", "score": 1})
        assert answer.status == 503
        assert message_of(answer) == "the feedback could not be kept", "nor where"
        assert (await served.ask("GET", "/health")).status == 200

    async def run() -> None:
        journal = Journal(tmp_path)
        async with serving([], journal=journal) as served:
            await test(served)
        await asyncio.to_thread(journal.close)

    asyncio.run(run())
    assert caplog.messages[0].startswith("feedback is lost: ")


def test_the_id_of_an_answer_is_the_one_in_the_journal(tmp_path: Path) -> None:
    ids: list[str] = []

    async def test(served: Served) -> None:
        answer = await served.chat()
        ids.append((answer.header(b"x-request-id") or b"").decode())
        assert (await served.ask("POST", FEEDBACK, {"id": ids[0], "score": 1})).status == 201

    (one,) = saying(test, tmp_path)
    assert one.id == ids[0] != ""
