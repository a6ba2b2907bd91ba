import pytest

from triskele.serve.engine.batching import Batching, Chunk
from triskele.serve.engine.sampling import SamplingParams
from triskele.serve.engine.sequence import Sequence


@pytest.mark.parametrize(("n_tokens", "n_running"), [(1, 0), (3, 4)])
def test_a_batch_that_nothing_fits_into_is_refused(n_tokens: int, n_running: int) -> None:
    with pytest.raises(ValueError, match="a token for each of them"):
        Batching(n_tokens, n_running)


def test_a_chunk_that_ends_its_sequence_is_sampled() -> None:
    sequence = Sequence("a", [1, 2, 3], SamplingParams(), seed=0)
    assert not Chunk(sequence, 0, 2, 0).is_sampled
    assert Chunk(sequence, 2, 1, 0).is_sampled
