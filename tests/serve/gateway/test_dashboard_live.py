"""The dashboard before the real gateway and real workers: what an operator does with it."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select
from tests.serve.gateway.openai_worker import OpenAIWorker, serving
from tests.serve.gateway.visit import Visit, in_chromium

from triskele.serve.gateway.settings import Settings


class Site:
    """A gateway with workers and traffic, in a thread and a loop of its own."""

    def __init__(self) -> None:
        self.url = ""
        self.spare = ""
        self.counts: list[int] = []
        self._is_up = threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> "Site":
        self._thread.start()
        assert self._is_up.wait(20.0)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        workers = [OpenAIWorker(f"w{number}") for number in range(3)]
        for number, worker in enumerate(workers):
            worker.gap = 0.01 * (1 + number)
        spare = workers.pop()
        await spare.start()
        try:
            settings = Settings(allow_upstream=("127.0.0.1:*",))
            async with serving(workers, settings) as served:
                self.url, self.spare = served.url, spare.url

                async def client(number: int) -> None:
                    turn = 0
                    while True:
                        turn += 1
                        text = f"{number} says " * 40 + f"turn {turn}"
                        await served.chat(text, stream=turn % 4 != 0)
                        self.counts = [len(each.asked) for each in (*workers, spare)]

                clients = [asyncio.create_task(client(number)) for number in range(6)]
                self._is_up.set()
                await self._stop.wait()
                for task in clients:
                    task.cancel()
                await asyncio.gather(*clients, return_exceptions=True)
        finally:
            await spare.kill()


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


def requests_of(visit: Visit) -> int:
    return int(visit.texts(".tile .big")[5].replace(",", ""))


@in_chromium
def test_an_operator_sees_and_changes_a_fleet_under_traffic(
    driver: webdriver.Chrome, site: Site, tmp_path: Path
) -> None:
    visit = Visit(driver, site.url)
    visit.until(lambda: len(visit.texts("#rows tr")) == 2)
    assert driver.title == "2 of 2 ready · triskele gateway"
    visit.until(lambda: visit.texts("svg .dot") and visit.texts("svg .curve"))
    seen = requests_of(visit)
    visit.until(lambda: requests_of(visit) > seen)
    assert "40%" in visit.texts(".tile .big"), "the share that the workers say was cached"

    policy = Select(visit.one("#policy"))
    policy.select_by_visible_text("round-robin")
    visit.one("#policy-switch").click()
    visit.until(lambda: not visit.one("#policy-switch").is_enabled())
    assert policy.first_selected_option.text == "round-robin"
    seen = requests_of(visit)
    visit.until(lambda: requests_of(visit) > seen + 20)

    visit.one("#add-url").send_keys(site.spare)
    visit.one("#add-name").send_keys("spare", Keys.ENTER)
    visit.until(lambda: "ready" in visit.row("spare").text)
    visit.until(lambda: site.counts[2] > 5)  # round robin owes it a share, however slow it is

    visit.press("spare", "Drain")
    visit.until(lambda: "draining" in visit.row("spare").text)
    visit.until(lambda: visit.row("spare").find_elements("css selector", "td")[2].text[:1] == "0")
    drained_at = site.counts[2]
    seen = requests_of(visit)
    visit.until(lambda: requests_of(visit) > seen + 20)
    assert site.counts[2] == drained_at, "nothing goes to who is drained"

    picture = tmp_path / "dashboard-live.png"
    assert driver.save_screenshot(str(picture))

    visit.press("spare", "Remove")
    visit.one("#confirm-yes").click()
    visit.until(lambda: len(visit.texts("#rows tr")) == 2)
    assert not visit.is_shown("#banner")
    assert visit.complaints() == []


@in_chromium
def test_an_address_that_is_not_allowed_is_explained(driver: webdriver.Chrome, site: Site) -> None:
    visit = Visit(driver, site.url)
    visit.until(lambda: visit.is_shown("#add-url"))
    visit.one("#add-url").send_keys("http://10.0.0.5:8000", Keys.ENTER)
    visit.until(lambda: visit.one("#add-said").text)
    said = visit.one("#add-said").text
    assert said == "workers at '10.0.0.5:8000' are not allowed; see --allow-upstream"
