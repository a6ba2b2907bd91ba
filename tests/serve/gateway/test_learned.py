import logging
from pathlib import Path

import pytest

from triskele.serve.gateway.learned import LearnedFile

MEMORIES = [(frozenset({"a", "b"}), {"n": 1, "caches": {"0": ["00"]}}), (frozenset("c"), {})]


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "learned.json"
    LearnedFile(path).save("lbgr+lru", MEMORIES)
    assert LearnedFile(path).load("lbgr+lru") == MEMORIES
    assert [each.name for each in tmp_path.iterdir()] == ["learned.json"]


def test_where_there_is_no_file_nothing_was_learned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert LearnedFile(tmp_path / "none").load("lbgr+lru") == []
    assert caplog.records == []


def test_what_another_policy_learned_is_ignored(tmp_path: Path) -> None:
    LearnedFile(tmp_path / "f").save("lbgr+lru", MEMORIES)
    for other in ("lbgr+rlt", "lbgr-greedy+lru", "round-robin+lru"):
        assert LearnedFile(tmp_path / "f").load(other) == []


def test_a_policy_that_learns_nothing_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    LearnedFile(tmp_path / "f").save("lbgr+lru", MEMORIES)
    LearnedFile(tmp_path / "f").save("round-robin+lru", [])
    assert LearnedFile(tmp_path / "f").load("lbgr+lru") == MEMORIES


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[1]",
        b'[{"policy": "p"}]',
        b"[" * 100_000,
        b'{"my": "shopping list"}',
    ],
)
def test_a_file_that_cannot_be_read_is_reported_and_never_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    path = tmp_path / "f"
    path.write_bytes(content)
    file = LearnedFile(path)
    with caplog.at_level(logging.WARNING):
        assert file.load("lbgr+lru") == []
    assert len(caplog.records) == 1
    assert f"{path} is not taken up: " in caplog.text
    assert path.read_bytes() == content
    file.save("lbgr+lru", MEMORIES)
    file.save("lbgr+lru", MEMORIES[:1])
    assert LearnedFile(path).load("lbgr+lru") == MEMORIES[:1]
    assert path.with_name("f.unreadable").read_bytes() == content


def test_a_failed_write_is_reported_and_leaves_what_was_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "folder"
    file = LearnedFile(folder / "f")
    with caplog.at_level(logging.WARNING):
        file.save("lbgr+lru", MEMORIES)
    assert "what was learned is not saved: " in caplog.text
    folder.mkdir()
    file.save("lbgr+lru", MEMORIES)
    assert LearnedFile(folder / "f").load("lbgr+lru") == MEMORIES


def test_a_folder_in_its_place_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert LearnedFile(tmp_path).load("lbgr+lru") == []
    assert "is not taken up" in caplog.text
