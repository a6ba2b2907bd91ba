import itertools

import pytest

from triskele.serve.cache import PrefixCache, hash_key
from triskele.serve.cache.named import EVICTIONS
from triskele.serve.routing import Request, Worker
from triskele.serve.routing.named import ROUTERS, Policy

WORKERS = [Worker(f"worker-{number}", 64) for number in range(4)]


@pytest.mark.parametrize(("router", "eviction"), list(itertools.product(ROUTERS, EVICTIONS)))
def test_every_pair_of_names_routes_and_evicts(router: str, eviction: str) -> None:
    policy = Policy(router, eviction)
    cache = PrefixCache(2, policy.evict(7)(2, 0))
    made = policy.route(7, page_size=16)
    for number in range(6):
        key = hash_key([number, number + 100])
        cache.insert(key)
        assert made.choose(Request(number, key, n_prompt=40), WORKERS, float(number)) in WORKERS
    cache.check()


def test_a_router_alone_takes_the_eviction_of_the_others() -> None:
    assert Policy.parse("dynamo", eviction="rlt") == Policy("dynamo", "rlt")
    assert Policy.parse("dynamo+lfu", eviction="rlt") == Policy("dynamo", "lfu")


def test_a_label_says_what_the_command_line_takes() -> None:
    assert Policy.parse(Policy("lbgr", "sieve").label, eviction="lru") == Policy("lbgr", "sieve")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fastest", "no router 'fastest'; there are: lbgr, "),
        ("lbgr+belady", "no eviction 'belady'; there are: lru, "),
        ("lbgr+", "no eviction ''"),
        ("", "no router ''"),
        ("lbgr+lru+rlt", "no eviction 'lru\\+rlt'"),
    ],
)
def test_an_unknown_name_is_refused_with_those_there_are(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Policy.parse(text, eviction="lru")


def test_policies_that_draw_draw_by_seed_and_worker() -> None:
    def victims(seed: int, number: int) -> list[int]:
        cache = PrefixCache(30, Policy("lbgr", "random").evict(seed)(30, number))
        for page in range(60):
            cache.insert(hash_key([page]))
        return [page for page in range(60) if cache.match(hash_key([page])).n_pages]

    assert victims(1, 0) == victims(1, 0)
    assert victims(1, 0) != victims(1, 1)
    assert victims(1, 0) != victims(2, 0)
