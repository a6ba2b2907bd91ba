import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from triskele.evaluate.embedding.cache import CachedEmbedder


class Counting:
    """Embeds a text as its length and a constant, and remembers what it was asked."""

    def __init__(self, width: int = 2, fails_at: int | None = None) -> None:
        self.seen: list[str] = []
        self.width, self.fails_at = width, fails_at

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self.fails_at is not None and len(self.seen) + len(texts) > self.fails_at:
            raise KeyboardInterrupt
        self.seen.extend(texts)
        rows = np.ones((len(texts), self.width), np.float32)
        rows[:, 0] = [len(text) for text in texts]
        return rows


def cached(folder: Path, inner: Counting, **options: object) -> CachedEmbedder:
    return CachedEmbedder(inner, folder, **{"name": "m", **options})  # type: ignore[arg-type]


def test_a_text_is_embedded_once(tmp_path: Path) -> None:
    inner = Counting()
    first = cached(tmp_path, inner).encode(["a", "bb", "a", ""])
    np.testing.assert_array_equal(first[:, 0], [1, 2, 1, 0])
    assert inner.seen == ["a", "bb", ""]
    again = cached(tmp_path, inner).encode(["ccc", "", "bb"])
    np.testing.assert_array_equal(again[:, 0], [3, 0, 2])
    assert inner.seen == ["a", "bb", "", "ccc"]


def test_an_interruption_loses_no_more_than_a_part(tmp_path: Path) -> None:
    texts = [str(number) for number in range(100)]
    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path, Counting(fails_at=75), texts_per_file=20).encode(texts)
    inner = Counting()
    rows = cached(tmp_path, inner, texts_per_file=20).encode(texts)
    assert inner.seen == texts[60:]
    np.testing.assert_array_equal(rows[:, 0], [len(text) for text in texts])


def test_a_process_that_is_killed_leaves_whole_files(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
import numpy as np
from triskele.evaluate.embedding.cache import CachedEmbedder
class Deadly:
    n = 0
    def encode(self, texts):
        self.n += 1
        if self.n == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.ones((len(texts), 2), np.float32)
CachedEmbedder(Deadly(), Path(sys.argv[1]), name="m", texts_per_file=2).encode("abcdefgh")
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -9
    inner = Counting()
    cached(tmp_path, inner).encode("abcdefgh")
    assert inner.seen == list("efgh")


def test_progress_counts_different_texts(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def note(done: int, of: int) -> None:
        seen.append((done, of))

    cached(tmp_path, Counting(), texts_per_file=2, on_progress=note).encode(["a", "b", "a", "c"])
    assert seen == [(2, 3), (3, 3)]


def test_what_was_begun_and_not_finished_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "x.partial").write_bytes(b"half")
    assert len(cached(tmp_path, Counting()).encode(["a"])) == 1


def test_models_of_different_names_share_a_folder(tmp_path: Path) -> None:
    cached(tmp_path, Counting(width=2)).encode(["a"])
    assert cached(tmp_path, Counting(width=3), name="other").encode(["a"]).shape == (1, 3)


def test_one_name_for_two_models_is_an_error(tmp_path: Path) -> None:
    cached(tmp_path, Counting(width=2)).encode(["a"])
    with pytest.raises(ValueError, match=r"vectors of one length under the name 'm', got \[2, 3\]"):
        cached(tmp_path, Counting(width=3)).encode(["a", "b"])


@pytest.mark.parametrize("damage", [b"", b"PK no archive", "cut"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: bytes | str) -> None:
    cached(tmp_path, Counting()).encode(["a", "b"])
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(file.read_bytes()[:-30] if isinstance(damage, str) else damage)
    with pytest.raises(ValueError, match=r"\.npz is damaged: delete it"):
        cached(tmp_path, Counting()).encode(["a"])


def test_no_texts_make_no_files(tmp_path: Path) -> None:
    assert cached(tmp_path / "cache", Counting()).encode([]).shape == (0, 2)
    assert not (tmp_path / "cache").exists()


def test_parts_of_no_texts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="texts_per_file of at least 1, got 0"):
        cached(tmp_path, Counting(), texts_per_file=0)


@settings(deadline=None)
@given(st.lists(st.lists(st.text(max_size=3), max_size=8), max_size=4))
def test_a_cache_changes_no_row(
    tmp_path_factory: pytest.TempPathFactory, calls: list[list[str]]
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    for texts in calls:
        rows = cached(folder, Counting(), texts_per_file=3).encode(texts)
        np.testing.assert_array_equal(rows, Counting().encode(texts))
