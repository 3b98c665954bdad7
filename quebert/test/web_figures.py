"""
What C{quebert web} tells of a cluster, for tests that compare figures: its API, its
metrics, its history, and its page in a Chromium.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import attrs
import pika
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread, deferToThreadPool
from twisted.python.threadpool import ThreadPool

from quebert.errors import HistoryError
from quebert.events import HISTORY
from quebert.history import open_ledger
from quebert.test.conftest import AnyBroker
from quebert.test.page import Tab, chromium
from quebert.test.support import PATIENCE, Program
from quebert.test.test_view_process import Onlooker
from quebert.testing import free_port

__all__ = ["PageFigures", "WebFigures", "page_figures", "web_figures"]

T = TypeVar("T")
reactor: Any = global_reactor


class WebFigures:
    """
    A C{quebert web}, with its history in SQLite.

    @ivar onlooker: looks at it.
    @ivar program: its process.
    """

    def __init__(
        self, start: Callable[..., Program], broker: AnyBroker, queue: str, folder: Path
    ) -> None:
        self.queue = queue
        self.onlooker = Onlooker(free_port())
        self._history = str(folder / "history.sqlite")
        self.program = start(
            *("-m", "quebert", "web", "--amqp-url", broker.url, "--queue", queue),
            *("--listen", str(self.onlooker.port), "--history", self._history),
        )

    @property
    def url(self) -> str:
        """
        Of its page.
        """
        return f"http://127.0.0.1:{self.onlooker.port}"

    def _get(self, path: str) -> Any:
        status, body = self.onlooker.get(path)
        assert status == 200, (path, status, body)
        return json.loads(body)

    async def ask(self, path: str) -> Any:
        """
        What its API answers.
        """
        return await deferToThread(self._get, path)

    async def row(self, condition: Callable[[Any], bool]) -> Any:
        """
        The queue in its overview, once C{condition} is true of it.
        """

        async def found() -> Any:
            queues = (await self.ask("/v1/overview"))["queues"]
            return next(each for each in queues if each["name"] == self.queue)

        return await _until(found, condition)

    async def row_and_dead(self, condition: Callable[[Any], bool]) -> tuple[Any, Any]:
        """
        The same, and the dead letters of the queue, once both tell of as many.  The
        overview is of a look that may be two seconds old, but for the tasks at work.
        """

        async def found() -> tuple[Any, Any]:
            row = await self.row(condition)
            return row, await self.ask(f"/v1/queues/{self.queue}/dead")

        return await _until(found, lambda found: found[0]["dead"] == found[1]["count"])

    async def counted(self, outcomes: Counter[str]) -> None:
        """
        Wait until its history counts so many attempts with each outcome.
        """
        await _until(self._totals, lambda found: found == outcomes)

    async def _totals(self) -> Counter[str]:
        ledger = await open_ledger(self._history)
        try:
            return Counter((await ledger.totals()).get(self.queue, {}))
        except HistoryError:  # quebert web has locked it for too long
            return Counter()
        finally:
            await ledger.close()

    async def tasks(self) -> dict[str, Any]:
        """
        All tasks of the queue that its history has, by their uuids.
        """
        return await deferToThread(self._tasks)

    def _tasks(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        path = target = f"/v1/tasks?queue={self.queue}&page_size=500"
        while target:
            page = self._get(target)
            found.update((each["uuid"], each) for each in page["tasks"])
            token = page["next_page_token"]
            target = f"{path}&page_token={token}" if token else ""
        return found

    async def lives(self, uuids: Iterable[str]) -> dict[str, Any]:
        """
        The whole lives of some tasks, by their uuids.
        """
        paths = [(each, f"/v1/tasks/{each}") for each in uuids]
        return await deferToThread(lambda: {u: self._get(path) for u, path in paths})


async def _until(
    asking: Callable[[], Awaitable[T]], condition: Callable[[T], bool]
) -> T:
    deadline = reactor.seconds() + PATIENCE
    while not condition(found := await asking()):
        assert reactor.seconds() < deadline, found
        await deferLater(reactor, 0.2)
    return found


@asynccontextmanager
async def web_figures(
    start: Callable[..., Program], broker: AnyBroker, queue: str, folder: Path
) -> AsyncIterator[WebFigures]:
    """
    A C{quebert web} on a broker that others use later: so no queue of its history stays
    there.
    """
    web = WebFigures(start, broker, queue, folder)
    try:
        await web.onlooker.ready()
        yield web
    finally:
        web.program.kill()
        connection = pika.BlockingConnection(pika.URLParameters(f"{broker.url}%2f"))
        connection.channel().queue_delete(HISTORY)
        connection.close()


@attrs.define(eq=False)
class PageFigures:
    """
    The page in two tabs, as a person reads it: all queues, and one queue.
    """

    queue: str
    _pool: ThreadPool
    _stack: ExitStack
    _all: Tab
    _one: Tab

    async def until(self, wanted: dict[str, int], attempts: int) -> None:
        """
        Wait until the row of the queue, and the sums of all queues, have these figures;
        and the page of the queue as many attempts since it was opened.

        @param wanted: by the headings of the table.
        """
        await self._do(self._until, wanted, attempts)

    def _until(self, wanted: dict[str, int], attempts: int) -> None:
        from playwright.sync_api import expect

        row = self._all.page.locator(f'tr:has(a[href="/queues/{self.queue}"])')
        for title, number in wanted.items():
            cell = row.locator(f'[data-title="{title}"]')
            expect(cell).to_have_text(f"{number:,}")
            for page in (self._all.page, self._one.page):
                figure = page.locator(f'.figures div:has(> dt:text-is("{title}")) dd')
                if title != "Cons.":
                    expect(figure).to_have_text(f"{number:,}")
        pace = self._one.page.locator(".pace")
        expect(pace).to_contain_text(f" {attempts:,} since you came")

    async def dead(self) -> int:
        """
        How many dead letters the page tells of, by their reasons.
        """
        return await self._do(self._dead)

    def _dead(self) -> int:
        page = self._one.open(f"/dead/{self.queue}", "")
        page.locator(".letters tbody tr").first.wait_for()
        counts = page.locator(".groups .number").all_inner_texts()
        return sum(int(each.replace(",", "")) for each in counts)

    async def statuses(self, uuid: str) -> list[str]:
        """
        The statuses of the attempts at a task, as the page tells its life.
        """
        return await self._do(self._statuses, uuid)

    def _statuses(self, uuid: str) -> list[str]:
        page = self._one.open(f"/tasks/{uuid}?queue={self.queue}", "")
        page.locator("li[data-number]").first.wait_for()
        told = page.locator("li[data-number] .badge").all_inner_texts()
        return [str(each) for each in told]

    async def _do(self, call: Callable[..., T], *arguments: Any) -> T:
        doing: Deferred[T] = deferToThreadPool(reactor, self._pool, call, *arguments)
        return await doing


def _opened(stack: ExitStack, web: WebFigures) -> tuple[Tab, Tab]:
    browser = stack.enter_context(chromium())
    tabs = [stack.enter_context(browser.tab(web.url)) for _ in range(2)]
    for tab, path in zip(tabs, ("/", f"/queues/{web.queue}"), strict=True):
        tab.open(path, "")
        tab.settled()
    return tabs[0], tabs[1]


@asynccontextmanager
async def page_figures(web: WebFigures) -> AsyncIterator[PageFigures | None]:
    """
    The page of a C{quebert web}; C{None} where there is no Chromium.  A thread of its
    own drives it: Playwright holds up its thread, while the reactor has an executor.
    """
    if shutil.which("chromium") is None:
        yield None
        return
    stack, pool = ExitStack(), ThreadPool(1, 1, "page")
    pool.start()
    try:
        tabs = await deferToThreadPool(reactor, pool, _opened, stack, web)
        yield PageFigures(web.queue, pool, stack, *tabs)
    finally:
        try:
            await deferToThreadPool(reactor, pool, stack.close)
        finally:
            pool.stop()
