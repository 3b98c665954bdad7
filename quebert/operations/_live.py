"""
The live view of all queues, hosts and mediators, over the broker alone: one value each
second, made from looks at the queues and from the events of mediators.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
from twisted.internet.task import deferLater

from quebert.errors import BrokerRefused
from quebert.events import reading
from quebert.operations._access import BrokerAccess
from quebert.operations._live_fold import LiveFold
from quebert.operations._live_values import Live
from quebert.operations._overview import Look, observing

__all__ = ["live"]

#: Seconds between two views.
EACH = 1.0


@asynccontextmanager
async def live(
    broker: BrokerAccess, queues: Sequence[str] = ()
) -> AsyncIterator[Callable[[], Coroutine[Any, Any, Live]]]:
    """
    See all queues, hosts and mediators, for as long as the block lasts::

        async with live(broker) as view:
            while True:
                print(await view())

    C{view} waits until a second after the last view, and gives another one.  It raises
    L{BrokerError<quebert.errors.BrokerError>} if there is no connection in five
    seconds, or it is lost meanwhile; it can be called again.  Where the user may not
    read events, rates and durations are unknown, and a problem tells why.

    @param queues: names of queues to see; by default all that mediators watch.
    @raise ConfigError: the URL is no AMQP URL.
    @raise BrokerError: there is no broker in five seconds, or it refuses the login.
    """
    async with AsyncExitStack() as stack:
        client, _ = await stack.enter_async_context(broker.client())
        look = await stack.enter_async_context(observing(broker, queues))
        fold = LiveFold(client.now, only=queues or None)
        problems: tuple[str, ...] = ()
        try:
            await stack.enter_async_context(reading(client, fold))
        except BrokerRefused as e:
            problems = (f"mediators cannot be heard: {e}",)
        yield _Views(broker, fold, look, problems).next


class _Views:
    """
    Makes one view after the other.
    """

    def __init__(
        self, broker: BrokerAccess, fold: LiveFold, look: Look, problems: Sequence[str]
    ) -> None:
        self._clock = broker.reactor
        self._fold = fold
        self._look = look
        self._problems = problems
        self._due = 0.0

    async def next(self) -> Live:
        """
        The next one.
        """
        wait = self._due - self._clock.seconds()
        if wait > 0:
            await deferLater(self._clock, wait)
        self._due = self._clock.seconds() + EACH
        self._fold.looked(await self._look(*self._fold.queues))
        view = self._fold.view()
        return attrs.evolve(view, problems=(*self._problems, *view.problems))
