import pytest

from triskele.serve.gateway.wishes import FIELDS, parse_wish
from triskele.serve.routing.capability import Preference


@pytest.mark.parametrize("name", FIELDS)
def test_a_wish_is_a_field_of_what_is_preferred(name: str) -> None:
    field, value = parse_wish(f"{name}=0.5")
    assert getattr(Preference(**{field: value}), field) == 0.5


@pytest.mark.parametrize(
    "word", ["", "margin", "=1", "explore=0.1", "margin=1.5", "margin=-1", "margin=nan", "margin=x"]
)
def test_what_cannot_be_wished_for_is_refused_without_repeating_it(word: str) -> None:
    with pytest.raises(ValueError, match=r"^expected (wishes|a margin)") as caught:
        parse_wish(f"{word}")
    assert not word or word not in str(caught.value).split(", of ")[0].split()
