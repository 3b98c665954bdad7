"""
C{quebert web}, mediators and databases as processes: a database hangs, is away, locked
or has no room.  No task notices; the API says what is wrong; the history then has each
attempt once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from quebert.history import HistoryQuery
from quebert.history._store import HistoryStore
from quebert.producer import Producer
from quebert.test import impatient_web
from quebert.test.conftest import Names
from quebert.test.postgresql import PostgreSQLServer, find_postgresql
from quebert.test.support import PATIENCE, Executor, Program, until
from quebert.test.test_processes import mediator, watch
from quebert.testing import EmbeddedBroker, free_port

reactor: Any = global_reactor

#: Tasks that are added at a time.
SOME = 60
#: Bytes of the small disk.
DISK = 2**24
_HOLDING = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for each in sys.argv[2:]:
    connection.execute(each)
print("held", flush=True)
sys.stdin.read()
"""


class Site:
    """
    A broker, two mediators, an executor, and C{quebert web} with a history.

    @param url: of the database.
    """

    def __init__(
        self,
        start: Callable[..., Program],
        broker: EmbeddedBroker,
        executor: Executor,
        producer: Producer,
        names: Names,
        url: str,
    ) -> None:
        self._start = start
        self._broker = broker
        self._executor = executor
        self._producer = producer
        self._names = names
        self._url = url
        self._port = free_port()
        self._added = 0
        self.web: Program

    async def start(self) -> None:
        """
        Start all of it.
        """
        for _ in range(2):
            options = f"--default-url={self._executor.url}/", watch(self._names, 20)
            await mediator(self._start, self._broker, *options).said("Watching")
        self.start_web()
        await self.until_well()

    def start_web(self) -> None:
        """
        Start C{quebert web}.
        """
        self.web = self._start(
            *("-m", impatient_web.__name__, "web", "--amqp-url", self._broker.url),
            *("--listen", str(self._port), "--history", self._url),
        )

    async def ask(self, path: str) -> tuple[int, Any]:
        """
        The status and the JSON of an answer; 0 if there is none.
        """

        def asked() -> tuple[int, Any]:
            url = f"http://127.0.0.1:{self._port}{path}"
            try:
                with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as e:
                return e.code, json.load(e)
            except OSError:
                return 0, None

        return await deferToThread(asked)

    async def until_well(self) -> None:
        """
        Wait until the history takes attempts.
        """
        deadline = reactor.seconds() + PATIENCE
        while (answer := await self.ask("/readyz"))[0] != 200:
            assert reactor.seconds() < deadline, answer
            await deferLater(reactor, 0.1)

    async def is_wrong(self, *words: str) -> bool:
        """
        Whether the overview says in a sentence with one of C{words} that something is
        wrong with the history.
        """
        status, overview = await self.ask("/v1/overview")
        said = overview["history"]["problem"] if status else ""
        if not any(word in said for word in words):
            return False
        assert said.startswith("the history in "), said
        assert "\n" not in said
        assert not overview["history"]["ok"]
        return True

    async def until_wrong(self, *words: str) -> None:
        """
        Wait until that is so, and see that C{/readyz} says so, too.
        """
        deadline = reactor.seconds() + PATIENCE
        while not await self.is_wrong(*words):
            assert reactor.seconds() < deadline, words
            await deferLater(reactor, 0.1)
        status, health = await self.ask("/readyz")
        assert status == 503
        assert "history_away" in [each["name"] for each in health["reasons"]]

    async def add(self) -> None:
        """
        Add tasks, and wait until all were requested.
        """
        key = self._names.key.replace("#", "medium")
        kind = key.partition(".")[0]
        tasks = [{"url": f"/{n}", "kind": kind} for n in range(SOME)]
        results: list[Any] = []
        added = await self._producer.add_tasks(tasks, results.append)
        assert added == SOME, results
        self._added += SOME
        await until(lambda: len(self._executor.tasks) == self._added)

    async def refuses(self, *words: str) -> None:
        """
        See that what asks for the history is told why there is no answer.
        """
        for path in ("/v1/tasks", "/v1/tasks/0-0"):
            status, found = await self.ask(path)
            assert status == 503, found
            assert any(word in found["detail"] for word in words), found
        queue = f"/v1/queues/{self._names.queue}"
        while (await self.ask(queue))[0] == 404:  # no mediator has told of it
            await deferLater(reactor, 0.1)
        status, found = await self.ask(queue)
        assert status == 200, found
        assert found["problems"], found

    async def searches(self) -> None:
        """
        See that the history can be searched.
        """
        status, found = await self.ask("/v1/tasks")
        assert status == 200, found
        assert len(found["tasks"]) == 50

    async def complete(self) -> None:
        """
        Wait until all attempts are in the history, and see that it has each once.
        """
        await self.until_well()

        def count() -> int:
            return sum(sum(each.values()) for each in store.totals(None).values())

        with closing(HistoryStore(self._url)) as store:
            await until(lambda: count() == self._added, shown=count)
            uuids = {task["uuid"] for task in self._executor.tasks}
            assert len(uuids) == self._added
            assert store.gaps_between(None, None) == []
            page = store.find_tasks(HistoryQuery(), "", 2 * self._added)
            assert {task.uuid for task in page.tasks} == uuids
            assert {task.attempts for task in page.tasks} == {1}


