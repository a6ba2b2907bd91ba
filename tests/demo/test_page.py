import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

import pytest
from tests.demo.small_demo import findings

from triskele.demo.page import page


def test_the_page_loads_nothing_and_its_style_is_the_one_that_is_allowed():
    text = page(findings())
    style = re.search(r"<style>(.*)</style>", text, re.DOTALL).group(1)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert f"style-src &#x27;sha256-{digest}&#x27;" in text
    assert "default-src &#x27;none&#x27;" in text
    for loading in ("<script", "<link", "<img", "url(", "@import", "style="):
        assert loading not in text


def test_what_models_wrote_and_reasons_cannot_break_out_of_the_page():
    text = page(findings(published=False))
    assert "&lt;dynmuon&gt; &amp; co" in text
    assert "because &lt;it&gt; is" in text
    assert "<dynmuon>" not in text


def test_every_element_that_is_opened_is_closed():
    class Checked(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open = []

        def handle_starttag(self, tag, attributes):
            if tag != "meta":
                self.open.append(tag)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    parser = Checked()
    parser.feed(page(findings()))
    assert parser.open == []


@pytest.mark.parametrize(
    ("published", "said"),
    [(True, "sends 92% of the queries"), (False, "The circle did not close")],
)
def test_the_first_sentence_says_what_came_of_it_whichever_way_it_went(published, said):
    assert said in page(findings(published=published))


def test_light_and_dark_are_of_the_reader_s_choice():
    assert "prefers-color-scheme: dark" in page(findings())
