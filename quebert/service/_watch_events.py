"""
What the mediators of this process tell of their tasks and of themselves.
"""

from __future__ import annotations

import os
import resource
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from quebert import __version__
from quebert.amqp import Counts, TxAMQPClient, Watcher
from quebert.config import QueueSettings, Settings
from quebert.events import (
    Columns,
    EventPublisher,
    MediatorState,
    OriginState,
    Recorder,
    WatchState,
)
from quebert.limits import Admission, Origins, OriginStatus
from quebert.task_events import TaskRecorder

__all__ = ["WatchEvents"]

#: Origins of which a state tells: those that were used last.
MOST_ORIGINS = 1_000

_FATES = ("done", "retried", "discarded", "buried", "returned")
_COUNTS = ("in_flight", "held", "received", *_FATES)

#: A queue as it is configured; what watches it, C{None} until it is watched; and what
#: became of the messages of each watch before, which may have some in flight.
Watching = tuple[QueueSettings, Watcher | None, *tuple[Counts, ...]]


class WatchEvents:
    """
    Publishes the events of L{Watches<quebert.service.Watches>}.

    @ivar name: of this mediator: no other has it, not even this one when it is started
        again.
    @ivar listeners: called with the records of each batch, in this process.
    """

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self.listeners: list[Callable[[Columns], object]] = []
        self._recorder = Recorder()
        self._publisher: EventPublisher | None = None
        self._started = time.time()
        self._settings: Settings | None = None
        self._told_settings: Mapping[str, str] = {}
        self._watching: Callable[[], Iterable[Watching]] = tuple
        self._admission: Admission | None = None
        self._client: TxAMQPClient | None = None

    def recorder_of(
        self, queue: QueueSettings, settings: Settings
    ) -> TaskRecorder | None:
        """
        What records the tasks of a queue; C{None} if nobody needs them.
        """
        # Metrics begin to listen after the watches have changed.
        shown = settings.web.listen is not None
        wanted = settings.events.publish or shown or self.listeners
        return self._recorder.of(queue.name) if wanted else None

    def change(
        self,
        settings: Settings,
        client: TxAMQPClient,
        admission: Admission | None,
        watching: Callable[[], Iterable[Watching]],
    ) -> None:
        """
        Go by other settings.

        @param client: publishes the events.
        @param watching: gives what is watched.
        """
        if settings != self._settings:
            self._told_settings = settings.shown()
        self._settings, self._client = settings, client
        self._admission, self._watching = admission, watching
        options = attrs.asdict(settings.events)
        if self._publisher is not None:
            self._publisher.change(client, **options)
        else:
            self._publisher = EventPublisher(
                self._recorder, client, self.name, self._state, **options
            )
            self._publisher.listeners = self.listeners
            self._publisher.start()

    def flush(self) -> None:
        """
        Tell the listeners all that has ended up to now.
        """
        if self._publisher is not None:
            self._publisher.collect()

    async def stop(self) -> None:
        """
        Publish what there is, and nothing more.
        """
        if self._publisher is not None:
            await self._publisher.stop()

    # -- How this mediator is

    def state(self) -> MediatorState | None:
        """
        How it is now; C{None} before it has begun.
        """
        if self._publisher is None or self._client is None:
            return None
        return self._state(self._client.now(), self._publisher.lag)

    def _state(self, now: float, lag: float) -> MediatorState:
        client: Any = self._client
        return MediatorState(
            mediator=self.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            started=self._started,
            at=now,
            queues=_queues(self._watching()),
            origins=_origins(self._admission, now - client.reactor.seconds()),
            settings=self._told_settings,
            lag=max(0.0, lag),
            cpu=time.process_time(),
            memory=_memory(),
            reconnects=client.reconnects,
            unconfirmed=client.unconfirmed,
        )


def _queues(watching: Iterable[Watching]) -> dict[str, WatchState]:
    states: dict[str, WatchState] = {}
    for queue, watcher, *before in watching:
        state = _watch(queue, watcher)
        for counts in before:
            state = _with(counts, state)
        other = states.get(queue.name)
        states[queue.name] = state if other is None else _both(state, other)
    return states


def _watch(queue: QueueSettings, watcher: Watcher | None) -> WatchState:
    if watcher is None:
        return WatchState(consuming=False)
    counts, pace = watcher.counts, watcher.pace
    return WatchState(
        consuming=watcher.consuming,
        paused=watcher.paused,
        prefetch=watcher.options.prefetch,
        in_flight=watcher.in_flight,
        held=watcher.held,
        received=counts.received,
        done=counts.done,
        retried=counts.retried,
        discarded=counts.discarded,
        buried=counts.buried,
        returned=counts.returned,
        priority=queue.priority or "",
        rate=None if pace is None else pace.rate,
    )


def _with(before: Counts, state: WatchState) -> WatchState:
    """
    A queue whose watch took the place of another.
    """
    sums = {name: getattr(state, name) + getattr(before, name) for name in _FATES}
    running = before.received - sum(getattr(before, name) for name in _FATES)
    return attrs.evolve(
        state,
        received=state.received + before.received,
        in_flight=state.in_flight + running,
        **sums,
    )


def _both(one: WatchState, other: WatchState) -> WatchState:
    """
    Of a queue that is watched twice in this process.
    """
    sums: dict[str, Any] = {
        name: getattr(one, name) + getattr(other, name) for name in _COUNTS
    }
    unlimited = not (one.prefetch and other.prefetch)
    sums["prefetch"] = 0 if unlimited else one.prefetch + other.prefetch
    return attrs.evolve(one, consuming=one.consuming or other.consuming, **sums)


def _origins(admission: Admission | None, ahead: float) -> dict[str, OriginState]:
    """
    @param ahead: by how much the time of day is ahead of the clock of C{admission}.
    """
    if not isinstance(admission, Origins):
        return {}
    statuses = admission.snapshot(MOST_ORIGINS)
    return {origin: _origin(status, ahead) for origin, status in statuses.items()}


def _origin(status: OriginStatus, ahead: float) -> OriginState:
    until = status.open_until
    return OriginState(
        breaker=status.breaker or "",
        open_until=None if until is None else until + ahead,
        limit=status.concurrency,
        in_flight=status.in_flight,
        rate=status.rate,
    )


def _memory() -> int:
    """
    Bytes of memory that this process takes now; where the system does not tell, the
    most that it has taken.
    """
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
