"""The house rules that a linter cannot see: sizes, names, the mirror, public pages."""

import ast
import importlib
from pathlib import Path

import pytest

import triskele

SOURCE = Path(triskele.__file__).parent
TESTS = Path(__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
ROOMS = sorted(
    ".".join(path.parent.relative_to(SOURCE).parts)
    for path in SOURCE.rglob("__init__.py")
    if path.parent != SOURCE
)
MAX_LINES = 350
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc", "base", "core", "manager"}
# Thin shells: exercised through the command line's own tests.
UNMIRRORED = {"__init__.py", "__main__.py"}


def relative(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_one_idea_fits_in_350_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_every_file_is_named_by_a_noun_of_the_field(path: Path) -> None:
    assert path.stem not in NAMELESS


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_every_module_says_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_every_module_has_its_tests_at_the_mirrored_path(path: Path) -> None:
    if path.name in UNMIRRORED:
        return
    mirrored = TESTS / path.relative_to(SOURCE).with_name(f"test_{path.name}")
    assert mirrored.exists(), f"{relative(path)} has no {mirrored.relative_to(TESTS.parent)}"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_module_changes_module_level_state(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not any(isinstance(node, ast.Global) for node in ast.walk(tree))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_exports_what_its_page_imports_sorted(room: str) -> None:
    page = importlib.import_module(f"triskele.{room}")
    tree = ast.parse(Path(str(page.__file__)).read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(page.__all__) == imported
    assert list(page.__all__) == sorted(page.__all__)
    assert ">>> " in (page.__doc__ or ""), "the page shows an example"
