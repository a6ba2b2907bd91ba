from pathlib import Path

import pytest

from triskele.evaluate.collect.prompts import Prompt, digest_of, read_prompts


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_line_of_a_text_file_is_a_prompt_named_by_its_digest(tmp_path: Path) -> None:
    path = write(tmp_path / "p.txt", "\ufeffWhy?\n\n  How? \nWhy?\n")
    read = read_prompts(path)
    assert [prompt.text for prompt in read] == ["Why?", "How?"]
    assert [prompt.id for prompt in read] == [digest_of("Why?"), digest_of("How?")]


def test_a_table_names_its_prompts_and_their_categories(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", "question_id,prompt,category\n7,Why?,math\n8,How?,\n")
    assert read_prompts(path)[0] == Prompt("7", "Why?", "math")


def test_columns_of_other_names_are_given(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", '{"nr": 1, "id": "x", "ask": "Why?", "prompt": "no"}\n')
    assert read_prompts(path, id_column="nr", text_column="ask") == (Prompt("1", "Why?"),)


def test_no_more_are_read_than_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "p.txt", "a\nb\nc\n")
    assert [prompt.text for prompt in read_prompts(path, limit=2)] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.txt", " \n", "at least one prompt"),
        ("p.jsonl", '{"id": 1}\n', "line 1: expected a prompt in a column prompt or query"),
        ("p.jsonl", '{"id": 1, "prompt": " "}\n', "line 1: the prompt is blank"),
        (
            "p.jsonl",
            '{"id": 1, "prompt": "a"}\n{"id": "1", "prompt": "b"}\n',
            "line 2: '1' stands there already at .*line 1",
        ),
        ("p.md", "a", r"ends in \.txt, \.jsonl"),
    ],
)
def test_what_is_no_prompt_is_named(name: str, text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        read_prompts(write(tmp_path / name, text))


def test_a_given_column_has_to_be_there(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", '{"prompt": "a"}\n')
    with pytest.raises(ValueError, match="identifier in the column nr"):
        read_prompts(path, id_column="nr")


def test_a_missing_or_undecodable_text_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none at"):
        read_prompts(tmp_path / "p.txt")
    (tmp_path / "p.txt").write_bytes(b"good\n\xff\n")
    with pytest.raises(ValueError, match="line 2"):
        read_prompts(tmp_path / "p.txt")


def test_a_limit_is_at_least_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1 prompt"):
        read_prompts(tmp_path / "p.txt", limit=0)
