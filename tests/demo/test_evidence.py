import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from tests.demo.small_demo import MODELS, Gateway, Watched, listening

from triskele.demo.evidence import learn, tell
from triskele.demo.fleet import Fleet
from triskele.demo.scoring import Scores
from triskele.serve.journal import Feedback, Journal, Record, append_feedback
from triskele.serve.routing.capability_table import Shelf

N_QUERIES = 150
"""Half of which is enough to tell kinds of queries apart."""
WORDS = {
    "code": "def return import class self none",
    "english": "the and returns which object argument",
    "arithmetic": "what is plus minus times exercise",
}


def told(gateway, scores, ids):
    async def run():
        async with listening(gateway):
            fleet = Fleet(gateway.url, Path(), Path())
            return await tell(fleet, scores, ids, watcher=Watched())

    return asyncio.run(run())


def test_every_pair_is_told_the_answer_of_fewer_bits_being_better():
    gateway = Gateway()
    scores = Scores(MODELS, np.array([[1.0, 3.0, 2.0], [5.0, 4.0, 6.0]]))
    ids = [["a0", "a1", "a2"], ["b0", "b1", "b2"]]
    assert told(gateway, scores, ids) == 6
    said = {(each["id"], each["better_than"]) for each in gateway.feedback}
    assert said == {
        ("a0", "a1"),
        ("a0", "a2"),
        ("a2", "a1"),
        ("b1", "b0"),
        ("b0", "b2"),
        ("b1", "b2"),
    }


def test_a_gateway_that_takes_no_feedback_is_told():
    with pytest.raises(ValueError, match="status 404"):
        told(Gateway(status=404), Scores(MODELS, np.ones((1, 3))), [["a", "b", "c"]])


def test_what_was_told_becomes_a_table_that_knows_who_is_good_at_what(tmp_path):
    rng = np.random.default_rng(0)
    journal = Journal(tmp_path / "journal")
    for number in range(N_QUERIES):
        kind = MODELS[number % 3]
        prompt = " ".join(rng.choice(WORDS[kind].split(), 12))
        for model in MODELS:
            journal.append(
                Record(
                    id=f"{number}-{model}",
                    time=1000.0 + number,
                    endpoint="/v1/completions",
                    model=model,
                    policy="lbgr",
                    status=200,
                    outcome="finished",
                    latency=0.1,
                    prompt=f"{prompt} {number}",
                )
            )
    journal.close()
    for number in range(N_QUERIES):
        own = MODELS[number % 3]
        for other in (name for name in MODELS if name != own):
            append_feedback(
                tmp_path / "journal",
                Feedback(
                    id=f"{number}-{own}",
                    time=2000.0 + number,
                    better_than=f"{number}-{other}",
                    source="anonymous",
                ),
            )
    fleet = Fleet("http://127.0.0.1:9", tmp_path / "journal", tmp_path / "capability")
    watched = Watched()
    verdict = learn(fleet, MODELS, tmp_path, now=3000.0, seed=0, watcher=watched)
    assert verdict.published, verdict.reasons
    assert "better" in watched.shown[-1][2]
    table = Shelf(tmp_path / "capability").current()
    assert table.prices.tolist() == [1.0, 1.0, 1.0]
    assert json.loads((tmp_path / "prices.json").read_text()) == dict.fromkeys(MODELS, 1.0)
