"""Virtual environments for software that the project itself does not depend on."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.record import ROOT

PLACE = ROOT / ".cache" / "gateways"


def environment(name: str, requirements: Sequence[str]) -> Path:
    """Return the folder of an environment's programs; creates it when it is missing or another."""
    place = PLACE / name
    wanted, stated = "\n".join(requirements), place / "requirements.txt"
    if not stated.exists() or stated.read_text(encoding="utf-8") != wanted:
        print(f"installing {' '.join(requirements)}", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        pip = [place / "bin" / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *requirements], check=True)
        stated.write_text(wanted, encoding="utf-8")
    return place / "bin"
