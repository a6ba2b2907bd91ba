import ast
import sys
import sysconfig
import warnings
from itertools import pairwise

import pytest

from triskele.demo import domains
from triskele.demo.domains import LONGEST, gather, modules, parted, sheets, topics


@pytest.fixture(scope="module")
def found():
    return gather(characters=400_000, seed=0)


def test_there_are_three_domains_of_about_the_length_that_is_asked_for(found):
    assert [domain.name for domain in found] == ["code", "english", "arithmetic"]
    for domain in found:
        taken = sum(map(len, (*domain.training, *domain.queries)))
        assert 400_000 <= taken <= 400_000 + LONGEST


def test_nothing_that_is_asked_about_is_learned_from(found):
    for domain in found:
        assert domain.queries
        assert not set(domain.training) & set(domain.queries)


def test_no_document_is_long(found):
    assert max(len(text) for each in found for text in each.training) <= LONGEST


def test_the_same_python_gives_the_same_texts(found):
    assert gather(characters=400_000, seed=0) == found


def test_another_seed_gives_other_exercises_and_the_same_code(found):
    other = gather(characters=400_000, seed=1)
    assert other[0] == found[0]
    assert not set(other[2].training) & set(found[2].training)


def test_docstrings_are_parted_from_code():
    source = '"""Module."""\nimport os\n\n\nclass A:\n    """Class.\n\n    More."""\n\n    x = 1\n'
    code, english = parted(source)
    assert code == "import os\n\n\nclass A:\n\n    x = 1\n"
    assert english == "Module.\n\nClass.\n\nMore."


def test_what_is_no_python_is_passed_over(tmp_path):
    (tmp_path / "good.py").write_text("x = 1\n")
    (tmp_path / "bad.py").write_text("x = = 1\n")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "left_out.py").write_text("y = 1\n")
    assert list(modules(tmp_path)) == [("x = 1\n", "")]


def test_exercises_have_the_answers_that_they_should_have():
    sheet = next(sheets(1, 3))
    words = {"plus": "+", "minus": "-", "times": "*"}
    for line in sheet.splitlines():
        what, is_, left, word, right, answer = line.split()
        assert (what, is_) == ("What", "is")
        exercise = ast.parse(f"{left} {words[word]} {right.rstrip('?')}", mode="eval")
        assert eval(compile(exercise, "sheet", "eval")) == int(answer)


def test_topics_come_in_order_and_none_is_fine(monkeypatch):
    names = list(topics())
    assert len(names) > 50
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    assert list(topics()) == []


def test_documents_are_written_with_a_separator_after_each(found, tmp_path):
    found[2].write(tmp_path / "text.txt")
    parts = (tmp_path / "text.txt").read_text().split("\n<|endoftext|>\n")
    assert parts == [*(text.rstrip() for text in found[2].training), ""]


def test_a_python_without_sources_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(domains.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(ValueError, match="sources are not in"):
        gather(characters=1000, seed=0)


def test_the_standard_library_is_read_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(modules(domains.Path(sysconfig.get_paths()["stdlib"])))) > 200


def test_sheets_differ(found):
    assert all(a != b for a, b in pairwise(found[2].training))
