import random

import pytest

from triskele.serve.cache import PrefixCache, hash_key
from triskele.serve.cache.named import EVICTIONS


@pytest.mark.parametrize("name", EVICTIONS)
def test_every_name_makes_a_policy_that_keeps_a_cache_within_its_capacity(name: str) -> None:
    cache = PrefixCache(3, EVICTIONS[name](3, random.Random(0)))
    for page in range(10):
        cache.insert(hash_key([page, page + 100]))
        cache.check()
    assert cache.n_pages == 3
