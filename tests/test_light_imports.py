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
    "sentence_transformers",
    "matplotlib",
    "pyarrow",
    "aiohttp",
    "httptools",
    "prometheus_client",
    "ray",
    "sglang",
    "vllm",
    "uvloop",
    "zmq",
    "rich",
    "tyro",
)
# scikit-learn takes rich along, and pandas where it is installed.
MODULES = {
    "triskele": "",
    "triskele.cli": "",
    "triskele.integrations": "",
    "triskele.serve": "",
    "triskele.evaluate": "sys.modules['pandas'] = None; import sklearn.cluster",
    "triskele.serve.cache": "",
    "triskele.serve.journal": "import pyarrow.parquet, pyarrow.json, pyarrow.compute",
    "triskele.serve.routing": "",
    "triskele.serve.simulate": "",
}


@pytest.mark.parametrize("module", MODULES)
def test_import_is_light(module: str) -> None:
    script = f"""
import sys
{MODULES[module]}
before = set(sys.modules)
import {module}
print(*sorted((set(sys.modules) - before) & set({HEAVY!r})))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