Enter = Callable[[str], Any]


@pytest.fixture
def enter(
    start: Callable[..., Program],
    executor: Executor,
    make_client: Callable[..., Any],
    names: Names,
) -> Enter:
    """
    Makes a L{Site} whose history is at a URL.
    """

    @asynccontextmanager
    async def entered(url: str) -> AsyncIterator[Site]:
        with EmbeddedBroker() as broker:
            producer = Producer(make_client(broker.url), names.exchange)
            site = Site(start, broker, executor, producer, names, url)
            await site.start()
            await site.add()
            await site.complete()
            yield site
            await site.complete()

    return entered


@ensureDeferred
async def test_postgresql(enter: Enter) -> None:
    """
    PostgreSQL that hangs, and then is away, also while C{quebert web} starts.
    """
    if find_postgresql() is None:
        pytest.skip("PostgreSQL is not installed: sh .ci/servers installs it")
    with PostgreSQLServer() as server:
        async with enter(server.url) as site:
            with server.frozen():
                await site.add()
                await site.until_wrong("no answer in 1.5 s")
                await site.refuses("no answer in 1.5 s")
            await site.complete()
            server.stop()
            await site.add()
            await site.until_wrong("refused", "closed", "terminat")
            await site.refuses("refused")
            site.web.kill()
            site.start_web()
            await site.until_wrong("refused")
            await site.add()
            await deferToThread(server.start)


@ensureDeferred
async def test_locked(enter: Enter, tmp_path: Path) -> None:
    """
    A file that another process has locked against those who write, and against all
    while C{quebert web} starts.
    """
    path = tmp_path / "history.sqlite"
    async with enter(str(path)) as site:
        with holding(path, "BEGIN EXCLUSIVE"):
            await site.add()
            await site.until_wrong("database is locked")
            await site.searches()
        await site.complete()
        site.web.kill()
        with holding(path, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE"):
            site.start_web()
            await site.until_wrong("database is locked")
            await site.add()
            await site.refuses("database is locked")


@ensureDeferred
async def test_killed(enter: Enter, tmp_path: Path) -> None:
    """
    C{quebert web} is killed again and again while tasks are done.
    """
    async with enter(str(tmp_path / "history.sqlite")) as site:
        for _ in range(2):
            adding = Deferred.fromCoroutine(site.add())
            site.web.kill()
            await adding
            await site.add()
            site.start_web()
            await site.add()


@ensureDeferred
async def test_full_disk(enter: Enter, small_disk: Path) -> None:
    """
    A file system without room.
    """
    async with enter(str(small_disk / "history.sqlite")) as site:
        filling = small_disk / "filling"
        with open(filling, "wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        while not await site.is_wrong("full", "no space"):
            await site.add()
        await site.add()
        await site.searches()
        filling.unlink()


@contextmanager
def holding(path: Path, *statements: str) -> Iterator[None]:
    """
    Another program does this to a database, and then waits.
    """
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDING, str(path), *statements],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            program.communicate()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """
    A file system with little room.
    """
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("a file system can be mounted by root alone")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
