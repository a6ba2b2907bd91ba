"""What the documents say is so: their links, options, commands, code and quoted figures."""

import ast
import json
import re
import textwrap
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from benchmarks.record import RESULTS
from tests.command_lines import commands_of, own, understood

from triskele.cli import main

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [*(ROOT / "docs").glob("*.md"), *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md"))]
)
TEXT = {path: path.read_text(encoding="utf-8") for path in [*PAGES, ROOT / "README.md"]}
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
CODE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^ *```python\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"--[a-z][a-z0-9.-]*[a-z0-9]")
# Which commands the options are of that a page names.
COMMANDS_OF_PAGES = {
    "engine.md": ["engine"],
    "gateway.md": ["serve", "loop"],
    "loop.md": ["loop", "serve"],
    "production.md": ["serve", "loop"],
    "simulate.md": ["simulate"],
    "train.md": ["train", "demo"],
}
QUOTED = re.compile(r"^\| (\w+) \| (.+?) \| ([^|]+) \|$", re.MULTILINE)


def anchor(heading: str) -> str:
    """Return the name of a heading as Markdown pages are linked to."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def anchors(text: str) -> set[str]:
    return {anchor(line) for line in re.findall(r"^#+ (.+)$", CODE.sub("", text), re.MULTILINE)}


@cache
def options(command: str) -> frozenset[str]:
    """Return the options that a command's help shows."""
    run = main
    words = [command, "--help"]
    if command == "engine":
        run, words = import_module("triskele.serve.engine.__main__").main, ["--help"]
    with pytest.MonkeyPatch.context() as patched:
        said: list[str] = []
        patched.setattr("sys.stdout.write", said.append)
        with pytest.raises(SystemExit):
            run(words)
    return frozenset(OPTION.findall("".join(said)))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", TEXT, ids=named)
def test_every_relative_link_leads_to_a_file_and_a_heading_that_exist(path: Path) -> None:
    for target, name in LINK.findall(TEXT[path]):
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), target
        if name:
            assert name in anchors(found.read_text(encoding="utf-8")), f"{target}#{name}"


@pytest.mark.parametrize("path", TEXT, ids=named)
def test_commands_of_ours_that_are_shown_are_understood(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("runs", "my_texts"):
        (tmp_path / folder).mkdir()
    for ours in filter(None, map(own, commands_of(TEXT[path]))):
        understood(ours, monkeypatch)


def test_commands_are_found_in_documents() -> None:
    lines = ["X=1 triskele serve \\", "  --port 0 | tee a  # b", "(cd x && .venv/bin/triskele a)"]
    text = "\n".join(["```sh", *lines, "```", ""])
    found = [own(words) for words in commands_of(text)]
    assert found == [["triskele", "serve", "--port", "0"], None, None, ["triskele", "a"]]
    assert sum(own(words) is not None for text in TEXT.values() for words in commands_of(text)) > 20
    assert {"--upstream", "--keys"} <= options("serve")


@pytest.mark.parametrize("path", TEXT, ids=named)
def test_modules_targets_and_scripts_that_are_shown_exist(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in commands_of(TEXT[path]):
        if words[:2] == ["python", "-m"] and words[2].startswith("benchmarks."):
            spec = find_spec(words[2])
            assert spec is not None, words[2]
            assert spec.origin is not None
            source = Path(spec.origin).read_text(encoding="utf-8")
            for option in (word for word in words[3:] if word.startswith("--")):
                assert f'"{option}"' in source, f"{words[2]} {option}"
        elif words[0] == "make":
            for target in words[1:]:
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
        elif words[0] == "hosts/run":
            assert (ROOT / f"hosts/test_{words[1]}.py").exists()


@pytest.mark.parametrize("name", COMMANDS_OF_PAGES)
def test_options_that_a_page_names_are_in_the_help(name: str) -> None:
    text = CODE.sub("", TEXT.get(ROOT / "docs" / name, ""))
    spans = re.findall(r"`([^`]+)`", text)
    shown = {option for span in spans if span.startswith("--") for option in OPTION.findall(span)}
    known = frozenset[str]().union(*(options(each) for each in COMMANDS_OF_PAGES[name]))
    assert shown - known == set()


@pytest.mark.parametrize("path", TEXT, ids=named)
def test_python_that_is_shown_is_python(path: Path) -> None:
    for block in PYTHON.findall(TEXT[path]):
        # What is shown of a coroutine's inside may await.
        ast.parse(f"async def shown():\n{textwrap.indent(textwrap.dedent(block), '    ')}")


def test_figures_of_claims_that_production_quotes_are_those_recorded() -> None:
    text = TEXT[ROOT / "docs" / "production.md"]
    quoted = [row for row in QUOTED.findall(text) if (RESULTS / f"{row[0]}.json").exists()]
    assert quoted
    for claim, name, shown in quoted:
        recorded = json.loads((RESULTS / f"{claim}.json").read_text(encoding="utf-8"))
        figure = next(each for each in recorded["figures"] if each["name"] == name)
        assert shown == f"{figure['value']:.3g}{figure['unit']}", (claim, name)
