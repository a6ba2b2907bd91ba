"""Importing the package or its command line must not pull in torch or anything heavy."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "tokenizers", "safetensors", "tensorboard", "transformers", "matplotlib")


@pytest.mark.parametrize("module", ["triskele", "triskele.cli", "triskele.serve.cache"])
def test_import_is_light(module: str) -> None:
    script = f"import sys, {module}; print(*sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
