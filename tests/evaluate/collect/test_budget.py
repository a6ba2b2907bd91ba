from hypothesis import given
from hypothesis import strategies as st

from triskele.evaluate.collect.budget import Bounds, Budget
from triskele.evaluate.collect.prices import Amount


def test_a_bound_may_be_reached_but_not_passed() -> None:
    budget = Budget(Bounds(tokens=10, cost=1.0), spent=Amount(4, 0.5))
    assert budget.fits(Amount(6, 0.5))
    assert not budget.fits(Amount(7, 0.1))
    assert not budget.fits(Amount(1, 0.6))
    budget.reserve(Amount(6, 0.5))
    assert not budget.fits(Amount(1, 0.0))
    budget.settle(Amount(6, 0.5), actual=Amount(2, 0.1))
    assert budget.spent == Amount(6, 0.6)
    assert budget.fits(Amount(4, 0.4))


def test_without_bounds_everything_fits() -> None:
    assert Budget(Bounds(), spent=Amount()).fits(Amount(10**12, 1e9))


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1)), max_size=50), st.data())
def test_calls_that_cost_no_more_than_reserved_never_exceed_the_bound(
    calls: list[tuple[int, float]], data: st.DataObject
) -> None:
    budget = Budget(Bounds(tokens=200), spent=Amount())
    reserved: list[tuple[Amount, Amount]] = []
    for most, share in calls:
        if budget.fits(Amount(most)):
            budget.reserve(Amount(most))
            reserved.append((Amount(most), Amount(int(share * most))))
        if reserved and data.draw(st.booleans()):
            ended, actual = reserved.pop(data.draw(st.integers(0, len(reserved) - 1)))
            budget.settle(ended, actual=actual)
        assert budget.n_reserved == len(reserved)
        assert budget.spent.tokens + sum(most.tokens for most, _ in reserved) <= 200
