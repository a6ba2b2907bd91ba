from pathlib import Path

import numpy as np
import pytest

from triskele.loop.embedding import embedder_of
from triskele.serve.routing.query_embedding import HashedWords


def test_the_name_means_what_it_means_to_the_router() -> None:
    texts = ["sort a list", "the last emperor", ""]
    found = embedder_of("hashed-words:32")(texts)
    assert found.shape == (3, 32)
    assert np.array_equal(found[0], HashedWords(32).embed(texts[0]))
    assert embedder_of("hashed-words:32")([]).shape == (0, 32)


@pytest.mark.parametrize(
    "name", ["hashed-words:", "hashed-words:-1", "hashed-words:0", "no such folder"]
)
def test_what_is_no_embedder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"hashed-words|at least one"):
        embedder_of(name)


def test_a_folder_is_opened_only_when_texts_come(tmp_path: Path) -> None:
    embed = embedder_of(str(tmp_path))
    with pytest.raises(ValueError, match="sentence"):
        embed(["text"])
