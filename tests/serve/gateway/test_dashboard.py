import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select
from tests.serve.gateway.fake_admin import FakeAdmin, fleet, serving, traffic, worker
from tests.serve.gateway.visit import Visit, in_chromium, look_at

from triskele.serve.gateway.dashboard import PLACEHOLDER, Dashboard

NONCE = "0123456789abcdef"
HOSTILE = "<img src=x onerror=\"document.title='pwned'\"></b><script>alert(1)</script>"
WIDTHS, SCHEMES = (1360, 820, 390), ("light", "dark")


@pytest.fixture
def busy() -> Iterator[FakeAdmin]:
    with serving(FakeAdmin(fleet(), traffic(["atlas-0", "atlas-1", "atlas-2"]))) as admin:
        yield admin


def test_the_page_is_whole_and_names_no_other_place() -> None:
    html = Dashboard.packaged().template.decode()
    assert html.startswith("<!doctype html>")
    assert html.count(PLACEHOLDER.decode()) == 2, "one for the style, one for the script"
    assert set(re.findall(r"https?://[^/'\" ]+", html)) <= {
        "http://www.w3.org",  # the name of SVG
        "http://10.0.0.5:8000",  # an example
    }
    for unsafe in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert unsafe not in html
    assert not re.search(r"\sstyle=|\son\w+=", html.split("<script")[0]), "CSP would refuse it"


def test_the_nonce_of_an_answer_is_in_its_headers_and_its_page() -> None:
    dashboard = Dashboard.packaged()
    page, headers = dashboard.page(NONCE), dict(dashboard.page(NONCE).headers)
    assert page.body.count(f'nonce="{NONCE}"'.encode()) == 2
    assert PLACEHOLDER not in page.body
    policy = headers[b"content-security-policy"].decode()
    assert f"script-src 'nonce-{NONCE}'" in policy
    assert f"style-src 'nonce-{NONCE}'" in policy
    for directive in ("default-src 'none'", "frame-ancestors 'none'", "connect-src 'self'"):
        assert directive in policy.split("; ")
    assert "unsafe" not in policy
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize("nonce", ["", "short", "0123456789abcde'", "0123456789abcdef\r\nx: y"])
def test_a_nonce_that_could_be_guessed_or_end_a_header_is_refused(nonce: str) -> None:
    with pytest.raises(ValueError, match="a nonce is 16 or more"):
        Dashboard.packaged().page(nonce)


@in_chromium
def test_the_page_shows_what_the_gateway_says(driver: webdriver.Chrome, busy: FakeAdmin) -> None:
    visit = Visit(driver, busy.url)
    visit.until(lambda: len(visit.texts("#rows tr")) == 6)
    assert driver.title == "2 of 6 ready · triskele gateway"
    assert visit.one("#pulse").text == "live"
    assert visit.texts(".tile .big") == ["24.6", "47", "184ms", "1.94s", "35.4%", "162,355"]
    assert "1 d 2 h" in visit.one("#about").text
    down = visit.row("borealis-with-a-long-name.eu-central-1").text
    assert "down" in down
    assert "connection refused; next trial in 0.8 s" in down
    assert "121" in down
    assert len(visit.texts("svg .dot")) == 400
    assert len(visit.texts("svg .curve")) == 6
    assert len(visit.texts("svg .exact")) == 1
    assert not visit.is_shown("#banner")
    time.sleep(1.5)
    assert visit.complaints() == [], "after the page was redrawn"


@in_chromium
def test_a_gateway_without_workers_and_requests_says_so(driver: webdriver.Chrome) -> None:
    with serving(FakeAdmin()) as admin:
        visit = Visit(driver, admin.url)
        visit.until(lambda: visit.is_shown("#empty"))
        assert "No workers yet" in visit.one("#empty").text
        assert not visit.is_shown("#table")
        said = " ".join(visit.texts("svg text"))
        assert "No predictions yet" in said
        assert "No requests in the last two minutes" in said
        assert "NaN" not in visit.one("body").get_attribute("outerHTML")
        assert visit.complaints() == []


@in_chromium
def test_a_worker_is_added(driver: webdriver.Chrome, busy: FakeAdmin) -> None:
    visit = Visit(driver, busy.url)
    visit.until(lambda: visit.is_shown("#add-url"))
    visit.one("#add-url").send_keys("http://10.0.0.77:8000")
    visit.one("#add-name").send_keys("echo", Keys.ENTER)
    visit.until(lambda: "http://10.0.0.77:8000" in visit.row("echo").text)
    assert busy.did == [
        ("POST", "/admin/workers", {"url": "http://10.0.0.77:8000", "name": "echo"})
    ]
    assert visit.one("#add-url").get_attribute("value") == ""
    assert visit.complaints() == []


