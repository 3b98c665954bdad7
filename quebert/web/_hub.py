"""
Server-sent events, for all open streams.

Theory of operation.  The text of an event is made once for all listeners of a kind:
those that may see the same queues.  An overview goes out each second, attempts twice a
second (L{quebert.web._sampling}), operations and gaps when there are any.

Each event has an id.  A client that connects again with its last id gets the operations
and gaps that it has missed, if there are not too many.  The id begins with a number of
the process, since another process begins to count anew.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from quebert.events import AttemptBatch
from quebert.web._json import encoded
from quebert.web._listener import KEPT, Audience, KeptEvent, Listener
from quebert.web._sampling import Samples
from quebert.web._snapshots import Snapshots
from quebert.web._tokens import Grant
from quebert.web._views import BackgroundView, ClusterView

__all__ = ["EventHub", "may_operate", "seen_by"]

# Seconds.
_OVERVIEW, _ATTEMPTS, _HEARTBEAT = 1.0, 0.5, 15.0


class EventHub:
    """
    Makes the events, and sends them to all listeners.
    """

    def __init__(self, reactor: Any, snapshots: Snapshots) -> None:
        self._reactor = reactor
        self._snapshots = snapshots
        self._listeners: dict[Listener, None] = {}
        self._samples = Samples()
        self._boot = secrets.token_hex(4)
        self._number = 0
        self._kept: deque[KeptEvent] = deque(maxlen=KEPT)
        self._timers: dict[str, Any] = {}
        self._turn = 0

    def __len__(self) -> int:
        return len(self._listeners)

    # -- Listeners

    def join(
        self,
        grant: Grant,
        queue: str,
        last_id: str,
        write: Callable[[bytes], object],
    ) -> Listener:
        """
        Add a listener, and send it the events that it has missed after C{last_id}.

        @param queue: the queue whose attempts are sent; empty for all queues.
        """
        kind = Audience(queue, grant)
        listener = Listener(kind, self._samples.open(kind.sees), write)
        self._listeners[listener] = None
        write(b": quebert\nretry: 2000\n\n")
        for each in self._missed(last_id):
            self._tell_one(listener, each)
        if len(self._listeners) == 1:
            self._begin()
        self._overview_to([listener])
        return listener

    def leave(self, listener: Listener) -> None:
        """
        Remove a listener.
        """
        if self._listeners.pop(listener, False) is None:
            self._samples.close(listener.sample)
        if not self._listeners:
            self._end()

    def go_on(self, listener: Listener) -> None:
        """
        A slow listener reads again.
        """
        listener.go_on(self._formatted)

    def stop(self) -> None:
        """
        Send nothing more.
        """
        for listener in list(self._listeners):
            self.leave(listener)

    def _missed(self, last_id: str) -> list[KeptEvent]:
        boot, _, number = last_id.partition("-")
        if boot != self._boot or not (number.isascii() and number.isdigit()):
            return []
        return [each for each in self._kept if each.number > int(number[:18])]

    # -- Events

    def attempted(self, batch: AttemptBatch) -> None:
        """
        Attempts have ended.
        """
        if self._listeners:
            self._samples.add(batch)

    def lost(self, mediator: str, count: int | None) -> None:
        """
        Attempts were lost on the way.
        """
        text = encoded({"mediator": mediator, "count": count})
        self._keep("gap", text, None)

    def changed(self, view: BackgroundView) -> None:
        """
        An operation has come further.
        """
        self._keep("operation", encoded(view), view.queue)

    def _keep(self, name: str, text: bytes, queue: str | None) -> None:
        self._number += 1
        kept = KeptEvent(self._number, name, text, queue)
        self._kept.append(kept)
        for listener in list(self._listeners):
            self._tell_one(listener, kept)

    def _tell_one(self, listener: Listener, kept: KeptEvent) -> None:
        queue, grant = kept.queue, listener.kind.grant
        if grant.is_for_all or (queue is not None and grant.sees(queue)):
            listener.tell(kept, self._formatted(kept))

    def _formatted(self, kept: KeptEvent) -> bytes:
        return self._event(kept.number, kept.name, kept.text)

    def _event(self, number: int, name: str, text: bytes) -> bytes:
        head = f"event: {name}\nid: {self._boot}-{number}\ndata: ".encode("ascii")
        return b"%b%b\n\n" % (head, text)

    # -- Times

    def _begin(self) -> None:
        self._turn = 0
        self._again("tick", _ATTEMPTS, self._tick)
        self._again("heartbeat", _HEARTBEAT, self._heartbeat)

    def _again(self, name: str, seconds: float, call: Callable[[], object]) -> None:
        self._timers[name] = self._reactor.callLater(seconds, call)

    def _end(self) -> None:
        timers, self._timers = self._timers, {}
        for timer in timers.values():
            if timer.active():
                timer.cancel()

    def _heartbeat(self) -> None:
        self._again("heartbeat", _HEARTBEAT, self._heartbeat)
        for listener in list(self._listeners):
            listener.send(b": still here\n\n")

    def _tick(self) -> None:
        self._again("tick", _ATTEMPTS, self._tick)
        self._tell_attempts()
        self._turn += 1
        if self._turn * _ATTEMPTS >= _OVERVIEW:
            self._turn = 0
            self._overview_to(None)

    def _tell_attempts(self) -> None:
        # Listeners of a kind have the same, unless one was slow.
        texts: dict[object, bytes] = {}
        for listener in list(self._listeners):
            mark = listener.sample.mark
            if mark is None or not listener.is_ready:
                continue
            page = listener.sample.take()
            if mark not in texts:
                texts[mark] = self._event(self._number, "attempts", encoded(page))
            listener.send(texts[mark])

    def _overview_to(self, listeners: list[Listener] | None) -> None:
        """
        Send the overview to some listeners, or to all that are there when it is made.
        """
        getting = Deferred.fromCoroutine(self._snapshots.get())
        getting.addCallback(self._tell_overview, listeners)

    def _tell_overview(
        self, view: ClusterView, listeners: list[Listener] | None
    ) -> None:
        texts: dict[object, bytes] = {}
        for listener in list(self._listeners) if listeners is None else listeners:
            if listener not in self._listeners or not listener.is_ready:
                continue
            grant = listener.kind.grant
            key = grant.queues, may_operate(grant)
            if key not in texts:
                text = encoded(seen_by(view, grant), may_operate=may_operate(grant))
                texts[key] = self._event(self._number, "overview", text)
            listener.send(texts[key])


def may_operate(grant: Grant) -> bool:
    """
    Whether a grant allows to operate.
    """
    return "operate" in grant.rights


def seen_by(view: ClusterView, grant: Grant) -> ClusterView:
    """
    The part of an overview that a grant allows to see.
    """
    if grant.is_for_all:
        return view
    queues = tuple(each for each in view.queues if grant.sees(each.name))
    return attrs.evolve(view, queues=queues, hosts=(), mediators=())
