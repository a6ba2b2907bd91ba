"""What an answer of each model costs, as somebody wrote it down."""

import tomllib
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec


def read_prices(path: Path) -> dict[str, float]:
    """Return prices by model.

    Parameters
    ----------
    path
        A file of TOML (``.toml``) or JSON: model = price, in any one unit, at the top or under
        ``prices``.

    Raises
    ------
    ValueError
        If it is not that, or a price is negative.
    """
    try:
        content: Any
        if path.suffix == ".toml":
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        else:
            content = msgspec.json.decode(path.read_bytes())
        content = content.get("prices", content)
        prices = msgspec.convert(content, dict[str, float])
    except FileNotFoundError:
        raise ValueError(f"expected a file of prices, there is none at {path}") from None
    except (tomllib.TOMLDecodeError, msgspec.MsgspecError, UnicodeDecodeError, AttributeError) as e:
        raise ValueError(f"{path}: expected prices by model, {e}") from None
    for model, price in prices.items():
        if not (isfinite(price) and price >= 0):
            raise ValueError(f"{path}: expected a price of at least 0 for {model}, got {price}")
    return prices