@in_chromium
def test_a_refused_address_is_explained_and_stays_to_be_corrected(
    driver: webdriver.Chrome, busy: FakeAdmin
) -> None:
    visit = Visit(driver, busy.url)
    visit.until(lambda: visit.is_shown("#add-url"))
    visit.one("#add-url").send_keys("http://10.9.9.9:8000", Keys.ENTER)
    visit.until(lambda: visit.one("#add-said").text)
    said = "http://10.9.9.9:8000 is not among the allowed <addresses>"
    assert visit.one("#add-said").text == said
    assert visit.one("#add-url").get_attribute("value") == "http://10.9.9.9:8000"
    assert busy.did[0][2] == {"url": "http://10.9.9.9:8000"}, "no name is sent where none is given"


@in_chromium
def test_a_worker_is_drained_and_taken_back(driver: webdriver.Chrome, busy: FakeAdmin) -> None:
    visit = Visit(driver, busy.url)
    visit.until(lambda: visit.row("atlas-0"))
    visit.press("atlas-0", "Drain")
    visit.until(lambda: "draining" in visit.row("atlas-0").text)
    assert "Resume" in driver.switch_to.active_element.text, "the focus stays on the button"
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    visit.until(lambda: "ready" in visit.row("atlas-0").text)
    assert [path for _, path, _ in busy.did] == [
        "/admin/workers/atlas-0/drain",
        "/admin/workers/atlas-0/resume",
    ]


@in_chromium
def test_draining_the_last_ready_worker_is_asked_about(driver: webdriver.Chrome) -> None:
    with serving(FakeAdmin([worker("only")])) as admin:
        visit = Visit(driver, admin.url)
        visit.until(lambda: visit.row("only"))
        visit.press("only", "Drain")
        visit.until(lambda: visit.is_shown("#confirm"))
        assert "last ready worker" in visit.one("#confirm").text
        driver.switch_to.active_element.send_keys(Keys.ESCAPE)
        visit.until(lambda: not visit.is_shown("#confirm"))
        assert admin.did == []


@in_chromium
def test_a_worker_is_removed_only_when_that_is_confirmed(
    driver: webdriver.Chrome, busy: FakeAdmin
) -> None:
    visit = Visit(driver, busy.url)
    visit.until(lambda: visit.row("atlas-0"))
    visit.press("atlas-0", "Remove")
    visit.until(lambda: visit.is_shown("#confirm"))
    assert "14 requests are in flight" in visit.one("#confirm").text
    assert driver.switch_to.active_element.text == "Keep", "the harmless answer has the focus"
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    visit.until(lambda: not visit.is_shown("#confirm"))
    assert busy.did == []
    visit.press("atlas-0", "Remove")
    visit.one("#confirm-yes").click()
    visit.until(lambda: len(visit.texts("#rows tr")) == 5)
    assert busy.did == [("DELETE", "/admin/workers/atlas-0", None)]
    assert driver.switch_to.active_element.get_attribute("id") == "workers-title"


@in_chromium
def test_the_policy_is_switched(driver: webdriver.Chrome, busy: FakeAdmin) -> None:
    visit = Visit(driver, busy.url)
    visit.until(lambda: visit.is_shown("#policy"))
    policy = Select(visit.one("#policy"))
    assert policy.first_selected_option.text == "lbgr"
    assert not visit.one("#policy-switch").is_enabled()
    policy.select_by_visible_text("cache-aware")
    time.sleep(1.5)
    assert policy.first_selected_option.text == "cache-aware", "asking again takes no choice back"
    assert busy.did == [], "a choice alone switches nothing"
    visit.one("#policy-switch").click()
    visit.until(lambda: not visit.one("#policy-switch").is_enabled())
    assert busy.did == [("PUT", "/admin/policy", {"policy": "cache-aware"})]
    assert policy.first_selected_option.text == "cache-aware"
    busy.policy = "round-robin"
    visit.until(lambda: policy.first_selected_option.text == "round-robin")


@in_chromium
def test_a_token_is_asked_for_kept_for_the_tab_and_forgotten(driver: webdriver.Chrome) -> None:
    with serving(FakeAdmin(fleet(), token="right-one")) as admin:
        visit = Visit(driver, admin.url)
        visit.until(lambda: visit.is_shown("#token"))
        assert visit.one("#banner-title").text == "An admin token is needed"
        assert not visit.is_shown("#live")
        assert driver.switch_to.active_element.get_attribute("id") == "token"
        visit.one("#token").send_keys("wrong", Keys.ENTER)
        visit.until(lambda: visit.one("#banner-title").text == "That admin token was refused")
        visit.one("#token").send_keys("right-one", Keys.ENTER)
        visit.until(lambda: len(visit.texts("#rows tr")) == 6)
        assert not visit.is_shown("#banner")
        kept = "return [Object.values({...sessionStorage}), Object.values({...localStorage})]"
        assert driver.execute_script(kept) == [["right-one"], []]
        driver.refresh()
        visit.until(lambda: len(visit.texts("#rows tr")) == 6)
        visit.one("#forget").click()
        visit.until(lambda: visit.is_shown("#token"))
        assert driver.execute_script(kept) == [[], []]
        asked = [said for said in visit.complaints() if "401 (Unauthorized)" not in said]
        assert asked == []


