from pathlib import Path

import pytest

from triskele.evaluate.options import FitOptions


def test_embeddings_and_an_embedder_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="--embeddings or --embedder, got both"):
        FitOptions(embeddings=Path("x.npy"), embedder="tfidf")


@pytest.mark.parametrize("wrong", [{"clusters": 0}, {"seed": -1}])
def test_numbers_that_cannot_be_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        FitOptions(**wrong)  # type: ignore[arg-type]
