"""
Warnings of faults that are met again and again.

A fault is logged when it begins, and once a minute while it lasts, with a count.  One
line tells its end: an attempt has succeeded, and none has failed for L{QUIET} seconds.

A state that begins and ends again and again is logged once, and its end once it has
been over for as long.

What comes back within L{PERIOD} after its end was told must be over for twice as long
the next time, up to L{PERIOD}: so whatever comes and goes is not logged at each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from quebert._text import one_line

__all__ = ["PERIOD", "QUIET", "RepeatedState", "RepeatedWarning"]

#: Seconds at least between two lines about one cause.
PERIOD = 60.0
#: Seconds without a failure, after which a fault is over that a success has followed;
#: more for one that comes back.
QUIET = 5.0
# Seconds without a failure and without a success, after which a fault is forgotten.
_FORGOTTEN = 600.0
# Causes that are logged apart: the texts of errors may contain anything.
_MOST_CAUSES = 10
_CAUSE_LENGTH = 500
_OTHER_CAUSES = "for other reasons, too"


@attrs.define
class _Cause:
    """
    @ivar logged_at: the time of its last line, in seconds of the clock.
    @ivar unlogged: the number of failures since then.
    """

    logged_at: float
    unlogged: int = 0


@attrs.define
class _Quiet:
    """
    For how long something must be over until that is told.

    @ivar seconds: so long, this time.
    @ivar told_at: when that was told last.
    """

    seconds: float = QUIET
    told_at: float = float("-inf")

    def begins(self, now: float) -> None:
        """
        It begins, for the first time or again.
        """
        is_back = now < self.told_at + PERIOD
        self.seconds = min(2 * self.seconds, PERIOD) if is_back else QUIET


class RepeatedWarning:
    """
    One fault, and its warnings.

    @param log: writes them.
    @param clock: gives the clock; called at each failure.
    @param fault: the warning, in the format of L{Logger}; a colon and the cause follow.
    @param over: the line that tells of the end, in the same format.
    @param values: the values of both formats.
    """

    def __init__(
        self,
        log: Logger,
        clock: Callable[[], IReactorTime],
        fault: str,
        over: str,
        **values: Any,
    ) -> None:
        self._log = log
        self._clock = clock
        self._fault = fault
        self._over = over
        self._values = values
        self._causes: dict[str, _Cause] = {}
        self._began_at = self._met_at = 0.0
        self._times = 0
        self._succeeded = False
        self._quiet = _Quiet()
        self._timer: IDelayedCall | None = None

    def met(self, why: object, times: int = 1) -> None:
        """
        An attempt has failed.

        @param why: the cause.  Causes with different texts are logged apart.
        @param times: how many attempts have failed.
        """
        clock, text = self._clock(), one_line(str(why), _CAUSE_LENGTH)
        now = clock.seconds()
        if self._timer is None:
            self._began_at, self._times = now, 0
            self._quiet.begins(now)
            self._timer = clock.callLater(QUIET, self._look)
        self._met_at = now
        self._times += times
        self._succeeded = False
        if text not in self._causes and len(self._causes) >= _MOST_CAUSES:
            text = _OTHER_CAUSES
        cause = self._causes.get(text)
        if cause is None:
            self._causes[text] = _Cause(now)
            self._warn("" if times == 1 else f", {times:,} times", text)
        else:
            cause.unlogged += times

    def succeeded(self) -> None:
        """
        An attempt has succeeded.
        """
        self._succeeded = True

    def end(self) -> None:
        """
        Log nothing more.
        """
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self._causes.clear()

    def _look(self) -> None:
        self._timer = None
        clock = self._clock()
        now = clock.seconds()
        quiet = self._quiet.seconds if self._succeeded else _FORGOTTEN
        if now - self._met_at >= quiet:
            if self._succeeded:
                self._tell_over()
                self._quiet.told_at = now
            self.end()
            return
        self._timer = clock.callLater(QUIET, self._look)
        for text, cause in self._causes.items():
            if cause.unlogged and now - cause.logged_at >= PERIOD:
                self._warn(f", {_counted(cause.unlogged, 'time')} more", text)
                cause.logged_at, cause.unlogged = now, 0

    def _tell_over(self) -> None:
        self._log.info(
            f"{self._over}, after {{failures}} in {{seconds:.0f}} s.",
            failures=_counted(self._times, "failure"),
            seconds=self._met_at - self._began_at,
            **self._values,
        )

    def _warn(self, more: str, why: str) -> None:
        self._log.warn(
            f"{self._fault}{{more}}: {{why}}", more=more, why=why, **self._values
        )


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


class RepeatedState:
    """
    A state that somebody else puts us into, and its two lines.

    @param log: writes them.
    @param clock: gives the clock.
    @param begun: the warning that it has begun; a colon and the cause follow.
    @param over: the line that it is over.
    """

    def __init__(
        self, log: Logger, clock: Callable[[], IReactorTime], begun: str, over: str
    ) -> None:
        self._log = log
        self._clock = clock
        self._begun = begun
        self._over = over
        self._times = 0
        self._quiet = _Quiet()
        self._timer: IDelayedCall | None = None

    def begun(self, why: object) -> None:
        """
        The state has begun.
        """
        self._cancel()
        self._times += 1
        if self._times == 1:
            self._quiet.begins(self._clock().seconds())
            self._log.warn("{begun}: {why}", begun=self._begun, why=why)

    def over(self) -> None:
        """
        The state is over.
        """
        if self._times and self._timer is None:
            seconds = self._quiet.seconds
            self._timer = self._clock().callLater(seconds, self._tell_over)

    def end(self) -> None:
        """
        Log nothing more.
        """
        self._cancel()
        self._times = 0

    def _cancel(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _tell_over(self) -> None:
        times, self._times, self._timer = self._times, 0, None
        self._quiet.told_at = self._clock().seconds()
        after = "" if times == 1 else f", after {times:,} interruptions"
        self._log.info("{over}{after}.", over=self._over, after=after)
