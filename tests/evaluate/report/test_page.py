import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.evaluate.kinds import source_of_kinds, with_texts

from triskele.evaluate.fitting import fit_model
from triskele.evaluate.options import FitOptions
from triskele.evaluate.report.findings import findings_of
from triskele.evaluate.report.page import page

HOSTILE = (
    '</title></style></script><script>alert("{n}")</script><img src=x onerror=alert({n})>'
    "<a href='javascript:alert(1)'>'\"&lt;\x00\u202e poem"
)


class Seen(HTMLParser):
    """The elements and attributes that a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.n_scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.n_scripts += tag == "script"
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def drawn(folder: Path, *, hostile: bool = False, title: str = "Report") -> str:
    source = source_of_kinds(folder)
    if hostile:
        texts = tuple(HOSTILE.format(n=n) + text for n, text in enumerate(source.texts))
        source = with_texts(source, texts)
    model, X = fit_model(source, FitOptions(clusters=3))
    found = findings_of(source, model, X, verdict="It depends.", map_queries=120, seed=0)
    return page(found, title=title)


@pytest.mark.parametrize("hostile", [False, True])
def test_the_page_holds_only_its_own_elements(tmp_path: Path, hostile: bool) -> None:
    html = drawn(tmp_path, hostile=hostile, title=HOSTILE if hostile else "Report")
    seen = Seen()
    seen.feed(html)
    seen.close()
    assert seen.open == [], "every element is closed"
    assert seen.n_scripts == 1
    assert not seen.tags & {"img", "iframe", "object", "link", "form", "base"}
    assert not [name for _, name, _ in seen.attributes if name.startswith("on")]


def test_nothing_is_loaded_from_anywhere(tmp_path: Path) -> None:
    seen = Seen()
    seen.feed(drawn(tmp_path))
    links = [value for _, name, value in seen.attributes if name in ("src", "href", "xlink:href")]
    assert links
    assert all(value.startswith("#") for value in links)
    assert not [value for _, name, value in seen.attributes if name == "style"]


def test_only_its_own_style_and_script_may_run(tmp_path: Path) -> None:
    html = drawn(tmp_path)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert "default-src &#x27;none&#x27;" in policy[1]
    for tag in ("style", "script"):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert content is not None
        digest = b64encode(sha256(content[1].encode()).digest()).decode()
        assert f"sha256-{digest}" in policy[1]


def test_links_lead_to_sections_that_are_there(tmp_path: Path) -> None:
    html = drawn(tmp_path)
    targets = set(re.findall(r'href="#([a-z]+)"', html))
    assert {"ranking", "clusters", "predictions", "coverage"} <= targets
    assert targets <= set(re.findall(r'id="([a-z]+)"', html))


def test_every_cluster_has_a_colour_in_light_and_dark(tmp_path: Path) -> None:
    html = drawn(tmp_path)
    assert len(set(re.findall(r"\.k(\d+)\{--tone", html))) == 3
    assert "prefers-color-scheme: dark" in html
    assert "It depends." in html
