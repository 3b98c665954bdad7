"""
What is examined, and how a check asks about it.
"""

from __future__ import annotations

import uuid
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, TimeoutError

from quebert._lanes import all_of
from quebert.amqp import TxAMQPClient
from quebert.amqp.delays import Ladder, Rungs, has_quorum
from quebert.amqp.wire import Wire, refusal, version_of
from quebert.config import Settings
from quebert.errors import BrokerRefused

__all__ = ["PROBE", "Subject", "together"]

T = TypeVar("T")

#: With a dot behind it, what the names of all probes begin with.
PROBE = "quebert.doctor"
# How many of a kind run side by side: each may take a channel, and a connection has
# some two thousand.
_AT_ONCE = 128


@attrs.frozen
class Subject:
    """
    A broker, and the settings of those who use it.

    @ivar wire: the connection that consumes.
    @ivar settings: C{None} where there is no configuration file.
    @ivar wait: seconds that a delayed probe may wait.
    @ivar patience: seconds in which a sound broker has answered, and passed on a probe.
    @ivar name: what the names of the probes of this examination begin with.
    """

    client: TxAMQPClient
    wire: Wire
    settings: Settings | None
    wait: float = 2.0
    patience: float = 10.0
    name: str = attrs.field(factory=lambda: f"{PROBE}.{uuid.uuid4()}")

    @property
    def is_rabbitmq(self) -> bool:
        """
        Whether it is a RabbitMQ, and not the embedded broker.
        """
        return version_of(self.wire) is not None

    @property
    def quorum_delays(self) -> bool:
        """
        Whether tasks that wait in the broker do so in quorum queues.
        """
        wanted = None if self.settings is None else self.settings.quorum_delays
        if wanted is None:
            return has_quorum(self.wire)
        return wanted

    @property
    def rungs(self) -> Rungs:
        """
        What the delay ladder of mediators with these settings consists of.
        """
        return Ladder(quorum=self.quorum_delays).rungs_of(self.wire)

    @property
    def user(self) -> str:
        """
        The name that we logged in with.
        """
        return self.client.broker.username

    @property
    def vhost(self) -> str:
        """
        The virtual host.
        """
        return self.client.broker.vhost

    async def within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T | None:
        """
        The result of C{work}, or C{None} where it takes longer.  Then nobody waits for
        its end, which the end of the connection brings.
        """
        waiter: Deferred[T] = Deferred()

        def ended(result: Any) -> None:
            if not waiter.called:
                waiter.callback(result)

        Deferred.fromCoroutine(work).addBoth(ended)
        try:
            return await waiter.addTimeout(seconds, self.client.reactor)
        except TimeoutError:
            return None

    async def refusal(self, method: str, **arguments: Any) -> BrokerRefused | None:
        """
        Call an AMQP method on a channel of its own: why RabbitMQ refuses the call, or
        C{None}.
        """
        return await refusal(self.wire, method, **arguments)


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """
    The results of coroutines that run side by side, some at a time, in their order.

    @raise Exception: what the first of them raised that failed, once all have ended.
    """
    return await all_of(works, _AT_ONCE)