@in_chromium
def test_a_token_changed_meanwhile_is_asked_for_when_acting(
    driver: webdriver.Chrome, busy: FakeAdmin
) -> None:
    visit = Visit(driver, busy.url)
    visit.until(lambda: visit.row("atlas-0"))
    busy.token = "new"
    visit.press("atlas-0", "Drain")
    visit.until(lambda: visit.is_shown("#token"))
    assert busy.did == []
    visit.one("#token").send_keys("new", Keys.ENTER)
    visit.until(lambda: not visit.is_shown("#banner"))
    visit.press("atlas-0", "Drain")
    visit.until(lambda: "draining" in visit.row("atlas-0").text)


@in_chromium
def test_a_gateway_that_goes_away_is_told_of_and_found_again(driver: webdriver.Chrome) -> None:
    admin = FakeAdmin(fleet())
    with serving(admin):
        visit = Visit(driver, admin.url)
        visit.until(lambda: len(visit.texts("#rows tr")) == 6)
        admin.is_broken = True
        visit.until(lambda: visit.is_shown("#banner"))
        assert visit.one("#banner-text").text == "the gateway is stopping"
        port = int(admin.url.rpartition(":")[2])
    visit.until(lambda: visit.one("#banner-title").text == "The gateway cannot be reached")
    assert visit.one("#banner").get_attribute("role") == "alert"
    assert len(visit.texts("#rows tr")) == 6, "what was known last stays, dimmed"
    admin.is_broken = False
    with serving(admin, port=port):
        visit.until(lambda: not visit.is_shown("#banner"))
        assert visit.one("#pulse").text == "live"
    visit.until(lambda: visit.is_shown("#banner"))


@in_chromium
def test_names_and_errors_of_workers_stay_text(driver: webdriver.Chrome) -> None:
    hostile: dict[str, Any] = worker(HOSTILE, url=HOSTILE, error=HOSTILE, models=[HOSTILE])
    figures = traffic([HOSTILE])
    with serving(FakeAdmin([hostile], figures, policy=HOSTILE)) as admin:
        visit = Visit(driver, admin.url)
        visit.until(lambda: visit.row(HOSTILE))
        assert visit.row(HOSTILE).text.count("<img src=x") == 4
        assert visit.texts("img") == []
        assert len(driver.find_elements(By.TAG_NAME, "script")) == 1
        assert driver.title == "1 of 1 ready · triskele gateway"
        assert Select(visit.one("#policy")).first_selected_option.text == HOSTILE
        visit.press(HOSTILE, "Remove")
        visit.until(lambda: visit.is_shown("#confirm"))
        assert visit.one("#confirm-title").text == f"Remove {HOSTILE}?"
        visit.one("#confirm-yes").click()
        visit.until(lambda: visit.is_shown("#empty"))
        [(method, path, _)] = admin.did
        assert method == "DELETE"
        assert "/" not in path.removeprefix("/admin/workers/"), "one segment, whatever the name"
        assert visit.complaints() == []


@in_chromium
def test_the_charts_are_read_with_the_keyboard(driver: webdriver.Chrome, busy: FakeAdmin) -> None:
    visit = Visit(driver, busy.url)
    visit.until(lambda: visit.texts("svg .curve"))
    plot = visit.one(".chart svg")
    before = plot.get_attribute("aria-label") or ""
    assert before.startswith("Time to first token, now: p50 ")
    plot.send_keys(Keys.PAGE_UP, Keys.PAGE_UP, Keys.ARROW_LEFT)
    visit.until(lambda: "21 seconds ago" in (plot.get_attribute("aria-label") or ""))
    assert len(visit.texts("svg .cursor")) == 4, "one cursor for all charts"
    plot.send_keys(Keys.ESCAPE)
    visit.until(lambda: not visit.texts("svg .cursor"))


@in_chromium
def test_light_and_dark_follow_the_system_until_they_are_chosen(
    driver: webdriver.Chrome, busy: FakeAdmin
) -> None:
    visit = Visit(driver, busy.url)
    ground = "return getComputedStyle(document.body).backgroundColor"
    light, dark = "rgb(246, 245, 242)", "rgb(19, 18, 17)"
    assert driver.execute_script(ground) == light
    look_at(driver, width=1360, scheme="dark")
    visit.until(lambda: driver.execute_script(ground) == dark)
    visit.one("#theme").click()
    assert driver.execute_script(ground) == light
    driver.refresh()
    assert driver.execute_script(ground) == light, "a choice is kept"
    visit.one("#theme").click()
    assert driver.execute_script(ground) == dark
    assert driver.execute_script("return localStorage.length") == 0, "the system's needs no keeping"


@in_chromium
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_fits_its_window(
    driver: webdriver.Chrome, busy: FakeAdmin, tmp_path: Path, width: int, scheme: str
) -> None:
    look_at(driver, width=width, scheme=scheme)
    visit = Visit(driver, busy.url)
    visit.until(lambda: visit.texts("svg .dot"))
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    picture = tmp_path / f"dashboard-{width}-{scheme}.png"
    assert driver.save_screenshot(str(picture))
    assert picture.stat().st_size > 10_000
