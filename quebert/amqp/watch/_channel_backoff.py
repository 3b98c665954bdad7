"""
How long to wait before another attempt to make a channel.  Pure.
"""

from __future__ import annotations

import attrs

from quebert.amqp.link import has_failed, pause_after
from quebert.errors import BrokerError
from quebert.policy import exponential

__all__ = ["LASTING", "LONGEST_CHANNEL_WAIT", "ChannelBackoff"]

#: Seconds at most between attempts.
LONGEST_CHANNEL_WAIT = 60.0
#: Seconds that a channel must have lasted to be replaced at once.
LASTING = 60.0


@attrs.define
class ChannelBackoff:
    """
    Counts attempts since there was a channel that lasted.

    @ivar failures: how many have failed in a row.
    """

    failures: int = 0
    _short_lived: int = 0  # how many channels in a row did not last
    _attached_at: float = 0.0

    def succeeded(self, now: float) -> None:
        """
        There is a channel.
        """
        self._attached_at = now

    def lost(self, now: float, *, alone: bool) -> float:
        """
        The channel is lost.

        @param alone: whether its connection is not: each time, the channel may be lost
            for what we do.
        @return: seconds before another attempt.
        """
        if alone and now - self._attached_at < LASTING:
            self._short_lived += 1
        else:
            self._short_lived = 0
        self.failures = self._short_lived
        return self._seconds(None) if self.failures > 1 else 0.0

    def failed(self, why: BrokerError) -> float:
        """
        An attempt has failed.

        @return: seconds before another one.
        """
        self.failures += 1
        return self._seconds(why)

    def _seconds(self, why: BrokerError | None) -> float:
        if has_failed(why):
            return pause_after(self.failures)
        return exponential(self.failures, constant=1.5, maximum=LONGEST_CHANNEL_WAIT)
