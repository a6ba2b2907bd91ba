"""The API reference: every public name says what it is, and every page can be made of it."""

import dataclasses
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import triskele

ROOT = Path(__file__).parent.parent
SOURCE = Path(triskele.__file__).parent
PAGES = sorted(
    ".".join(("triskele", *path.parent.relative_to(SOURCE).parts))
    for path in SOURCE.rglob("__init__.py")
)


@pytest.mark.parametrize("page", PAGES)
def test_every_name_of_a_page_has_a_docstring_of_its_own(page: str) -> None:
    module = importlib.import_module(page)
    assert module.__doc__
    for name in module.__all__:
        public = getattr(module, name)
        if inspect.isclass(public):
            said = public.__dict__.get("__doc__")
            # What a dataclass says by itself is only its signature.
            generated = dataclasses.is_dataclass(public) and (said or "").startswith(f"{name}(")
            assert said, name
            assert not generated, name
        elif inspect.isroutine(public):
            assert public.__doc__, name


def test_every_page_is_rendered_with_all_its_names(tmp_path: Path) -> None:
    pytest.importorskip("pdoc")
    # A package brings what lies below it; only the packages are pages.
    pages = [word for page in PAGES for word in (page, f"!{page}[.]")]
    settings = ["--docformat", "numpy", "--no-show-source", "--no-search"]
    folders = ["--template-directory", str(ROOT / "docs" / "reference")]
    folders += ["--output-directory", str(tmp_path)]
    subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-m", "pdoc", *settings, *folders, *pages],
        check=True,
        timeout=300,
    )
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    for page in PAGES:
        file = f"{page.replace('.', '/')}.html"
        assert f'href="{file}"' in index
        text = (tmp_path / file).read_text(encoding="utf-8")
        for name in importlib.import_module(page).__all__:
            assert f'id="{name}"' in text, f"{page}.{name}"
