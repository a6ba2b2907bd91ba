"""What the README shows is what the claims measured, and what it links to exists."""

import re
from pathlib import Path

from benchmarks.table import END, START, with_table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_results_is_the_one_the_claims_wrote() -> None:
    assert START in README
    assert END in README
    assert with_table(README) == README, "run `python -m benchmarks.table --write`"


def test_every_relative_link_and_picture_exists() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert targets
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert missing == []
