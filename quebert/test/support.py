"""
Doubles and helpers for the tests that cross real sockets.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pika
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

#: Seconds: far more than anything takes, for what is waited for.
PATIENCE = 60.0


async def until(condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """
    Wait until C{condition()} is true, and give what it returned.
    """
    from twisted.internet import reactor

    deadline = reactor.seconds() + patience  # type: ignore[attr-defined]
    while not (value := condition()):
        if reactor.seconds() > deadline:  # type: ignore[attr-defined]
            raise AssertionError(f"did not come true in {patience} s")
        await deferLater(reactor, 0.01)  # type: ignore[arg-type]
    return value


class Executor(Resource):
    """
    Answers every request as C{answer(task)} says: with a status, or with a
    Deferred of one.

    @ivar tasks: the bodies that came, decoded.
    @ivar most: how many requests were there at the same time at most.
    """

    isLeaf = True

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self.answer: Callable[[Any], int | Deferred[int]] = lambda task: 200
        self.tasks: list[Any] = []
        self.bodies: list[bytes] = []
        self.now = 0
        self.most = 0
        site = Site(self)
        site.noisy = False
        site.log = lambda request: None  # type: ignore[method-assign]
        self._port = reactor.listenTCP(0, site, interface="127.0.0.1")

    @property
    def url(self) -> str:
        """
        Where it is, without a slash at the end.
        """
        return f"http://127.0.0.1:{self._port.getHost().port}"

    def render(self, request: Request) -> int:
        """
        Ask C{answer}, and answer.
        """
        assert request.content is not None
        body = request.content.read()
        task = json.loads(body) if body else None
        self.bodies.append(body)
        self.tasks.append(task)
        self.now += 1
        self.most = max(self.most, self.now)
        request.notifyFinish().addBoth(self._over)
        answered = maybeDeferred(self.answer, task)
        answered.addCallback(self._write, request)
        return NOT_DONE_YET

    def _over(self, ignored: object) -> None:
        self.now -= 1

    def _write(self, status: int, request: Request) -> None:
        if not request._disconnected:
            request.setResponseCode(status)
            request.finish()

    async def close(self) -> None:
        """
        Listen no more.
        """
        await maybeDeferred(self._port.stopListening)


def depth(channel: Any, queue: str) -> int:
    """
    How many messages are ready in a queue, as pika is told.
    """
    count: int = channel.queue_declare(queue, passive=True).method.message_count
    return count


def publish(
    channel: Any, exchange: str, key: str, *bodies: bytes, **properties: Any
) -> None:
    """
    Publish, persistent and confirmed, with pika.
    """
    basic = pika.BasicProperties(**{"delivery_mode": 2, **properties})
    for body in bodies:
        channel.basic_publish(exchange, key, body, basic, mandatory=True)
