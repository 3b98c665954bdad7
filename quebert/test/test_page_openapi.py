"""
The page of the API in a Chromium: all routes are there, and are found by words, by keys
and by addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from quebert.test.page import AXE, Browser, PageServer, Tab, page_server
from quebert.test.web.doubles import MemoryAPI

PATH = "/v1/openapi"


@pytest.fixture(scope="module")
def server() -> Iterator[PageServer]:
    """
    One for all tests here; the page needs no token even where all else does.
    """
    with page_server("--rate", "1", "--closed") as found:
        yield found


@pytest.fixture
def tab(browser: Browser, server: PageServer) -> Iterator[Tab]:
    """
    A tab for one test.
    """
    with browser.tab(server.url) as found:
        yield found


def test_all(tab: Tab, expect: Any) -> None:
    """
    Each route has its method and path, and says what it needs and answers; a schema is
    a link away.  Nothing comes from elsewhere.
    """
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    page = tab.open(PATH, token="")
    routes = MemoryAPI().api.routes
    expect(page.get_by_role("status").first).to_have_text(f"{len(routes)} routes")
    for route in routes:
        summary = page.locator(f"#{route.doc.name} > summary")
        expect(summary).to_contain_text(f"{route.method}{route.path}")
    page.locator("#createTask > summary").click()
    inside = page.locator("#createTask .inside")
    expect(inside).to_contain_text("Needs a token with the right add.")
    expect(inside.locator("pre")).to_contain_text('--data \'{"url":"http://localhost')
    expect(inside).to_contain_text("Idempotency-Key header")
    expect(inside).to_contain_text("413")
    inside.get_by_role("link", name="CreatedView").click()
    schema = page.locator("#schema-CreatedView")
    expect(schema).to_have_attribute("open", "")
    expect(schema).to_contain_text("held_until")
    inside.locator("div", has_text="409").get_by_role(
        "link", name="these types"
    ).click()
    expect(page.get_by_text("/problems/name-taken")).to_be_in_viewport()
    tab.ask("unfold")
    assert tab.ask("foreign") == []
    assert all(each.startswith(f"{tab.url}/") for each in asked)


def test_found(tab: Tab, expect: Any) -> None:
    """
    Words and keys lead to a route, and an address opens one.
    """
    page = tab.open(f"{PATH}#renewLease", token="")
    expect(page.locator("#renewLease")).to_have_attribute("open", "")
    page.keyboard.press("/")
    page.keyboard.type("post dead discard")
    shown = page.locator("details:visible")
    expect(shown).to_have_count(1)
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.locator("#discardDead pre")).to_contain_text('"kind=poison"')
    page.keyboard.press("Escape")
    page.keyboard.press("k")
    expect(page.locator("#redriveDead > summary")).to_be_focused()
    page.locator("#discardDead").get_by_role("button", name="Copy").click()
    expect(page.locator("#told")).to_contain_text("Copied")


def test_linked(browser: Browser, server: PageServer, expect: Any) -> None:
    """
    The page of the cluster leads to that of the API, and back.
    """
    with browser.tab(server.url) as tab:
        page = tab.open("/")
        page.get_by_role("button", name="Keys").click()
        page.get_by_role("link", name="The HTTP API").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("The HTTP API")
        page.get_by_role("link", name="quebert", exact=True).click()
        expect(page.locator("#link")).to_be_visible()


@pytest.mark.parametrize("look", ["dark", "light", "narrow"])
def test_accessible(browser: Browser, server: PageServer, look: str) -> None:
    """
    Everybody can use it, whatever its colours and its width.
    """
    if not AXE.exists():
        pytest.skip("axe-core is not installed")
    width = 390 if look == "narrow" else 1360
    scheme = "dark" if look == "dark" else "light"
    with browser.tab(server.url, width=width, color_scheme=scheme) as tab:
        page = tab.open(PATH, token="")
        page.locator("#createTask > summary").click()
        page.locator("#createTask pre").wait_for()
        tab.page.evaluate(AXE.read_text(encoding="utf-8"))
        assert tab.ask("findings") == []
        assert tab.ask("wider") == 0
