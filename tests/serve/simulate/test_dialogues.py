import json
from pathlib import Path

import pytest
from tests.contracts.workload import WorkloadContract, play

from triskele.serve.cache import hash_key
from triskele.serve.simulate.dialogues import Dialogues
from triskele.serve.simulate.text import TextPages
from triskele.serve.simulate.workload import Workload

SYSTEM = "You answer politely and at length. "
TALKS = [
    [("system", SYSTEM), ("human", "Who was Euler?"), ("gpt", "A mathematician. " * 9)],
    [
        ("system", SYSTEM),
        ("human", "Name a prime."),
        ("gpt", "Two."),
        ("human", "And a larger one, please"),
        ("human", "if there is one."),
        ("gpt", "Three is larger than two. " * 5),
        ("human", "Thanks!"),
    ],
    [("gpt", "Hello, how may I help?"), ("human", "Not at all.")],
]


def sharegpt(folder: Path) -> Path:
    talks = [
        {"id": str(number), "conversations": [{"from": who, "value": text} for who, text in talk]}
        for number, talk in enumerate(TALKS)
    ]
    path = folder / "sharegpt.json"
    path.write_text(json.dumps(talks, indent=1))
    return path


def ultrachat(folder: Path) -> Path:
    path = folder / "ultrachat.jsonl"
    talks = [["Why?", "Because.", "Why because?", "That is why."], ["Hm.", "Hm?", "Nothing."]]
    path.write_text(
        "".join(json.dumps({"id": str(n), "data": talk}) + "\n" for n, talk in enumerate(talks))
    )
    return path


class TestShareGpt(WorkloadContract):
    def make(self, folder: Path) -> Workload:
        return Dialogues(sharegpt(folder), page_size=3)


class TestUltraChat(WorkloadContract):
    def make(self, folder: Path) -> Workload:
        return Dialogues(ultrachat(folder), layout="ultrachat", page_size=1, max_output=2)


def test_turns_end_with_answers_and_what_nobody_answers_is_left_out(tmp_path: Path) -> None:
    workload = Dialogues(sharegpt(tmp_path))
    assert workload.n_jobs == 3
    assert len(list(workload.arrivals())) == 2


def test_lengths_are_those_of_the_text(tmp_path: Path) -> None:
    jobs = {
        job.id: job for job in play(Dialogues(sharegpt(tmp_path), characters_per_token=1))
    }.values()
    assert sorted((job.n_prompt, job.n_output) for job in jobs) == [
        (len(SYSTEM + "Name a prime."), 4),
        (len(SYSTEM + "Who was Euler?"), 17 * 9),
        (len(SYSTEM + "Name a prime.Two.And a larger one, pleaseif there is one."), 26 * 5),
    ]


def test_the_key_is_the_chained_hash_of_all_that_was_said(tmp_path: Path) -> None:
    pages = TextPages(3, 4)
    jobs = list(Dialogues(sharegpt(tmp_path), page_size=3).arrivals())
    text = "".join(pages.whole_tokens(said) for _, said in TALKS[0])
    assert jobs[0].key_after == hash_key(pages.hashes(text))
    n_system = len(pages.whole_tokens(SYSTEM)) // 12
    assert n_system == 3
    assert jobs[0].key[: n_system * 8] == jobs[1].key[: n_system * 8]
    assert jobs[0].key[n_system * 8 :][:8] != jobs[1].key[n_system * 8 :][:8]


def test_ultrachat_alternates(tmp_path: Path) -> None:
    workload = Dialogues(ultrachat(tmp_path), layout="ultrachat", characters_per_token=1)
    lengths = sorted((job.n_prompt, job.n_output) for job in play(workload))
    assert lengths == [(3, 3), (4, 8), (24, 12)]


def test_answers_and_conversations_are_limited(tmp_path: Path) -> None:
    workload = Dialogues(sharegpt(tmp_path), limit=1, max_output=4)
    (job,) = play(workload)
    assert job.n_output == 4


def test_the_pace_is_that_of_the_seed(tmp_path: Path) -> None:
    one, two = (play(Dialogues(sharegpt(tmp_path), seed=seed)) for seed in (0, 1))
    assert not {job.at for job in one} & {job.at for job in two}
    (first, *_), (slow, *_) = one, play(Dialogues(sharegpt(tmp_path), rate=6.0))
    assert slow.at == pytest.approx(2 * first.at)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"id": "x"}, "entry 2: .*missing required field `conversations`"),
        ({"conversations": [{"from": "human"}]}, "entry 2: .*missing required field `value`"),
        ({"conversations": [{"from": "human", "value": None}]}, "entry 2: Expected `str`"),
        ({"conversations": [{"from": "alien", "value": "x"}]}, "entry 2: .*got 'alien'"),
    ],
)
def test_a_malformed_entry_is_named(tmp_path: Path, entry: object, message: str) -> None:
    path = tmp_path / "talks.json"
    path.write_text(json.dumps([{"conversations": []}, entry]))
    with pytest.raises(ValueError, match=message):
        Dialogues(path)


def test_a_malformed_line_of_ultrachat_is_named(tmp_path: Path) -> None:
    path = tmp_path / "talks.jsonl"
    path.write_text('{"data": ["a", "b"]}\n{"data": ["a", 5]}\n')
    with pytest.raises(ValueError, match=r"talks.jsonl, line 2: Expected `str`, got `int`"):
        Dialogues(path, layout="ultrachat")


def test_a_file_without_answers_and_an_unknown_layout_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "talks.json"
    path.write_text(json.dumps([{"conversations": []}]))
    with pytest.raises(ValueError, match="at least one answer, there is none in"):
        Dialogues(path)
    with pytest.raises(ValueError, match=r"expected one of .*got 'alpaca'"):
        Dialogues(path, layout="alpaca")
