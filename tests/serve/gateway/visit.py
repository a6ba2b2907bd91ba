"""A headless browser with the dashboard open, for tests."""

import shutil
from collections.abc import Callable

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE = 20.0
DRIVER, BROWSER = shutil.which("chromedriver"), shutil.which("chromium")
TEXTS = (
    "return [...document.querySelectorAll(arguments[0])].map((n) => n.innerText ?? n.textContent)"
)

in_chromium = pytest.mark.skipif(
    DRIVER is None or BROWSER is None, reason="needs the programs chromium and chromedriver"
)


class Visit:
    """A browser with the page open."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        driver.get(f"{url}/dashboard")

    def one(self, css: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def texts(self, css: str) -> list[str]:
        """Return the texts of elements in one step: the charts are drawn anew every second."""
        return self.driver.execute_script(TEXTS, css)

    def row(self, name: str) -> WebElement:
        rows = self.driver.find_elements(By.CSS_SELECTOR, "#rows tr")
        return next(row for row in rows if row.find_element(By.TAG_NAME, "b").text == name)

    def press(self, name: str, label: str) -> None:
        for button in self.row(name).find_elements(By.TAG_NAME, "button"):
            if button.text == label:
                button.click()
                return
        raise AssertionError(f"no button {label} at {name}")

    def until(self, what: Callable[[], object]) -> None:
        """Wait until something holds; a row may be redrawn while it is looked at."""
        wait = WebDriverWait(
            self.driver, PATIENCE, 0.05, (StopIteration, StaleElementReferenceException)
        )
        wait.until(lambda _: what())

    def is_shown(self, css: str) -> bool:
        return self.one(css).is_displayed()

    def complaints(self) -> list[str]:
        """Return what the browser's console says; refusals of CSP are there too."""
        return [f"{line['source']}: {line['message']}" for line in self.driver.get_log("browser")]


def look_at(driver: webdriver.Chrome, *, width: int, scheme: str) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
