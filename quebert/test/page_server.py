"""
The web server of a cluster that is made up, as a process that tests command::

    python -m quebert.test.page_server --port 8080 --hostile

It prints its port.  Each line of its input is a JSON list: the name of a method of the
cluster and its arguments, C{["attempt", "mail", 5000]}, or C{["set", NAME, VALUE]}; it
answers each with a line.  It ends with its input.

With C{--hostile} all texts are those of an executor, or a producer, that attacks who
looks on; with C{--lifelike} it is one for pictures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, TypeVar, cast
from uuid import NAMESPACE_URL, uuid5

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react
from twisted.protocols.basic import LineReceiver

import quebert.web
from quebert.history import DueCount, PastAttempt, TaskSummary
from quebert.operations import Match, WhyReason
from quebert.test import fake_cluster
from quebert.test.created_tasks.doubles import in_memory
from quebert.test.fake_cluster import FakeCluster
from quebert.web import (
    EVERYTHING,
    Assets,
    ClusterView,
    DeadPage,
    Grant,
    QueueDetail,
    TaskDetail,
    TaskPage,
    TaskQuery,
    Tokens,
    WebServer,
    WhyView,
)

__all__ = ["HOSTILE", "HOSTILE_QUEUE", "PICTURED", "READER", "TOKEN", "main"]

#: It may do everything.
TOKEN = "page-token-that-may-do-everything"
#: It may only look.
READER = "page-token-that-may-only-read-it"
#: What attackers write.
HOSTILE = (
    "<script>hacked=1</script>",
    '"><img src=x onerror=hacked=1>',
    "javascript:hacked=1",
    "<svg/onload=hacked=1>",
    "</title></textarea></style><script>hacked=1</script>",
    "{{constructor.constructor('hacked=1')()}}${hacked=1}",
    "\u202egnp.exe\u0000\u200b\ufeff\u2066",
    "__proto__",
    "constructor",
    "%3Cscript%3Ehacked=1%3C/script%3E",
    "https://user@evil.example/?<b>&amp;&#x3c;",
    "A" * 200_000,
    "\ud800 lone",
    "a\nb\rc\u2028d",
    "ﷺ" * 500 + "Z͑ͫ̓̍" * 200,
)
#: A task with a life to look at.
PICTURED = "7c1f9a52-3b0e-4d6a-9c57-20f6e8d1b944"
# Number, due, seconds, status, reason, answer, due again; from the start.
_ATTEMPTS = (
    (1, -95, 0.21, 500, "the answer was 500", "Traceback: KeyError('to')", -80),
    (2, -80, 9.0, None, "no answer came within 9 s", "", -50),
    (3, -48, 0.34, 503, "the answer was 503", "upstream connect error", 75),
)
#: The name of a queue that an attacker has made.
HOSTILE_QUEUE = '"><img src=x onerror=hacked=1>/..%2F?#&=ö'
# What must stay as it is for the page to find anything again.
_KEPT = {"name", "uuid", "queue", "state", "outcome", "version", "next_page_token"}

T = TypeVar("T")


class HostileCluster(FakeCluster):
    """
    A cluster all of whose texts are attacks.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._attacks = itertools.cycle(HOSTILE)

    async def overview(self) -> ClusterView:
        return self._attacked(await super().overview())

    async def queue(self, name: str) -> QueueDetail:
        return self._attacked(await super().queue(name))

    async def dead(
        self, queue: str, matches: Sequence[Match], token: str, size: int
    ) -> DeadPage:
        return self._attacked(await super().dead(queue, matches, token, size))

    async def tasks(self, query: TaskQuery) -> TaskPage:
        return self._attacked(await super().tasks(query))

    async def task(self, uuid: str) -> TaskDetail | None:
        return self._attacked(await super().task(uuid))

    async def why(self, uuid: str, queue: str) -> WhyView:
        return self._attacked(await super().why(uuid, queue))

    def _record(self, queue: str, now: float) -> Any:
        return self._attacked(super()._record(queue, now))

    def _attacked(self, value: T) -> T:
        """
        The same with other texts.
        """
        found: Any = value
        if attrs.has(type(value)):
            changes = {
                field.alias: self._attacked(getattr(value, field.name))
                for field in attrs.fields(type(found))
                if field.name not in _KEPT
            }
            return cast("T", attrs.evolve(found, **changes))
        if isinstance(value, str):
            found = next(self._attacks)
        elif isinstance(value, tuple):
            found = tuple(map(self._attacked, value))
        elif isinstance(value, dict):
            found = {name: self._attacked(each) for name, each in value.items()}
        return cast("T", found)


