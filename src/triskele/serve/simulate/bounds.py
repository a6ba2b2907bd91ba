"""What the numbers of a workload may be: raised at the border, named as the caller named them."""

import math


def require_at_least(minimum: float, **values: float) -> None:
    """Raise ``ValueError`` for the first value that is not finite or less than ``minimum``."""
    for name, value in values.items():
        if not minimum <= value < math.inf:
            raise ValueError(f"expected {name} of at least {minimum}, got {value}")


def require_positive(**values: float) -> None:
    """Raise ``ValueError`` for the first value that is not finite and above 0."""
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"expected a finite {name} above 0, got {value}")
