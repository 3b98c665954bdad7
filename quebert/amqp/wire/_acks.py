"""
The acknowledgements of one channel, whichever of its consumers got the messages:
gathered for a turn of the reactor, then written together, in as few frames as possible.

One C{basic.ack} with C{multiple} acknowledges a delivery and all before it, and costs
the broker less than ten single ones do.  With single ones, acknowledging would be a
third of what a message costs the broker.

The channel enters each delivery in C{outstanding}.  Whoever settles a delivery calls
L{Acks.done} or L{Acks.given_back}.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile

from twisted.internet.interfaces import IReactorTime

from quebert._protocol.basic import ONE, UP_TO, acks_on
from quebert._turn import EndOfTurn

__all__ = ["Acks"]


class Acks:
    """
    Acknowledges the deliveries that are done, with one frame where it can, and no
    others.

    @param channel: the channel's number.
    @param write: sends frames.
    @ivar outstanding: the deliveries that the broker waits for, of all consumers of the
        channel, by their tags, in the broker's order.  The value is C{True} once a
        delivery is done; it goes when its acknowledgement is written.  The channel adds
        each with its method.  C{queues/_browse} goes by them, too.
    """

    def __init__(
        self,
        channel: int,
        write: Callable[[bytes], None],
        clock: IReactorTime,
    ) -> None:
        self._ack = acks_on(channel)
        self._write = write
        self._turn = EndOfTurn(clock, self._write_done)
        self.outstanding: dict[int, bool] = {}
        self._done: list[int] = []  # and not written yet
        self._has_ended = False

    @property
    def unsettled(self) -> int:
        """
        How many deliveries the broker waits for.
        """
        return len(self.outstanding)

    def done(self, tag: int) -> None:
        """
        Have a delivery acknowledged, at the end of this turn of the reactor or at the
        next L{flush}; nothing when the channel is closed.

        These flush: each method that goes through txamqp (C{Channel.invoke}),
        C{Channel.give_all_back}, and C{Wire.shut}.  These do not: C{Channel.publish},
        C{Channel.get} and C{Channel.give_back}.
        """
        if self._has_ended:
            return
        if not self._done:
            self._turn.ask()
        self._done.append(tag)
        if tag in self.outstanding:
            self.outstanding[tag] = True

    def given_back(self, tag: int) -> None:
        """
        A delivery was given back, and needs no acknowledgement.
        """
        self.outstanding.pop(tag, None)

    def flush(self) -> None:
        """
        Write what is done, now.
        """
        self._turn.now()

    def end(self) -> None:
        """
        The channel is closed: write nothing more.
        """
        self._has_ended = True
        self._turn.cancel()

    def _write_done(self) -> None:
        """
        Write one frame for all that are done before the first that is not, and one for
        each of the others.
        """
        done, self._done = self._done, []
        outstanding, frames, up_to = self.outstanding, [], 0
        # All that are done at the beginning: one frame acknowledges them.
        for up_to in list(takewhile(outstanding.__getitem__, outstanding)):
            del outstanding[up_to]
        if up_to:
            frames.append(self._ack(up_to, UP_TO))
        for tag in done:
            if tag > up_to:
                outstanding.pop(tag, None)
                frames.append(self._ack(tag, ONE))
        self._write(b"".join(frames))
