import pytest
from hypothesis import given
from hypothesis import strategies as st

from triskele.serve.routing import Worker
from triskele.serve.routing.roster import N_ABSENT, Roster

A, B, C = Worker("a"), Worker("b"), Worker("c", 8)


@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, unique=True), max_size=8))
def test_every_name_keeps_its_slot_and_only_those_given_are_present(
    fleets: list[list[str]],
) -> None:
    roster, slots, before = Roster(), dict[str, int](), set[str]()
    for names in fleets:
        workers = tuple(Worker(name) for name in names)
        joined, left = roster.update(workers)
        assert [worker.name for worker in joined] == [n for n in names if n not in before]
        assert left == sorted(before - set(names))
        for worker in workers:
            slot = roster.slot(worker.name)
            assert slot is not None
            assert slots.setdefault(worker.name, slot) == slot
            assert roster.worker(slot) == worker
        assert [roster.names[slot] for slot in roster.present] == names
        assert roster.mask == sum(1 << slots[name] for name in names)
        before = set(names)
    assert len(roster) == len(slots)


def test_who_is_the_same_as_before_neither_joins_nor_leaves() -> None:
    roster, fleet = Roster(), [A, B]
    assert roster.update(fleet) == ([A, B], [])
    assert roster.update(fleet) == ([], [])
    assert roster.update((A, Worker("b"))) == ([], [])
    fleet.append(C)
    assert roster.update(fleet) == ([C], [])
    assert roster.update((C, B, A)) == ([], [])


def test_a_worker_with_another_cache_is_another_worker() -> None:
    roster = Roster()
    roster.update((A, B))
    larger = Worker("b", 100)
    assert roster.update((A, larger)) == ([larger], ["b"])
    assert roster.slot("b") == 1
    assert roster.worker(1) is larger


def test_after_all_have_left_everyone_comes_back() -> None:
    roster, fleet = Roster(), (A, B)
    for nobody in ((), [], ()):
        with pytest.raises(ValueError, match="at least one worker, got none"):
            roster.update(nobody)
    roster.update(fleet)
    with pytest.raises(ValueError, match="at least one worker, got none"):
        roster.update(())
    assert roster.update(fleet) == ([A, B], ["a", "b"])
    assert roster.update(fleet) == ([], [])


def test_names_of_an_earlier_time_keep_their_slots_and_are_absent() -> None:
    roster = Roster()
    roster.recall(["x", "b", "a"])
    assert roster.slot("nobody") is None
    assert roster.mask == 0
    assert roster.update((A, C)) == ([A, C], [])
    assert (roster.slot("a"), roster.slot("c"), len(roster)) == (2, 3, 4)


def test_who_has_room_is_preferred_where_there_is_one() -> None:
    roster = Roster()
    roster.update((C, A, Worker("d", 20)))
    c, a, d = roster.present.tolist()
    assert roster.fitting(8).tolist() == [c, a, d]
    assert roster.fitting(9).tolist() == [a, d]
    assert roster.fitting(21).tolist() == [a]
    roster.update((C,))
    assert roster.fitting(9).tolist() == [c]


def test_where_names_come_and_go_the_slot_longest_absent_is_reused() -> None:
    roster = Roster()
    for number in range(200):
        fleet = (A, Worker(f"pod-{number}"))
        joined, left = roster.update(fleet)
        assert joined[-1] is fleet[-1]
        # Who has just left can still be looked up.
        assert all(roster.slot(name) is not None for name in left)
        slot = roster.slot(f"pod-{number}")
        assert slot is not None
        assert roster.names[slot] == f"pod-{number}"
        assert roster.reused == ([slot] if number > N_ABSENT + 1 else [])
        assert roster.slot("a") == 0
    assert len(roster) == N_ABSENT + 3
    assert roster.slot("pod-0") is None
    # The last to leave keep theirs, also when others come at the same time.
    back = roster.slot("pod-190")
    roster.update((Worker("new"), Worker("newer"), Worker("pod-190")))
    assert roster.slot("pod-190") == back
    assert len(set(roster.present.tolist())) == 3
    assert len({roster.slot(name) for name in roster.names}) == len(roster)


def test_who_is_avoided_is_not_offered_until_the_next_who_avoids_nobody() -> None:
    roster = Roster()
    roster.update([Worker("a", 10), Worker("b", 20), Worker("c")])
    roster.avoid(["b", "nobody"])
    assert roster.present.tolist() == [0, 2]
    assert roster.mask == 0b101
    assert roster.fitting(15).tolist() == [2]
    assert roster.is_member(1)
    roster.avoid([])
    assert roster.present.tolist() == [0, 1, 2]
    roster.avoid(["a", "b", "c"])
    assert roster.present.tolist() == [0, 1, 2]
