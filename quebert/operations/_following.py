"""
Attempts of all mediators, as they end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import NoReturn

import attrs
from twisted.internet.defer import Deferred

from quebert.errors import BrokerError, ConfigError
from quebert.events import (
    ATTEMPTS,
    OUTCOMES,
    AttemptBatch,
    AttemptRecord,
    EventHandler,
    Gap,
    MediatorState,
    reading,
)
from quebert.operations._access import BrokerAccess

__all__ = ["AttemptFilter", "follow"]

#: Called with attempts of one mediator, and with what is missing before them, if
#: anything is; gets no more until what it returns is over.
See = Callable[[str, list[AttemptRecord], Gap | None], Awaitable[object] | None]


@attrs.frozen
class AttemptFilter:
    """
    Conditions for attempts.  An empty condition lets all attempts through.

    @ivar queues: names.
    @ivar statuses: such as C{"503"}, or C{"5xx"}; C{"none"} for no answer.
    @ivar outcomes: some of L{OUTCOMES<quebert.events.OUTCOMES>}.
    @ivar url: a part of the URL.
    """

    queues: Collection[str] = ()
    statuses: Collection[str] = ()
    outcomes: Collection[str] = ()
    url: str = ""

    def __attrs_post_init__(self) -> None:
        """
        @raise ConfigError: one of these is none.
        """
        for each in self.statuses:
            is_class = len(each) == 3 and each[0] in "12345" and each[1:] == "xx"
            is_one = len(each) == 3 and each.isascii() and each.isdigit()
            if not (is_class or is_one or each == "none"):
                raise ConfigError(f"status {each!r:.40} must be like 503, 5xx or none")
        for each in self.outcomes:
            if each not in OUTCOMES:
                raise ConfigError(
                    f"outcome {each!r:.40} must be one of {', '.join(OUTCOMES)}"
                )

    def wants(self, record: AttemptRecord) -> bool:
        """
        Whether this is one of them.
        """
        if self.queues and record.queue not in self.queues:
            return False
        if self.outcomes and record.outcome not in self.outcomes:
            return False
        if self.statuses:
            status = "none" if record.status is None else str(record.status)
            if not {status, f"{status[0]}xx"} & {*self.statuses}:
                return False
        return self.url in record.url


async def follow(
    broker: BrokerAccess,
    see: See,
    wanted: AttemptFilter | None = None,
    started: Callable[[], object] = lambda: None,
    interrupted: Callable[[BrokerError | None], object] = lambda why: None,
) -> NoReturn:
    """
    Call C{see} with attempts as they end, until this is cancelled.  If C{see} is slower
    than the attempts come, RabbitMQ keeps 16 MiB of them, and then drops the oldest;
    C{see} gets the number that is missing.

    @param wanted: which ones; all by default.
    @param started: called as soon as attempts reach C{see}.
    @param interrupted: called with the reason when no attempts reach C{see}, since the
        connection is lost, and with C{None} when they do again.  What ends meanwhile is
        missing.
    @raise ConfigError: the URL is no AMQP URL.
    @raise BrokerError: there is no broker in five seconds, or it refuses the login, or
        the user may not read events.
    """
    handler = _Follower(see, wanted or AttemptFilter())
    async with (
        broker.client() as (client, _),
        reading(client, handler, keys=[ATTEMPTS], interrupted=interrupted),
    ):
        started()
        await handler.failed
    raise AssertionError  # it never ends by itself


class _Follower(EventHandler):
    """
    Chooses from batches.

    @ivar failed: fails when C{see} does.
    """

    def __init__(self, see: See, wanted: AttemptFilter) -> None:
        self.failed: Deferred[NoReturn] = Deferred()
        self._see = see
        self._wanted = wanted

    async def attempts(self, batch: AttemptBatch, gap: Gap | None) -> None:
        """
        See L{EventHandler.attempts<quebert.events.EventHandler.attempts>}.
        """
        chosen = [each for each in batch.records if self._wanted.wants(each)]
        if self.failed.called or not (chosen or gap):
            return
        try:
            taking = self._see(batch.mediator, chosen, gap)
            if taking is not None:
                await taking
        except Exception as e:
            if not self.failed.called:
                self.failed.errback(e)

    def state(self, state: MediatorState) -> None:
        """
        See L{EventHandler.state<quebert.events.EventHandler.state>}.
        """