class LifelikeCluster(FakeCluster):
    """
    A cluster as one would like to see it in a picture.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        for queue in self._queues.values():
            queue.dead = [
                attrs.evolve(each, uuid=str(uuid5(NAMESPACE_URL, each.url)))
                for each in queue.dead
            ]
        for _ in range(600):
            self.tick()

    async def queue(self, name: str) -> QueueDetail:
        detail = await super().queue(name)
        columns = tuple(
            attrs.evolve(column, counts=self._counts(number, len(column.counts)))
            for number, column in enumerate(detail.latency.columns)
        )
        latency = attrs.evolve(detail.latency, columns=columns)
        due = tuple(
            DueCount(at=self._now() + 30 * n, count=int(40 / n + 12 * (n % 7 == 0)))
            for n in range(1, 40)
        )
        return attrs.evolve(detail, latency=latency, due=due)

    def _counts(self, column: int, rows: int) -> tuple[int, ...]:
        """
        Most requests are quick; for a while, some wait for a database.
        """
        peak = 3.2 + 0.6 * math.sin(column / 9)
        slow = 60 * math.exp(-(((column - 40) / 5) ** 2))
        draw = Random(column)
        return tuple(
            int(
                900 * math.exp(-((row - peak) ** 2) / 1.1) * draw.uniform(0.7, 1.2)
                + slow * math.exp(-((row - 7.5) ** 2) / 1.6) * draw.uniform(0.3, 1.5)
            )
            for row in range(rows)
        )

    async def task(self, uuid: str) -> TaskDetail | None:
        if uuid != PICTURED:
            return await super().task(uuid)
        attempts = tuple(
            PastAttempt(
                uuid=uuid,
                queue="mail",
                url="https://mail.example/letters/8841",
                number=number,
                added=self._started - 107,
                due=self._started + due,
                started=self._started + due + 0.1,
                ended=self._started + due + 0.1 + seconds,
                status=status,
                outcome="retry",
                reason=reason,
                answer=answer,
                retry_at=self._started + again,
                mediator=f"mediator-{number % 2}",
            )
            for number, due, seconds, status, reason, answer, again in _ATTEMPTS
        )
        task = TaskSummary(
            uuid=uuid,
            queue="mail",
            url=attempts[0].url,
            state="retrying",
            added=attempts[0].added,
            attempts=len(attempts),
            last=attempts[-1],
            retry_at=attempts[-1].retry_at,
        )
        return TaskDetail(task=task, attempts=attempts)

    async def why(self, uuid: str, queue: str) -> WhyView:
        if uuid != PICTURED:
            return await super().why(uuid, queue)
        first = WhyReason(
            reason="retrying",
            text="the last attempt was answered 503; it is tried again",
            until=self._started + _ATTEMPTS[-1][-1],
        )
        return WhyView(first=first, every=(first,))


class Commands(LineReceiver):
    """
    Does what the lines of the input say.
    """

    delimiter = b"\n"

    def __init__(self, cluster: FakeCluster, ended: Deferred[None]) -> None:
        self._cluster = cluster
        self._ended = ended

    def lineReceived(self, line: bytes) -> None:
        """
        Do it, and tell so.
        """
        name, *arguments = json.loads(line)
        if name == "set":
            setattr(self._cluster, *arguments)
        else:
            getattr(self._cluster, name)(*arguments)
        self.sendLine(json.dumps(self._cluster.done).encode("utf-8"))

    def connectionLost(self, reason: Any = None) -> None:
        """
        Whoever commands is gone.
        """
        if not self._ended.called:
            self._ended.callback(None)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m quebert.test.page_server")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--hostile", action="store_true")
    parser.add_argument("--lifelike", action="store_true")
    parser.add_argument("--closed", action="store_true", help="reading needs a token")
    return parser.parse_args()


def main(reactor: Any) -> Deferred[None]:
    """
    Serve, until the input ends.
    """
    asked = _arguments()
    kind: type[FakeCluster] = LifelikeCluster if asked.lifelike else FakeCluster
    if asked.hostile:
        kind = HostileCluster
        fake_cluster.QUEUES[HOSTILE_QUEUE] = 0.1
    cluster = kind(reactor, time.time, asked.rate, 1)
    grants = (
        (TOKEN, Grant("page", EVERYTHING)),
        (READER, Grant("reader", frozenset(["read"]))),
    )
    tokens = Tokens((sha256(t.encode("ascii")).digest(), grant) for t, grant in grants)
    server = WebServer(
        reactor,
        cluster,
        cluster,
        in_memory(reactor, time.time),
        cluster,
        tokens=tokens,
        open_reading=not asked.closed,
        assets=Assets(Path(quebert.web.__file__).parent / "assets"),
    )
    port = server.listen(asked.port, "127.0.0.1")
    cluster.start()
    ended: Deferred[None] = Deferred()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    StandardIO(Commands(cluster, ended))
    return ended


if __name__ == "__main__":
    react(main)
