"""
How several queues are, at one moment or again and again: what their own queues tell
over AMQP (L{Status}), what the delay ladder tells, and what RabbitMQ's management API
tells.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import attrs

from quebert._lanes import all_of
from quebert.amqp import TxAMQPClient
from quebert.amqp.coordination import PauseNote, read_note
from quebert.amqp.delays import UNCLAIMED
from quebert.amqp.wire import Wire, version_of
from quebert.operations._access import CONNECT_TIMEOUT, BrokerAccess
from quebert.operations._elsewhere import Due, LadderLook, LadderLooks
from quebert.operations._management import Figures, Management, ManagementAPI
from quebert.operations._refusals import noted
from quebert.operations._status import Status, living, ready, rest_of

__all__ = ["Look", "Overview", "observing", "overview", "status"]

# Queues that are asked for at a time.
_AT_ONCE = 8
# Seconds after which a management API is asked again that did not answer as it should.
_AGAIN = 10.0


@attrs.frozen
class Overview:
    """
    Queues of one virtual host at a moment.

    @ivar queues: each by its name.
    @ivar elsewhere: the delayed and the retried tasks of all queues of the virtual
        host that wait in RabbitMQ; C{None} if the user may not see them.
    @ivar exact: whether C{elsewhere} tells when these are due; if not, it tells when
        they are due at the latest.
    @ivar unclaimed: delayed tasks of any queue that was not there when they were due;
        C{None} if the user may not see them.
    @ivar management: the URL of the management API that was asked; C{None} for none.
    @ivar problems: what could not be seen, and why; sentences.
    """

    queues: Mapping[str, Status]
    elsewhere: Due | None = None
    exact: bool = False
    unclaimed: int | None = None
    management: str | None = None
    problems: tuple[str, ...] = ()


class Look(Protocol):
    """
    Looks at queues.
    """

    def __call__(self, *also: str) -> Awaitable[Overview]:
        """
        How they are now.

        @param also: the names of further queues, for this time.
        """


async def status(broker: BrokerAccess, queue: str) -> Status:
    """
    How C{queue} is.  What the user may not see is C{None}, and one of the C{problems};
    what nobody tells is C{None}, too, and C{unknown} tells why.

    @raise ConfigError: the URL is no AMQP URL.
    @raise BrokerError: there is no broker in five seconds, or it refuses the login, or
        the connection is lost.
    """
    found = await overview(broker, [queue])
    now = found.queues[queue]
    return attrs.evolve(now, problems=(*now.problems, *found.problems))


async def overview(broker: BrokerAccess, queues: Sequence[str]) -> Overview:
    """
    How several queues are.

    @raise ConfigError: as L{status}.
    @raise BrokerError: as L{status}.
    """
    async with observing(broker, queues) as look:
        return await look()


@asynccontextmanager
async def observing(broker: BrokerAccess, queues: Sequence[str]) -> AsyncIterator[Look]:
    """
    Look at queues as often as one likes, over one connection, which is made anew when
    it was lost::

        async with observing(broker, ["mail", "reports"]) as look:
            print(await look())

    What is given raises L{BrokerError<quebert.errors.BrokerError>} if there is no
    connection in five seconds, or it is lost meanwhile.

    @raise ConfigError: the URL is no AMQP URL.
    @raise BrokerError: there is no broker in five seconds, or it refuses the login.
    """
    async with broker.client() as (client, _):
        api = ManagementAPI(broker.reactor, broker.broker, broker.management_url)
        yield _Observer(client, api, tuple(dict.fromkeys(queues))).look


class _Observer:
    """
    Looks at queues.
    """

    def __init__(
        self, client: TxAMQPClient, api: ManagementAPI, queues: tuple[str, ...]
    ) -> None:
        self._client = client
        self._api = api
        self._queues = queues
        self._looks: tuple[Wire, LadderLooks] | None = None
        self._notes: dict[str, PauseNote] = {}
        self._failed = Management(None)
        self._failed_until = -math.inf

    async def look(self, *also: str) -> Overview:
        """
        See L{Look}.
        """
        names = tuple(dict.fromkeys((*self._queues, *also)))
        wire = await self._client.connected(CONNECT_TIMEOUT)
        problems: list[str] = []
        unclaimed, ladder = None, None
        management = await self._management(wire, names)
        queues = await all_of((self._seen(wire, each) for each in names), _AT_ONCE)
        with noted(problems):
            stores = UNCLAIMED, *await self._client.old_ladder.stores(wire)
            unclaimed = sum([await ready(wire, store) for store in stores])
        with noted(problems):
            ladder = await self._ladder(wire).look(management.ladder)
        pairs = zip(names, queues, strict=True)
        known = {q: _completed(q, s, ladder, management) for q, s in pairs}
        return Overview(
            {q: attrs.evolve(s, unclaimed=unclaimed) for q, s in known.items()},
            None if ladder is None else ladder.due,
            ladder is not None and ladder.tasks is not None,
            unclaimed,
            management.url,
            tuple(problems),
        )

    async def _seen(self, wire: Wire, queue: str) -> Status:
        now = await rest_of(wire, queue, await living(wire, queue))
        if not now.paused:
            self._notes.pop(queue, None)
            return now
        if queue not in self._notes:
            note = await read_note(wire, queue)
            if note is None:
                return now
            self._notes[queue] = note
        note = self._notes[queue]
        return attrs.evolve(now, paused_by=note.by, paused_since=note.since)

    def _ladder(self, wire: Wire) -> LadderLooks:
        if self._looks is None or self._looks[0] is not wire:
            self._looks = wire, LadderLooks(wire, self._client.now)
        return self._looks[1]

    async def _management(self, wire: Wire, queues: Sequence[str]) -> Management:
        if version_of(wire) is None:
            return Management(None, "the broker is no RabbitMQ with a management API")
        now = wire.clock.seconds()
        if now < self._failed_until:
            return self._failed
        cluster = wire.server_properties.get("cluster_name")
        found = await self._api.told(queues, cluster)
        if found.url is None:
            self._failed, self._failed_until = found, now + _AGAIN
        return found


def _completed(
    queue: str, now: Status, ladder: LadderLook | None, management: Management
) -> Status:
    """
    The same with what the ladder and the management API tell.
    """
    figures = management.figures.get(queue, Figures())
    if now.exists is False:
        figures = Figures(0, 0.0, 0.0)
    now = attrs.evolve(
        now,
        running=figures.unacked,
        rate_in=figures.rate_in,
        rate_out=figures.rate_out,
    )
    names = ("running", "rate_in", "rate_out")
    untold = [each for each in names if getattr(now, each) is None]
    unknown = dict.fromkeys(untold, management.why)
    retrying: int | None = None
    delayed: Due | None = None
    if ladder is None:
        why = "the user may not see the queues in which such tasks wait"
        unknown |= dict.fromkeys(("retrying", "delayed"), why)
    elif ladder.tasks is None:
        why = f"{ladder.why}, and RabbitMQ does not tell of which queues they are"
        unknown |= dict.fromkeys(("retrying", "delayed"), why)
    else:
        ours = [each for each in ladder.tasks if each.queue == queue]
        retrying = sum(each.tried for each in ours)
        delayed = Due.of(each.due for each in ours if not each.tried)
    return attrs.evolve(now, retrying=retrying, delayed=delayed, unknown=unknown)
