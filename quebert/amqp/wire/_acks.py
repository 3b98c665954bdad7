"""
The acknowledgements of one channel, whichever of its consumers got the messages:
gathered for a turn of the reactor, then written together, as few as will do.

One C{basic.ack} with C{multiple} acknowledges a delivery and all before it.  It costs
the broker less than ten single ones do.  To acknowledge one by one is a third of what a
message costs the broker.

The channel enters each delivery in C{outstanding}; who settles it tells.
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
    Acknowledges each delivery that is done, and no other.

    @param channel: the channel's number.
    @param write: sends frames.
    @ivar outstanding: the deliveries that the broker waits for, of all consumers of the
        channel, by their tags, in the broker's order.  The value: whether the delivery
        is done, and its acknowledgement not yet written.  The channel adds each
        with its method.  C{queues/_browse} goes by them, too.
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
        next L{flush}; nothing when the channel is closed.  The channel flushes before
        each method that goes through txamqp (C{Channel.invoke}) and before
        C{Channel.give_all_back}, and the connection before it is shut (C{Wire.shut}).
        C{Channel.publish}, C{get} and C{give_back} do not flush.
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
        A delivery is settled in another way.
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
