"""Importing the package or its command line must not pull in torch or anything heavy."""

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "tokenizers",
    "safetensors",
    "tensorboard",
    "transformers",
    "matplotlib",
    "pyarrow",
    "rich",
    "tyro",
)
MODULES = (
    "triskele",
    "triskele.cli",
    "triskele.serve.cache",
    "triskele.serve.routing",
    "triskele.serve.simulate",
)


@pytest.mark.parametrize("module", MODULES)
def test_import_is_light(module: str) -> None:
    script = f"import sys, {module}; print(*sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
