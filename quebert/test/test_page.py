"""
The page of C{quebert web} in a Chromium, on a cluster that is made up: what happens is
seen, and what is pressed happens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from quebert.test.contract.patience import until
from quebert.test.fake_cluster import WAITING, waiting_uuid
from quebert.test.page import Browser, PageServer, Tab, page_server
from quebert.test.page_server import READER, TOKEN

#: Addresses of all views.
VIEWS = (
    "/",
    "/queues/mail",
    "/tasks",
    "/tasks?outcome=retry&queue=mail",
    f"/tasks/{waiting_uuid('behind')}",
    "/dead",
    "/dead/mail",
    "/hosts",
    "/mediators?name=mediator-1",
)
#: A queue to which nothing happens by itself.
IDLE = "/queues/gr%C3%B6%C3%9Fe%3A%CF%80"


@pytest.fixture(scope="module")
def server() -> Iterator[PageServer]:
    """
    One for all tests here; C{slow} alone has its tasks for long.
    """
    with page_server("--rate", "40") as found:
        yield found


@pytest.fixture(scope="module")
def flooded() -> Iterator[PageServer]:
    """
    A server of a cluster that does 20,000 tasks a second.
    """
    with page_server("--rate", "20000") as found:
        yield found


@pytest.fixture
def tab(browser: Browser, server: PageServer) -> Iterator[Tab]:
    """
    A tab for one test.
    """
    with browser.tab(server.url) as found:
        yield found


def test_burst(tab: Tab, server: PageServer, expect: Any) -> None:
    """
    A burst of 5,000 attempts is seen live, to the unit.
    """
    page = tab.open(IDLE)
    tab.live()
    server.do("attempt", "größe:π", 5_000)
    expect(page.locator(".pace")).to_contain_text(" 5,000 since you came")
    expect(page.locator(".attempts tbody tr:not(.vacant)")).to_have_count(20)


def test_flood(browser: Browser, flooded: PageServer, expect: Any) -> None:
    """
    At 20,000 tasks a second rows stay what and where they are.
    """
    with browser.tab(flooded.url) as tab:
        page = tab.open("/queues/mail")
        tab.settled()
        expect(page.locator(".attempts tbody tr:not(.vacant)")).to_have_count(20)
        expect(page.locator(".figures dd").first).to_have_text("12,400")
        tab.ask("watch", ".attempts tbody")
        until(lambda: tab.ask("changed") > 1_000)
        assert tab.ask("moved") == 0
        assert tab.ask("shift") < 0.01


def test_held(tab: Tab, server: PageServer, expect: Any) -> None:
    """
    Attempts stand still while the pointer is on them, and go on afterwards.
    """
    page = tab.open(IDLE)
    tab.live()
    server.do("attempt", "größe:π", 30)
    rows = page.locator(".attempts tbody")
    expect(rows.locator("tr:not(.vacant)")).to_have_count(20)
    rows.hover()
    expect(page.locator(".pace")).to_have_text("Held still")
    before = rows.inner_text()
    server.do("attempt", "größe:π", 300)
    page.wait_for_timeout(1_200)  # two events at least
    assert rows.inner_text() == before
    page.mouse.move(5, 5)
    expect(page.locator(".pace")).to_contain_text("since you came")
    until(lambda: rows.inner_text() != before)


def test_pause_and_resume(tab: Tab, server: PageServer, expect: Any) -> None:
    """
    A queue is paused with a button, and resumed with a key.
    """
    page = tab.open("/queues/webhooks")
    tab.live()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".title .chip")).to_have_text("paused")
    expect(page.get_by_role("status").first).to_have_text("Paused webhooks")
    expect(page.get_by_role("button", name="Resume")).to_be_enabled()
    page.keyboard.press("p")
    expect(page.get_by_role("button", name="Pause")).to_be_enabled()
    expect(page.locator(".title .chip")).to_have_text("1 breaker open")
    done = server.do("set", "unused", 0)
    assert done[-2:] == ["pause webhooks by page", "resume webhooks"]


def test_purge(tab: Tab, server: PageServer, expect: Any) -> None:
    """
    A queue is purged only when its name was written.
    """
    page = tab.open("/queues/reports")
    tab.live()
    page.get_by_role("button", name="Purge…").click()
    dialog = page.get_by_role("dialog")
    yes = dialog.get_by_role("button", name="Purge")
    expect(yes).to_be_disabled()
    dialog.get_by_role("textbox").fill("report")
    expect(yes).to_be_disabled()
    page.keyboard.press("Enter")
    expect(dialog).to_be_visible()
    dialog.get_by_role("textbox").fill("reports")
    page.keyboard.press("Enter")
    expect(page.locator("#told")).to_contain_text("Purged reports:")
    assert "purge reports" in server.do("set", "unused", 0)


def test_dead(tab: Tab, server: PageServer, expect: Any) -> None:
    """
    Dead letters are filtered by their reason, redriven, and discarded.
    """
    page = tab.open("/dead")
    tab.live()
    page.get_by_role("link", name="mail").click()
    page.get_by_role("button", name="the body is not JSON").click()
    expect(page.get_by_role("button", name="Redrive these 46")).to_be_enabled()
    # The other reasons stay, for the next choice.
    expect(page.locator(".groups li")).to_have_count(5)
    assert "match=kind%3Dpoison&match=reason~the%20body%20is%20not%20JSON" in page.url
    page.reload()
    page.get_by_role("button", name="Redrive these 46").click()
    expect(page.locator("progress")).to_be_visible()
    expect(page.locator("#told")).to_have_text("46 dead letters redriven")
    expect(page.get_by_text("No dead letter is here")).to_be_visible()
    page.get_by_role("button", name="kind is poison").click()
    page.get_by_role("button", name="reason has the body").click()
    expect(page.get_by_role("button", name="Redrive all 184")).to_be_enabled()
    # Some that are selected.
    for number in (1, 3):
        page.locator("tbody input[type=checkbox]").nth(number).check()
    page.get_by_role("button", name="Discard 2 selected…").click()
    page.get_by_role("dialog").get_by_role("button", name="Discard").click()
    expect(page.get_by_role("button", name="Redrive all 182")).to_be_enabled()
    # What is written.
    page.get_by_label("Text").fill("10.0.0.7")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Redrive these 4")).to_be_visible()
    page.get_by_role("button", name="Discard these").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert "discard mail" in server.do("set", "unused", 0)


def test_why(tab: Tab, server: PageServer, expect: Any) -> None:
    """
    Why a task waits is told as the API tells it, whatever the reason.
    """
    page = tab.open("/")
    for reason, text in WAITING.items():
        if reason == "done":
            continue
        tab.open(f"/tasks/{waiting_uuid(reason)}")
        panel = page.locator(".why")
        expect(panel).to_have_attribute("data-reason", reason)
        expect(panel).to_contain_text(text)
        if reason == "paused":
            expect(panel).to_contain_text("anna")
            expect(panel).to_contain_text(WAITING["no_consumer"])
        if reason == "behind":
            expect(panel).to_contain_text("1,200")
            expect(page.locator(".problems")).to_contain_text("120 attempts")


def test_run_now(tab: Tab, server: PageServer, expect: Any) -> None:
    """
    A delayed task is run now.
    """
    page = tab.open(f"/tasks/{waiting_uuid('not_due')}")
    page.get_by_role("button", name="Run now").click()
    expect(page.locator("#told")).to_have_text("it is attempted now")
    expect(page.locator(".title .chip")).to_have_text("running")
    assert f"run {waiting_uuid('not_due')}" in server.do("set", "unused", 0)


def test_cancel(tab: Tab, server: PageServer, expect: Any) -> None:
    """
    A task is cancelled when the user is sure, and stays so.
    """
    page = tab.open(f"/tasks/{waiting_uuid('rate_limit')}")
    cancelling = page.get_by_role("button", name="Cancel…")
    cancelling.click()
    page.get_by_role("button", name="Leave it").click()
    expect(cancelling).to_be_focused()
    page.keyboard.press("c")
    page.get_by_role("button", name="Cancel it").click()
    expect(page.locator("#told")).to_have_text("it will never be attempted")
    expect(page.locator(".title .chip")).to_have_text("cancelled")
    expect(cancelling).to_be_hidden()


def test_search(tab: Tab, server: PageServer, expect: Any) -> None:
    """
    Tasks are looked for by all that the form has, and the address keeps it.
    """
    page = tab.open("/")
    tab.live()
    page.keyboard.press("/")
    expect(page.locator("#find")).to_be_focused()
    page.keyboard.type("0badc0de")
    page.keyboard.press("Enter")
    rows = page.locator(".tasks tbody tr")
    expect(rows).to_have_count(len(WAITING))
    page.get_by_label("URL has").fill("waiting/dead")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)
    assert page.url.endswith("/tasks?q=0badc0de&url=waiting%2Fdead")
    page.get_by_label("Status").fill("700")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No task is like that")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(rows).to_have_count(50)
    page.get_by_role("button", name="Show more").click()
    expect(rows.nth(60)).to_be_visible()
    page.locator("#find").fill(waiting_uuid("dead"))
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text(waiting_uuid("dead"))
    page.locator("#find").fill("größe:π")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Queuegröße:π")


def test_search_among_many(tab: Tab, server: PageServer, expect: Any) -> None:
    """
    Where few of many tasks match, so that pages are short, the page looks on by itself.
    """
    server.do("set", "looked_at", 20)
    try:
        page = tab.open("/tasks")
        rows = page.locator(".tasks tbody tr")
        expect(rows.nth(49)).to_be_visible()
        page.get_by_label("Uuid begins").fill("0badc0de")
        page.keyboard.press("Enter")
        expect(rows).to_have_count(len(WAITING))
        expect(page.get_by_role("button", name="Show more")).to_be_hidden()
        page.get_by_label("Status").fill("700")
        page.keyboard.press("Enter")
        expect(page.get_by_text("No task is like that")).to_be_visible()
    finally:
        server.do("set", "looked_at", 0)


def test_keys(tab: Tab, server: PageServer, expect: Any) -> None:
    """
    The page is used without a pointer.
    """
    page = tab.open("/")
    tab.live()
    expect(page.locator(".queues tbody tr")).to_have_count(6)
    for key, name in (("j", "mail"), ("j", "webhooks"), ("k", "mail")):
        page.keyboard.press(key)
        expect(page.get_by_role("link", name=name, exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_be_focused()
    assert page.url.endswith("/queues/mail")
    assert page.title() == "mail · quebert"
    page.keyboard.press("Escape")
    expect(page.locator("h1")).to_have_text("Queues")
    for keys, title in (
        ("gd", "Dead letters"),
        ("gh", "Hosts"),
        ("gm", "Mediators"),
        ("gt", "Tasks"),
        ("gq", "Queues"),
    ):
        for key in keys:
            page.keyboard.press(key)
        expect(page.locator("h1")).to_have_text(title)
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("find a task or a queue")
    dialog.get_by_role("checkbox").uncheck()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.keyboard.press("g")
    page.keyboard.press("h")
    expect(page.locator("h1")).to_have_text("Queues")
    # Keys in a field are a text.
    page.keyboard.press("?")
    page.get_by_role("dialog").get_by_role("checkbox").check()
    page.keyboard.press("Escape")
    page.locator("#find").fill("g")
    page.keyboard.press("h")
    expect(page.locator("#find")).to_have_value("gh")


def test_addresses(tab: Tab, server: PageServer, expect: Any) -> None:
    """
    Each view has an address; going back and forth is as on any page.
    """
    titles = []
    for view in VIEWS:
        page = tab.open(view)
        expect(page.locator("main h1")).to_be_visible()
        assert "token" not in page.url
        titles.append(page.title())
    assert len(set(titles)) == len(VIEWS) - 1
    tab.open("/")
    tab.live()
    page.get_by_role("link", name="billing/invoices").click()
    expect(page.locator("h1")).to_have_text("Queuebilling/invoices")
    page.reload()
    expect(page.locator("h1")).to_have_text("Queuebilling/invoices")
    expect(page.locator("canvas")).to_be_visible()
    page.go_back()
    expect(page.locator("h1")).to_have_text("Queues")
    page.go_forward()
    expect(page.locator("h1")).to_have_text("Queuebilling/invoices")
    tab.open("/queues/no-such-queue")
    expect(page.get_by_text("There is no such queue")).to_be_visible()
    tab.open(f"/tasks/{waiting_uuid('dead')[:-2]}ff?queue=mail")
    expect(page.get_by_text("The history has no such task")).to_be_visible()


def test_problems(tab: Tab, server: PageServer, expect: Any) -> None:
    """
    That the broker or the history is away is said, and that they are back.
    """
    page = tab.open("/")
    tab.live()
    server.do("set", "broken", "RabbitMQ at broker.example refuses")
    server.do("set", "history_broken", "the history in /var/h: the disk is full")
    try:
        notices = page.locator("#notices")
        expect(notices).to_contain_text("RabbitMQ at broker.example refuses")
        expect(notices).to_contain_text("The history is away: /var/h: the disk")
        page.keyboard.press("g")
        page.keyboard.press("t")
        expect(page.locator("main")).to_contain_text("The history cannot be asked")
        expect(page.locator("main")).to_contain_text("The history in /var/h: the disk")
        expect(page.locator("main")).not_to_contain_text("Service Unavailable")
        tab.open("/dead/mail")
        expect(page.locator("main")).to_contain_text("refuses")
    finally:
        server.do("set", "broken", "")
        server.do("set", "history_broken", "")
    expect(notices).to_be_hidden()
    server.do("lose", 7)
    expect(notices).to_contain_text("7 attempts got lost on the way here")


def test_colours(tab: Tab, server: PageServer, expect: Any) -> None:
    """
    Dark and light are chosen, and last; without a choice it is as the system has it.
    """
    page = tab.open("/queues/mail")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)
    assert dark != light
    page.get_by_role("button", name="Colours: as the system").click()
    page.get_by_role("button", name="Colours: dark").click()
    assert page.evaluate(ground) == light
    page.reload()
    assert page.evaluate(ground) == light
    page.get_by_role("button", name="Colours: light").click()
    assert page.evaluate(ground) == dark


def test_narrow(browser: Browser, server: PageServer) -> None:
    """
    On a telephone no view is wider than the screen.
    """
    with browser.tab(server.url, width=360) as tab:
        for view in VIEWS:
            tab.open(view)
            tab.settled()
            until(lambda: tab.ask("wider") == 0, f"{view} is wider".__str__)


def test_tokens(browser: Browser, expect: Any) -> None:
    """
    Where reading needs a token, it is asked for; who may only read changes nothing.
    """
    with page_server("--closed") as server, browser.tab(server.url) as tab:
        page = tab.open("/", token="")
        expect(page.locator("#notices")).to_contain_text("This page needs a token.")
        expect(page.locator("main .loading")).to_be_hidden()
        page = tab.open("/queues/slow", token="")
        page.get_by_role("button", name="Give a token").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Token").fill("not ok")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("A token has no spaces")
        dialog.get_by_label("Token").fill(READER)
        page.keyboard.press("Enter")
        tab.live()
        page.reload()
        tab.live()
        page.get_by_role("button", name="Pause").click()
        expect(dialog).to_contain_text("needs a token with the right")
        dialog.get_by_label("Token").fill(READER)
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("does not have the right")
        dialog.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator(".title .chip")).to_have_text("paused")


def test_unknown_token(tab: Tab, server: PageServer, expect: Any) -> None:
    """
    A token that the server does not know is forgotten: reading may need none.
    """
    page = tab.open("/", token="of-a-server-before")
    expect(page.locator("#told")).to_contain_text("has forgotten it")
    tab.live()
    page.reload()
    tab.live()
    expect(page.locator(".queues tbody tr")).to_have_count(6)


def test_attempts_by_keys(tab: Tab, server: PageServer, expect: Any) -> None:
    """
    With keys one gets to the attempts, and to the task of one.
    """
    page = tab.open(IDLE)
    tab.settled()
    server.do("attempt", "größe:π", 2)
    expect(page.locator(".attempts tbody tr:not(.vacant)")).not_to_have_count(0)
    page.keyboard.press("k")
    focused = page.locator(".attempts a:focus")
    expect(focused).to_be_visible()
    expect(page.locator(".pace")).to_have_text("Held still")
    uuid = focused.get_attribute("title")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text(uuid)


def test_server_away(browser: Browser, flooded: PageServer, expect: Any) -> None:
    """
    Without the server the page says how old its data is, and connects again.
    """
    with browser.tab(flooded.url) as tab:
        page = tab.open("/queues/slow")
        tab.live()
        flooded.kill()
        expect(page.locator("#link")).to_have_attribute("data-status", "lost")
        expect(page.locator("#link-text")).to_contain_text(" s old")
        expect(page.locator("#notices")).to_contain_text("What you see is from")
        expect(page.locator("main")).to_have_class("old")
        expect(page.locator("canvas")).to_be_visible()
        try_now = page.get_by_role("button", name="Try now")
        expect(try_now).to_be_visible()
        flooded.start()
        # By itself the page may have connected meanwhile, and the button may be gone.
        try_now.evaluate_all("found => found.forEach((each) => each.click())")
        expect(page.locator("#link-text")).to_have_text("Live")
        expect(page.locator("#told")).to_have_text("Connected again")
        expect(page.locator("#notices")).to_be_hidden()
        # The browser tells of connections that fail, whoever handles it.
        others = [each for each in tab.faults if "net::ERR_" not in each]
        assert others == []
        tab.faults.clear()
