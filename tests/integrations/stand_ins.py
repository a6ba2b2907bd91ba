"""Just enough of a host to import what we do in it; ``hosts/run`` tests against the real ones."""

import importlib
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def imported(
    monkeypatch: pytest.MonkeyPatch, name: str, modules: dict[str, dict[str, Any]]
) -> ModuleType:
    """Import one of our modules while its host consists of these modules, and nothing else."""
    for path, contents in modules.items():
        parts = path.split(".")
        for n in range(1, len(parts) + 1):
            part = ".".join(parts[:n])
            if not isinstance(sys.modules.get(part), Part):
                monkeypatch.setitem(sys.modules, part, Part(part))
            if n > 1:
                setattr(sys.modules[".".join(parts[: n - 1])], parts[n - 1], sys.modules[part])
        vars(sys.modules[path]).update(contents)
    ours = f"triskele.integrations.{name}"
    monkeypatch.delitem(sys.modules, ours, raising=False)
    module = importlib.import_module(ours)
    monkeypatch.setitem(sys.modules, ours, module)
    return module


class Part(ModuleType):
    """A module of a host."""


def entry_point(group: str) -> str | None:
    """Return what pyproject.toml declares for us in a group of entry points."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared: dict[str, dict[str, str]] = project.get("entry-points", {})
    return declared.get(group, {}).get("triskele")


def assert_one_version(name: str, package: str, page: str) -> None:
    """Assert that a page names the version of a host that the tests against it are pinned to."""
    pins = (ROOT / "hosts" / f"{name}.txt").read_text(encoding="utf-8")
    (version,) = re.findall(rf"^{package}==(\S+)$", pins, flags=re.MULTILINE)
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert version in text
    assert (ROOT / "hosts" / f"test_{name}.py").exists()


def block(number: int) -> SimpleNamespace:
    return SimpleNamespace(block_id=number)
