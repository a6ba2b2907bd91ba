import subprocess
import sys
from pathlib import Path

from tests.train.small_runs import write_text

EXAMPLE = Path(__file__).parents[2] / "examples" / "pretrain_from_text.py"


def test_the_example_trains_and_writes_a_little(tmp_path):
    text = write_text(tmp_path / "text.txt", n_documents=80)
    done = subprocess.run(
        [sys.executable, EXAMPLE, text], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    losses = [float(line.split()[2]) for line in lines if line.startswith("step ")]
    assert losses[-1] < 0.8 * losses[0]
    assert "parameters over" in done.stdout
