"""Every example runs as it stands; the one for several processes runs under torchrun elsewhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
ALONE = sorted(path.name for path in EXAMPLES.glob("*.py") if path.name != "ddp_dynmuon.py")


@pytest.mark.parametrize("name", ALONE)
def test_the_example_runs_and_shows_its_last_loss(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60
