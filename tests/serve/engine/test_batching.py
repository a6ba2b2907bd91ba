import pytest

from triskele.serve.engine.batching import Batching, Chunk, Work
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


def test_work_counts_prompts_by_what_they_attend_to_and_answers_by_their_context() -> None:
    prompt, answer = (Sequence(id, [1] * 8, SamplingParams(), seed=0) for id in "ab")
    answer.tokens.append(2)
    chunks = [Chunk(prompt, 2, 6, 0), Chunk(answer, 8, 1, 0)]
    assert Work.of(chunks) == Work(n_tokens=7, n_attended=6 * 5.0, n_kv=8)
    assert Work.of([Chunk(prompt, 7, 1, 0)]) == Work(n_tokens=1, n_attended=7.5, n_kv=0)
    assert Work.of([]) == Work()
