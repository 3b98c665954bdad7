"""
The page of C{quebert web} when all texts that it shows are attacks on whoever looks on.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from urllib.parse import quote

import pytest

from quebert.test.contract.patience import until
from quebert.test.fake_cluster import waiting_uuid
from quebert.test.page import Browser, PageServer, Tab, page_server
from quebert.test.page_server import HOSTILE_QUEUE

_NAME = quote(HOSTILE_QUEUE, safe="")
VIEWS = (
    "/",
    f"/queues/{_NAME}",
    f"/tasks?queue={_NAME}",
    f"/tasks/{waiting_uuid('paused')}",
    f"/tasks/{_NAME}?queue={_NAME}",
    "/dead/mail",
    f"/dead/mail?match={_NAME}&match=reason~{_NAME}",
    "/hosts",
    f"/mediators?name={_NAME}",
    f"/{_NAME}",
)


@pytest.fixture(scope="module")
def server() -> Iterator[PageServer]:
    """
    One for all tests here.
    """
    with page_server("--hostile", "--rate", "100") as found:
        yield found


def _fits(tab: Tab) -> bool:
    return bool(tab.ask("wider") == 0)


def test_texts(browser: Browser, server: PageServer) -> None:
    """
    Nothing of it is run, loaded, or taken for markup; no view is wider for it.
    """
    with browser.tab(server.url) as tab:
        asked: list[str] = []
        tab.page.on("request", lambda request: asked.append(request.url))
        for view in VIEWS[:-1]:
            page = tab.open(view)
            tab.settled()
            tab.ask("unfold")
            assert page.evaluate("typeof hacked") == "undefined", view
            assert tab.ask("foreign") == [], view
            until(partial(_fits, tab), f"{view} is wider".__str__)
        assert all(each.startswith(f"{server.url}/") for each in asked)


def test_links(browser: Browser, server: PageServer) -> None:
    """
    A queue with an odd name is opened, paused and looked up like any other.
    """
    with browser.tab(server.url) as tab:
        page = tab.open("/")
        tab.live()
        page.get_by_role("link", name=HOSTILE_QUEUE).click()
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("button", name="Resume").wait_for()
        page.get_by_role("link", name="Dead letters").click()
        page.get_by_text("No dead letter is here").wait_for()
        page.get_by_label("Text").fill(HOSTILE_QUEUE)
        page.keyboard.press("Enter")
        page.locator(".matched").wait_for()
        page.reload()
        assert HOSTILE_QUEUE in page.locator(".matched").inner_text()
    assert server.do("set", "unused", 0) == [f"pause {HOSTILE_QUEUE} by page"]


def test_answers(browser: Browser, server: PageServer) -> None:
    """
    An answer of a megabyte is shown, and not all of it.
    """
    with browser.tab(server.url) as tab:
        page = tab.open("/dead/mail")
        letters = page.locator(".letters tbody tr")
        letters.first.wait_for()
        assert len(letters.first.inner_text()) < 20_000
        assert page.evaluate("document.body.textContent.length") < 1_000_000
