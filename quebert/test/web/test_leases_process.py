"""
Leases with real processes: RabbitMQ, a mediator and C{quebert web} are killed while
executors have tasks, and started again.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.server import Request

from quebert.signatures import SharedSecret
from quebert.test.support import PATIENCE, Executor, Program, until
from quebert.testing import RabbitMQNode, free_port
from quebert.web import EVERYTHING, new_token, token_line

reactor: Any = global_reactor

CONFIGURATION = """
[broker]
url_file = "amqp"
[queues.tasks]
key = "tasks.#"
mediator = "policy"
retry = {{ min_backoff = 0.1, max_backoff = 1 }}
guard = {{ private = "allow" }}
[leases]
url = "http://127.0.0.1:{port}"
secrets_file = "secrets"
[web.cluster]
listen = "127.0.0.1:{port}"
tokens = "tokens"
"""

#: A secret of tasks, which is in all parts that may hold one.
CANARY = "canaryofthesecretxx"
#: What executors do with their leases.
RUNS_OUT, RENEWS, COMPLETES = range(3)
#: Seconds of a lease that runs out, and of one that lasts through a restart.
SHORT, LONG = 2, 300


class LeasingExecutor(Executor):
    """
    Leases each task, and is told the end of each.

    @ivar urls: of the leases of each task, in their order.
    @ivar ended: what callbacks have told, by their uuids.
    """

    def __init__(self) -> None:
        super().__init__(reactor)
        self.urls: dict[int, list[str]] = {}
        self.ended: dict[str, dict[str, Any]] = {}
        self.answer = lambda task: 202

    def _write(self, status: int, request: Request) -> None:
        task = json.loads(self.bodies[-1])
        n = task["params"]
        if isinstance(n, dict):
            self.ended[task["uuid"]] = n
            super()._write(200, request)
            return
        url = request.getHeader("Quebert-Lease-URL")
        assert url is not None
        self.urls.setdefault(n, []).append(url)
        seconds = SHORT if n % 3 == RUNS_OUT and len(self.urls[n]) == 1 else LONG
        request.setHeader("Quebert-Lease", str(seconds))
        super()._write(status, request)


async def post(url: str, body: Any, token: str = "") -> tuple[int, Any]:
    """
    Make a request until there is an answer that is no 503.
    """
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(
        url, None if body is None else json.dumps(body).encode(), headers
    )

    def ask() -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as e:
            return e.code, json.load(e)
        except OSError:
            return 0, None

    deadline = reactor.seconds() + PATIENCE
    while True:
        status, told = await deferToThread(ask)
        if status not in (0, 503):
            return status, told
        assert reactor.seconds() < deadline, (url, told)
        await deferLater(reactor, 0.2)


async def all_of(work: Sequence[Any]) -> None:
    """
    Wait for all of it.
    """
    running = [Deferred.fromCoroutine(each) for each in work]
    await DeferredList(running, fireOnOneErrback=True)


class Site:
    """
    A mediator and C{quebert web}.
    """

    def __init__(
        self, start: Callable[..., Program], node: RabbitMQNode, folder: Path
    ) -> None:
        self._start = start
        self._folder = folder
        self._port = free_port()
        self.token = new_token()
        line = token_line("all", sorted(EVERYTHING), ["*"], self.token)
        secret = SharedSecret(b"s" * 24).text
        files = {"amqp": f"{node.url}%2f", "tokens": line, "secrets": secret}
        for name, text in files.items():
            (folder / name).write_text(f"{text}\n")
            (folder / name).chmod(0o600)
        text = CONFIGURATION.format(port=self._port)
        (folder / "quebert.toml").write_text(text)
        self.programs: list[Program] = []
        self.all_programs: list[Program] = []

    @property
    def output(self) -> str:
        """
        What all programs have said, and the audit log.
        """
        said = [each.output for each in self.all_programs]
        return "".join([*said, (self._folder / "audit").read_text()])

    @property
    def url(self) -> str:
        """
        Of the API.
        """
        return f"http://127.0.0.1:{self._port}/v1"

    async def begin(self) -> None:
        """
        Start both.
        """
        config = f"--config={self._folder / 'quebert.toml'}"
        web = self._start(
            *("-m", "quebert", "web", config),
            *("--history", str(self._folder / "history.sqlite")),
            *("--tasks", str(self._folder / "tasks.sqlite")),
            *("--audit", str(self._folder / "audit")),
        )
        mediator = self._start("-m", "twisted", "quebert", config)
        self.programs = [web, mediator]
        self.all_programs += self.programs
        await mediator.said("Watching")

    def kill(self) -> None:
        """
        Kill both.
        """
        for each in self.programs:
            each.kill()


@pytest.mark.parametrize("count", [30, pytest.param(500, marks=pytest.mark.long)])
@ensureDeferred
async def test_restart(
    count: int,
    own_rabbitmq: RabbitMQNode,
    start: Callable[..., Program],
    tmp_path: Path,
) -> None:
    """
    Each task ends as its executor has it, and none is completed twice.  No secret of a
    task, a lease or a token is in a log, or is told by the API.
    """
    executor = LeasingExecutor()
    site = Site(start, own_rabbitmq, tmp_path)
    completed: Counter[int] = Counter()

    async def complete(n: int, url: str) -> None:
        status, _ = await post(f"{url}:complete", {})
        completed[n] += status == 200

    async def complete_any(n: int) -> None:
        """
        Complete a task by whichever of its leases is held: a copy of its message, whose
        mediator was killed, may come last, with a lease that has run out.
        """
        while not completed[n]:
            for url in dict.fromkeys(executor.urls[n]):
                await complete(n, url)
            await deferLater(reactor, 0.1)

    async def held(n: int) -> None:
        """
        Wait until the message of a task is in its row.
        """
        while True:
            status, told = await post(f"{executor.urls[n][0]}:renew", {"seconds": LONG})
            if status == 200:
                return
            assert told["detail"].endswith("or it is over"), told
            await deferLater(reactor, 0.1)

    try:
        await site.begin()
        secret_url = executor.url.replace("://", f"://me:{CANARY}@")
        of_all = {
            "url": f"{secret_url}/?key={CANARY}",
            "headers": {"X-Key": CANARY},
            "callback_url": f"{executor.url}/ended",
        }
        new = [{**of_all, "params": n, "name": f"n{n}"} for n in range(count)]
        _, told = await post(f"{site.url}/tasks:batch", {"tasks": new}, site.token)
        uuids = [each["task"]["uuid"] for each in told["results"]]
        await until(lambda: len(executor.urls) == count)
        by_kind = [[n for n in range(count) if n % 3 == kind] for kind in range(3)]
        await all_of([held(n) for n in by_kind[RENEWS]])
        await all_of([complete(n, executor.urls[n][0]) for n in by_kind[COMPLETES]])
        site.kill()
        own_rabbitmq.kill()
        own_rabbitmq.start()
        await site.begin()
        await all_of([held(n) for n in by_kind[RENEWS]])
        await all_of([complete(n, executor.urls[n][0]) for n in by_kind[RENEWS]])
        await until(lambda: all(len(executor.urls[n]) > 1 for n in by_kind[RUNS_OUT]))
        await all_of([complete_any(n) for n in by_kind[RUNS_OUT]])
        for n in range(count):  # again
            await complete(n, executor.urls[n][0])
        assert completed == Counter(dict.fromkeys(range(count), 1))
        # RabbitMQ may forget an acknowledgement when it is killed: the first attempt is
        # made twice then, with the same lease.
        assert all(len(set(executor.urls[n])) == 1 for n in by_kind[RENEWS])
        for uuid in uuids:
            while True:
                _, row = await post(f"{site.url}/tasks/{uuid}", None, site.token)
                if row["created"]["state"] == "ended":
                    break
                await deferLater(reactor, 0.1)
            assert row["created"]["end"]["outcome"] == "done"
            assert CANARY not in json.dumps(row)
        # Each callback comes when its task is completed, and not at the 202.
        await until(lambda: len(executor.ended) == count)
        ended = executor.ended.values()
        assert {each["uuid"] for each in ended} == set(uuids)
        assert {each["name"] for each in ended} == {f"n{n}" for n in range(count)}
        assert {(each["outcome"], each["status"]) for each in ended} == {("done", 202)}
        told = site.output
        codes = {url[-21:] for urls in executor.urls.values() for url in urls}
        assert not [each for each in (CANARY, site.token, *codes) if each in told]
    finally:
        await executor.close()
