import json
from pathlib import Path

import pytest
from tests.contracts.workload import WorkloadContract

from triskele.serve.cache.offline import number_prefixes, unlimited_hits
from triskele.serve.cache.radix import HASH_BYTES
from triskele.serve.simulate.documents import Documents
from triskele.serve.simulate.workload import Workload

LONG = "It was a dark and stormy night. " * 10
PAIRS = [{"Q": "What was dark?", "A": "The night.", "S": []}, {"Q": "Who?", "A": {"<mask>": "x"}}]


def write(folder: Path, *entries: object) -> Path:
    path = folder / "documents.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


class TestDocuments(WorkloadContract):
    def make(self, folder: Path) -> Workload:
        other = {"context": LONG[3:], "question": "How stormy?", "answer": "Very. " * 40}
        return Documents(write(folder, {"input": LONG, "qa_pairs": PAIRS}, other), page_size=7)


def lengths(workload: Documents) -> list[tuple[int, int]]:
    return sorted((job.n_prompt, job.n_output) for job in workload.arrivals())


def test_pairs_are_a_list_or_a_list_as_python_writes_it(tmp_path: Path) -> None:
    listed = write(tmp_path, {"input": LONG, "title": "t", "qa_pairs": PAIRS, "output": "none"})
    expected = [(80 + 1, len(str(PAIRS[1]["A"])) // 4 + 1), (80 + 4, 3)]
    assert lengths(Documents(listed)) == expected
    assert lengths(Documents(write(tmp_path, {"input": LONG, "qa_pairs": repr(PAIRS)}))) == expected


def test_questions_on_one_document_share_its_whole_pages(tmp_path: Path) -> None:
    entries = [{"context": LONG, "question": f"Is it {n}?", "answer": "No."} for n in range(5)]
    workload = Documents(write(tmp_path, *entries), page_size=16)
    keys = [job.key for job in workload.arrivals()]
    assert unlimited_hits(number_prefixes(keys, HASH_BYTES)) == 4 * (80 // 16)
    assert sorted(job.id for job in workload.arrivals()) == list(range(5))


def test_where_nothing_is_asked_the_document_is_the_question(tmp_path: Path) -> None:
    entry = {"input": LONG, "qa_pairs": "none", "output": "Bad weather."}
    assert lengths(Documents(write(tmp_path, entry))) == [(80 + 1, 3)]


def test_documents_questions_and_answers_are_cut(tmp_path: Path) -> None:
    entries = [{"input": f"{n}{LONG}", "qa_pairs": PAIRS} for n in range(4)]
    path = write(tmp_path, *entries)
    workload = Documents(path, lengths=(8, 16), limit=3, questions=1, max_output=2)
    assert lengths(workload) == [(8 + 4, 2), (8 + 4, 2), (16 + 4, 2)]
    assert Documents(path).n_jobs == 8


def test_the_order_is_that_of_the_seed(tmp_path: Path) -> None:
    entries = [{"input": f"{n}{LONG}", "qa_pairs": PAIRS} for n in range(9)]
    path = write(tmp_path, *entries)
    orders = [[job.id for job in Documents(path, seed=seed).arrivals()] for seed in (0, 1)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"qa_pairs": []}, "line 2: expected a document under input or context"),
        ({"input": "x", "qa_pairs": "[{'Q': "}, "line 2: expected a list of pairs in qa_pairs"),
        ({"input": "x", "qa_pairs": "open('x')"}, "line 2: expected a list of pairs in qa_pairs"),
        ({"input": "x", "qa_pairs": "[{'A': 1}]"}, "line 2: .*missing required field `Q`"),
        ({"input": "x", "qa_pairs": [{"A": 1}]}, "line 2: .*missing required field `Q`"),
        ({"input": 5}, "line 2: Expected `str"),
    ],
)
def test_a_malformed_entry_is_named(tmp_path: Path, entry: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Documents(write(tmp_path, {"input": LONG, "qa_pairs": PAIRS}, entry))


def test_documents_that_nobody_asks_about_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one question, there is none in"):
        Documents(write(tmp_path, {"input": LONG, "qa_pairs": []}))
    with pytest.raises(ValueError, match="lengths of at least 1, got 0"):
        Documents(write(tmp_path, {"input": LONG}), lengths=(0,))
