import random

from hypothesis import given, settings
from hypothesis import strategies as st

from triskele.serve.cache import hash_key
from triskele.serve.cache.radix import Node
from triskele.serve.cache.reuse import ANSWER, BODY, LAST, LEFT_BEHIND, SHARED, ReuseHistory

KEYS = st.lists(st.integers(0, 2), min_size=0, max_size=7).map(tuple)


def history_of(*keys: tuple[int, ...], memory: int = 1000) -> ReuseHistory:
    history = ReuseHistory(memory, 8)
    for key in keys:
        history.observe(hash_key(key))
    return history


def runs(history: ReuseHistory, key: tuple[int, ...]) -> list[Node]:
    """Return the remembered runs of a key, from its first page on."""
    node = history._tree.descend(hash_key(key))[0]
    way = []
    while node.parent is not None:
        way.append(node)
        node = node.parent
    return way[::-1]


def test_a_request_that_brings_back_all_but_the_last_page_goes_on_with_the_conversation() -> None:
    history = history_of((1, 2, 3, 4), (9,), (1, 2, 3, 5, 6))
    body, more, last = runs(history, (1, 2, 3, 5, 6))
    assert body.past is more.past
    assert (body.past.visit.turn, body.past.since) == (2, 3)
    assert last.past is last.past.visit.waits[LAST]
    (left,) = (node for node in runs(history, (1, 2, 3, 4)) if node is not body)
    assert left.past.kind == LEFT_BEHIND


def test_a_request_that_brings_back_less_begins_anew_and_shares_what_it_brings() -> None:
    history = history_of((1, 2, 3, 4), (1, 2, 5))
    shared, own = runs(history, (1, 2, 5))
    assert shared.past.kind >= SHARED
    assert shared.past.n_uses == 2
    assert own.past.visit.turn == 1
    rest = runs(history, (1, 2, 3, 4))[1:]
    assert [node.past.visit.turn for node in rest] == [1, 1]
    assert not any(node.past.kind == LEFT_BEHIND for node in rest)


def test_a_conversation_goes_on_below_what_it_shares() -> None:
    history = history_of((1, 2, 3, 4), (1, 2, 5, 6), (1, 2, 3, 4, 7))
    shared, own, *_ = runs(history, (1, 2, 3, 4, 7))
    assert shared.past.n_uses == 3
    assert own.past.visit.turn == 2


def test_kinds_tell_first_sizes_turns_gaps_and_growths_apart() -> None:
    def kind_of(*keys: tuple[int, ...]) -> int:
        return runs(history_of(*keys), keys[-1])[0].past.kind

    others = [(n,) for n in range(100, 400)]
    talks = [
        [(1, 2)],
        [(1, 2, 3, 4)],
        [(1, 2), (1, 2, 3)],
        [(1, 2), (1, 2, 3), (1, 2, 3, 4)],
        [(1, 2), *others, (1, 2, 3)],
        [(1, 2), (1, 2, *range(3, 20))],
    ]
    assert len({kind_of(*talk) for talk in talks}) == len(talks)


def test_an_answer_is_a_part_of_its_request_and_not_a_use() -> None:
    history = history_of((1, 2, 3))
    history.extend(hash_key((1, 2, 3, 4, 5)))
    assert history.now == 1
    parts = [node.past for node in runs(history, (1, 2, 3, 4, 5))]
    assert parts == [parts[0].visit.waits[part] for part in (BODY, LAST, ANSWER)]
    history.observe(hash_key((1, 2, 3, 4, 5, 6)))
    assert runs(history, (1, 2, 3, 4, 5))[2].past.visit.turn == 2
    history.check()


def test_an_answer_that_does_not_come_back_is_left_behind() -> None:
    history = history_of((1, 2, 3))
    history.extend(hash_key((1, 2, 3, 4, 5)))
    history.observe(hash_key((1, 2, 3, 6)))
    assert runs(history, (1, 2, 3, 6))[0].past.visit.turn == 2
    assert runs(history, (1, 2, 3, 4, 5))[-1].past.kind == LEFT_BEHIND


def test_what_was_used_longest_ago_is_forgotten_first_and_the_room_kept_to() -> None:
    history = history_of((1, 2), (3, 4), (1, 2, 5), (6, 7), memory=6)
    assert history.n_pages == 5
    assert runs(history, (3, 4)) == []
    assert len(runs(history, (1, 2, 5))) == 3
    rng = random.Random(0)
    for _ in range(3000):
        history.observe(hash_key([rng.randrange(30) for _ in range(rng.randrange(1, 6))]))
        assert history.n_pages <= 6
    assert len(history._ends) <= 6
    history.check()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(KEYS, KEYS), max_size=30), st.integers(1, 40))
def test_any_order_of_requests_and_answers_keeps_the_books(
    requests: list[tuple[tuple[int, ...], tuple[int, ...]]], memory: int
) -> None:
    history = ReuseHistory(memory, 8)
    for key, answer in requests:
        history.observe(hash_key(key))
        history.check()
        history.extend(hash_key(key + answer))
        history.check()
