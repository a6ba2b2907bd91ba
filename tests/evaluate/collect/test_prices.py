import pytest

from triskele.evaluate.collect.prices import Amount, Price, amount_of, read_prices


def test_prices_are_read_by_label() -> None:
    read = read_prices(["a=0.1/0.4", "org/b:8=2/8"], ["a", "org/b:8"])
    assert read == {"a": Price(0.1, 0.4), "org/b:8": Price(2.0, 8.0)}


@pytest.mark.parametrize(
    "word", ["a", "a=1", "a=1/2/3", "=1/2", "a=x/2", "a=-1/2", "a=nan/2", "a=inf/1", "b=1/2"]
)
def test_what_is_no_price_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=r"price"):
        read_prices([word], ["a"])


def test_a_model_has_one_price() -> None:
    with pytest.raises(ValueError, match="got two"):
        read_prices(["a=1/2", "a=1/2"], ["a"])


def test_an_amount_is_tokens_and_their_cost() -> None:
    amount = amount_of("a", 1_000_000, 500_000, {"a": Price(2.0, 8.0)})
    assert amount == Amount(1_500_000, 6.0)
    assert amount_of("b", 10, 5, {}) == Amount(15, 0.0)
    assert amount + Amount(1, 1.0) - amount == Amount(1, 1.0)
