"""
The live view of the queues of a broker and of all mediators, as frozen values.  Pure.

All times are seconds since the epoch, by the clock of this process.  C{None} stands for
a figure that is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from quebert.events import WatchState

__all__ = ["Live", "LiveHost", "LiveMediator", "LiveQueue"]


@attrs.frozen(kw_only=True)
class LiveQueue:
    """
    A queue at a moment.

    @ivar name: its name.
    @ivar exists: whether there is such a queue.
    @ivar ready: tasks that wait for a mediator.
    @ivar delayed: tasks that wait for their time, and have not been attempted yet.
    @ivar running: tasks that mediators have.
    @ivar retrying: tasks that wait to be tried again.
    @ivar dead: tasks that were given up.
    @ivar consumers: how many consumers it has.
    @ivar paused: whether it is paused.
    @ivar paused_by: the user who has paused the queue; empty if that is not known.
    @ivar paused_since: when the queue was paused.
    @ivar rate_in: tasks a second that come in, those that come back included; a mean
        over some seconds.
    @ivar rate_out: attempts a second that ended, likewise.
    @ivar oldest: seconds that the first task in the queue has waited, at most.
    @ivar p50: seconds that half of the requests of the last minute took at most.
    @ivar p99: seconds that 99 of 100 took at most.
    @ivar series_in: tasks that came in, in each second of the last minute.
    @ivar series_out: attempts that ended, in each of these seconds.
    @ivar breakers: origins with an open circuit breaker to which tasks of the queue
        went in the last minutes.
    @ivar problems: what could not be seen, and why; sentences.
    """

    name: str
    exists: bool | None = None
    ready: int | None = None
    delayed: int | None = None
    running: int | None = None
    retrying: int | None = None
    dead: int | None = None
    consumers: int | None = None
    paused: bool | None = None
    paused_by: str = ""
    paused_since: float | None = None
    rate_in: float | None = None
    rate_out: float | None = None
    oldest: float | None = None
    p50: float | None = None
    p99: float | None = None
    series_in: tuple[float, ...] = ()
    series_out: tuple[float, ...] = ()
    breakers: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def plain(self) -> dict[str, Any]:
        """
        As JSON has it.
        """
        told = attrs.asdict(self)
        series = {"in": told.pop("series_in"), "out": told.pop("series_out")}
        return {**told, "series": series}


@attrs.frozen(kw_only=True)
class LiveHost:
    """
    An origin, by the sums of all mediators.

    @ivar origin: such as C{"https://example.com:443"}.
    @ivar breaker: the worst of the states of their circuit breakers.
    @ivar open_until: when the last circuit breaker lets a request through again.
    @ivar limit: how many requests there may be at once.
    @ivar in_flight: how many there are.
    @ivar rate: requests a second that there may be.
    @ivar mediators: how many mediators tell of it.
    """

    origin: str
    breaker: str = ""
    open_until: float | None = None
    limit: float | None = None
    in_flight: int = 0
    rate: float | None = None
    mediators: int = 0

    @property
    def plain(self) -> dict[str, Any]:
        """
        As JSON has it.
        """
        return attrs.asdict(self)


@attrs.frozen(kw_only=True)
class LiveMediator:
    """
    A mediator, by its newest state.

    @ivar name: its name.
    @ivar host: the name of its machine.
    @ivar pid: of its process.
    @ivar version: of quebert.
    @ivar started: when it was started.
    @ivar at: when the mediator published this state.
    @ivar lag: seconds by which its reactor was late at most.
    @ivar cpu: the share of a core that it used since its state before; C{None} for its
        first state.
    @ivar memory: bytes that it takes.
    @ivar reconnects: how often it has connected again.
    @ivar unconfirmed: how many publications wait for a confirm.
    @ivar queues: how it watches each, by their names.
    @ivar settings: those in force; no secrets.
    @ivar lost: whether no state has come for a while, though the mediator has not
        ended: it may have been killed, or have no connection.
    """

    name: str
    host: str
    pid: int
    version: str
    started: float
    at: float
    lag: float = 0.0
    cpu: float | None = None
    memory: int = 0
    reconnects: int = 0
    unconfirmed: int = 0
    queues: Mapping[str, WatchState] = attrs.field(factory=dict)
    settings: Mapping[str, str] = attrs.field(factory=dict)
    lost: bool = False

    @property
    def plain(self) -> dict[str, Any]:
        """
        As JSON has it.
        """
        return attrs.asdict(self)


@attrs.frozen(kw_only=True)
class Live:
    """
    The live view at a moment.

    @ivar at: the moment.
    @ivar queues: all queues that are known.
    @ivar hosts: all origins.
    @ivar mediators: all mediators.
    @ivar elsewhere: delayed and retried tasks of all queues that wait in RabbitMQ.
    @ivar dropped: how many attempts are missing, since L{live
        <quebert.operations.live>} began: mediators had no room for them, or they were
        lost on their way.
    @ivar problems: what could not be seen, and why; sentences.
    """

    at: float
    queues: tuple[LiveQueue, ...] = ()
    hosts: tuple[LiveHost, ...] = ()
    mediators: tuple[LiveMediator, ...] = ()
    elsewhere: int | None = None
    dropped: int = 0
    problems: tuple[str, ...] = ()

    @property
    def plain(self) -> dict[str, Any]:
        """
        As JSON has it.
        """
        return {
            "at": self.at,
            "queues": [each.plain for each in self.queues],
            "hosts": [each.plain for each in self.hosts],
            "mediators": [each.plain for each in self.mediators],
            "elsewhere": self.elsewhere,
            "dropped": self.dropped,
            "problems": [*self.problems],
        }
