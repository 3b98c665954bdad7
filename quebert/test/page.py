"""
What tests of the page share: Chromium, and the server of a cluster that is made up.

Playwright drives the Chromium of Debian; it brings none of its own.  While it does, its
loop of asyncio runs in this thread: so a test module keeps a browser no longer than its
own tests last.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from quebert.test.page_server import TOKEN
from quebert.testing import free_port

__all__ = [
    "AXE",
    "MILLISECONDS",
    "Browser",
    "PageServer",
    "Tab",
    "chromium",
    "page_server",
]

#: The file of axe-core, if C{make .venv/node_modules} has installed it.
AXE = Path(sys.prefix, "node_modules", "axe-core", "axe.min.js")
_IN_PAGE = Path(__file__).parent / "page_modules" / "in_page.js"
#: How long something is waited for: far more than anything takes.
MILLISECONDS = 30_000
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# What a browser says of answers that are no success; the page shows them.
_ANSWERS = re.compile(r"Failed to load resource: the server responded with a status of")


class PageServer:
    """
    C{python -m quebert.test.page_server}, as a process.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = arguments
        self.port = free_port()  # nobody else gets it between two starts
        self.start()

    def start(self) -> None:
        """
        Start it.
        """
        command = [sys.executable, "-m", "quebert.test.page_server", *self._arguments]
        self._process = subprocess.Popen(
            [*command, "--port", str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the server has ended"
        return line

    @property
    def url(self) -> str:
        """
        Where its page is.
        """
        return f"http://127.0.0.1:{self.port}"

    def do(self, *command: Any) -> list[str]:
        """
        Have something done to the cluster.

        @return: all that was done to it by the API.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        found: list[str] = json.loads(self._line())
        return found

    def kill(self) -> None:
        """
        End it at once.
        """
        self._process.kill()
        self._process.communicate()


class Tab:
    """
    A tab of a browser, that keeps what goes wrong in it.

    @ivar page: of Playwright.
    @ivar faults: errors of scripts, of the policy, and of the console.
    """

    def __init__(self, context: Any, url: str) -> None:
        self.url = url
        self.page = context.new_page()
        self.page.set_default_timeout(MILLISECONDS)
        self.faults: list[str] = []
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", self._asked)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning") and not _ANSWERS.match(message.text):
            self.faults.append(message.text)

    def _asked(self, dialog: Any) -> None:
        self.faults.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def open(self, path: str, token: str = TOKEN) -> Any:
        """
        Load the page at a path; gives the page.
        """
        fragment = f"#token={token}" if token else ""
        self.page.goto(f"{self.url}{path}{fragment}")
        return self.page

    def ask(self, what: str, *arguments: str) -> Any:
        """
        Call a function of C{page_modules/in_page.js}, or give a number of its.
        """
        self.page.evaluate(_IN_PAGE.read_text(encoding="utf-8"))
        return self.page.evaluate(
            """([what, all]) => {
                const { [what]: found } = quebertTest;
                const called = found instanceof Function;
                return called ? found.apply(quebertTest, all) : found;
            }""",
            [what, list(arguments)],
        )

    def settled(self) -> None:
        """
        Wait until data comes, and the view has all that it has asked for.
        """
        self.live()
        self.page.locator("main .loading:visible").wait_for(state="hidden")

    def live(self) -> None:
        """
        Wait until data comes.
        """
        self.page.locator("#link[data-status=live]").wait_for()


class Browser:
    """
    A headless Chromium.
    """

    def __init__(self, browser: Any) -> None:
        self._browser = browser

    @contextmanager
    def tab(
        self, url: str, *, width: int = 1360, height: int = 850, **options: Any
    ) -> Iterator[Tab]:
        """
        A tab of its own; nothing may go wrong in it.

        @param options: of C{new_context}.
        """
        size = {"width": width, "height": height}
        context = self._browser.new_context(viewport=size, **options)
        try:
            tab = Tab(context, url)
            yield tab
            assert not tab.faults, tab.faults
        finally:
            context.close()


@contextmanager
def chromium() -> Iterator[Browser]:
    """
    A Chromium; the test is skipped where there is none.
    """
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("Chromium is not installed")
    try:
        from playwright.sync_api import expect, sync_playwright
    except ModuleNotFoundError:
        pytest.skip("Playwright is not installed")
    expect.set_options(timeout=MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=_ARGUMENTS, timeout=120_000
        )
        try:
            yield Browser(browser)
        finally:
            browser.close()


@contextmanager
def page_server(*arguments: str) -> Iterator[PageServer]:
    """
    A server of a cluster that is made up.
    """
    server = PageServer(arguments)
    try:
        yield server
    finally:
        server.kill()
