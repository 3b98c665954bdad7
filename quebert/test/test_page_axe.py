"""
The page of C{quebert web} as axe-core judges it: no finding is serious.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quebert.test.contract.patience import until
from quebert.test.page import AXE, Browser, PageServer, Tab, chromium, page_server
from quebert.test.test_page import VIEWS


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """
    One for all tests here.
    """
    if not AXE.exists():
        pytest.skip("axe-core is not installed")
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def server() -> Iterator[PageServer]:
    """
    Likewise.
    """
    with page_server("--rate", "40") as found:
        yield found


def _findings(tab: Tab) -> list[str]:
    """
    What axe finds that is serious, or worse.
    """
    if tab.page.evaluate("typeof axe") == "undefined":
        tab.page.evaluate(AXE.read_text(encoding="utf-8"))
    tab.ask("unfold")
    found: list[str] = tab.ask("findings")
    return found


@pytest.mark.parametrize("look", ["dark", "light", "narrow"])
def test_views(browser: Browser, server: PageServer, look: str) -> None:
    """
    Each view can be used by everybody.
    """
    width = 390 if look == "narrow" else 1360
    scheme = "dark" if look == "dark" else "light"
    with browser.tab(server.url, width=width, color_scheme=scheme) as tab:
        for view in VIEWS if look == "dark" else VIEWS[1::2]:
            tab.open(view)
            tab.settled()
            assert _findings(tab) == [], view


def test_states(browser: Browser, server: PageServer) -> None:
    """
    So can dialogs, and what is said where something is wrong.
    """
    with browser.tab(server.url) as tab:
        page = tab.open("/queues/mail", token="")
        tab.live()
        page.keyboard.press("?")
        page.get_by_role("dialog").wait_for()
        assert _findings(tab) == []
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Pause").click()
        page.get_by_label("Token", exact=True).wait_for()
        assert _findings(tab) == []
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Purge…").click()
        page.get_by_label("Write mail to go on").wait_for()
        assert _findings(tab) == []
        page.keyboard.press("Escape")
        server.do("set", "broken", "RabbitMQ is away")
        page.locator("#notices").get_by_text("RabbitMQ is away").wait_for()
        tab.open("/dead/mail", token="")
        page.get_by_text("The dead letters cannot be shown").wait_for()
        assert _findings(tab) == []


def test_live_regions(browser: Browser, server: PageServer) -> None:
    """
    While figures change, nothing is announced.
    """
    with browser.tab(server.url) as tab:
        tab.open("/queues/mail")
        tab.settled()
        tab.ask("watch", "body")
        until(lambda: tab.ask("changed") > 50)
        assert tab.ask("announced") == []
