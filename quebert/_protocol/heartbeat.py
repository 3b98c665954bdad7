"""
Heartbeats (AMQP 0-9-1, section 4.2.7).  Pure: a clock is given.

Both ends agree on an interval.  Each sends something at least once in an interval, and
gives the other one up when nothing has come for two.  Here a beat is half an interval.
At each beat something is sent, so that what is late by some seconds is in time.  After
four beats of silence the peer is given up: two to two and a half intervals after the
last octet came.

Silence is counted in beats, not in seconds: a machine that was asleep for hours counts
one beat more when it wakes.

L{Wire<quebert.amqp.wire.Wire>} gives up a silent broker by L{Heartbeat}, and so does
the embedded broker a silent client.  The producer without Twisted, which has no timers,
counts beats itself (C{FrameStream.read} in C{producer/_frame_stream}).  The errors of
both, and the documentation (C{reliability.rst}, C{watching.rst}), tell the two
intervals to users.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["BEATS", "SILENT_BEATS", "Heartbeat"]

#: Beats in an interval.
BEATS = 2
#: Beats of silence after which the other end is given up.
SILENT_BEATS = 2 * BEATS


class _Delayed(Protocol):
    def cancel(self) -> None: ...


class _Clock(Protocol):
    """
    The part of C{IReactorTime} that is needed.
    """

    def callLater(
        self, delay: float, callable: Callable[..., object], /
    ) -> _Delayed: ...


class Heartbeat:
    """
    The heartbeats of one end of a connection.

    @param send: called at each beat, to send a heartbeat.  It need not, if something
        else was sent since the last one.
    @param dead: called when nothing was heard for two intervals, or for up to half an
        interval more.
    @ivar heard: to be set when anything comes.
    @ivar beat_after: seconds from one beat to the next; 0 without heartbeats.
    """

    def __init__(
        self, clock: _Clock, send: Callable[[], None], dead: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._send = send
        self._dead = dead
        self._silent = 0
        self.beat_after = 0.0
        self._timer: _Delayed | None = None
        self.heard = True

    def start(self, interval: float) -> None:
        """
        Begin.

        @param interval: seconds; with 0 there are no heartbeats.
        """
        if interval:
            self.beat_after = interval / BEATS
            self._wait()

    def stop(self) -> None:
        """
        End; it is fine if it has not begun.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        self._timer = self._clock.callLater(self.beat_after, self._beat)

    def _beat(self) -> None:
        self._timer = None
        self._silent = 0 if self.heard else self._silent + 1
        self.heard = False
        if self._silent >= SILENT_BEATS:
            self._dead()
        else:
            self._wait()
            self._send()
