import math

import pytest

from triskele.serve.simulate.bounds import require_at_least, require_positive


def test_what_is_within_bounds_passes() -> None:
    require_at_least(1, groups=1, prompts=7)
    require_positive(rate=1e-9)


@pytest.mark.parametrize("value", [0, -3, math.nan, math.inf])
def test_the_first_value_out_of_bounds_is_named(value: float) -> None:
    with pytest.raises(ValueError, match=f"expected groups of at least 1, got {value}"):
        require_at_least(1, prompts=1, groups=value, more=0)
    with pytest.raises(ValueError, match=f"expected a finite rate above 0, got {value}"):
        require_positive(rate=value)
