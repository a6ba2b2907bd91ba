from pathlib import Path

import pytest

from triskele.loop.prices import read_prices


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.toml", 'small = 1\n"org/large" = 2.5\n'),
        ("p.toml", '[prices]\nsmall = 1\n"org/large" = 2.5\n'),
        ("p.json", '{"small": 1, "org/large": 2.5}'),
        ("p.json", '{"prices": {"small": 1, "org/large": 2.5}}'),
    ],
)
def test_prices_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_prices(tmp_path / name) == {"small": 1.0, "org/large": 2.5}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.toml", "small ="),
        ("p.json", "{"),
        ("p.json", "[1]"),
        ("p.json", '{"small": "much"}'),
        ("p.json", '{"small": -1}'),
        ("p.toml", "small = nan"),
        ("p.json", None),
    ],
)
def test_what_is_no_price_is_named(tmp_path: Path, name: str, text: str | None) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f"{name}.*price|price.*{name}"):
        read_prices(tmp_path / name)
