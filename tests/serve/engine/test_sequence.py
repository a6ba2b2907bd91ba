from triskele.serve.cache import PrefixCache, hash_key, least_recently_used
from triskele.serve.engine.sampling import SamplingParams
from triskele.serve.engine.sequence import Sequence


def test_progress_is_counted_from_tokens() -> None:
    sequence = Sequence("a", [1, 2, 3], SamplingParams(), seed=0)
    assert (sequence.n_todo, sequence.n_answered, sequence.n_own) == (3, 0, 0)
    sequence.n_computed = 3
    sequence.tokens.append(4)
    assert (sequence.n_todo, sequence.n_answered) == (1, 1)


def test_pages_beyond_the_pin_are_its_own() -> None:
    cache = PrefixCache(9, least_recently_used())
    cache.insert(hash_key([1, 2]), [7, 8])
    sequence = Sequence("a", [1, 2, 3], SamplingParams(), seed=0)
    sequence.pin = cache.pin(hash_key([1, 2]))
    sequence.pages = [7, 8, 5]
    assert sequence.n_own == 1


def test_the_prompt_is_a_copy_and_draws_follow_the_seed() -> None:
    prompt = [1]
    one, other = (Sequence("a", prompt, SamplingParams(), seed=3) for _ in range(2))
    one.tokens.append(2)
    assert prompt == other.tokens == [1]
    assert one.draws.random() == other.draws.random()
