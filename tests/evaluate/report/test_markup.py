from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from triskele.evaluate.report.markup import Html, element, joined, void


class Reader(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(), st.text())
def test_no_text_becomes_markup(text: str, value: str) -> None:
    reader = Reader()
    reader.feed(element("p", {"title": value}, text))
    reader.close()
    assert reader.tags == ["p"]
    assert reader.text == text
    assert reader.attributes == [("title", value)]


def test_markup_is_kept() -> None:
    inner = element("b", None, "<i>")
    assert element("p", None, inner, "&") == "<p><b>&lt;i&gt;</b>&amp;</p>"
    assert isinstance(joined(["a", inner]), Html)


def test_numbers_are_short() -> None:
    assert element("i", {"x": 1.0, "y": 0.126, "z": 12}) == '<i x="1" y="0.13" z="12"></i>'
    assert void("meta", {"charset": "utf-8"}) == '<meta charset="utf-8">'
