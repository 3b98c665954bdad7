"""
What C{quebert dev} tells of tasks: a line for whatever becomes of one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import assert_never

from quebert.amqp.queues import dead_letters_of
from quebert.cli._answer_text import answer_text
from quebert.cli._running import one_line
from quebert.outcome import Bury, Discard, Done, Outcome, Retry
from quebert.policy import LEASES
from quebert.task_events import AttemptBegun, AttemptEnded, NotAttempted, TaskEvent

__all__ = ["DevLog", "Tell", "clock_time"]

#: Called with a word, and with a line about it.
Tell = Callable[[str, str], object]

_URL_WIDTH = 16
#: Characters of a uuid that are told: enough for one person's tasks.
_UUID_WIDTH = 8
#: Seconds: a task that waits for less is not told of, since it waits for its host again
#: and again.
_SHORT_WAIT = 1.0


class DevLog:
    """
    Observes the tasks of one queue: each is done, tried again (C{retry}), C{waiting},
    discarded, or buried.

    @param queue: where they are from.
    @param now: the time of day, in seconds since the epoch.
    """

    def __init__(
        self, tell: Tell, queue: str, now: Callable[[], float] = time.time
    ) -> None:
        self._tell = tell
        self._dead = dead_letters_of(queue)
        self._now = now

    def __call__(self, event: TaskEvent) -> None:
        """
        Tell of something.
        """
        match event:
            case AttemptBegun():
                return
            case AttemptEnded():
                word, text = self._of_attempt(event)
            case NotAttempted(outcome=Retry(after=after)) if after < _SHORT_WAIT:
                return
            case NotAttempted():
                word, text = self._of_outcome(event.outcome, event.why)
            case _:
                assert_never(event)
        attempt = event.attempt
        names = f"{attempt.uuid[:_UUID_WIDTH]:{_UUID_WIDTH}} {attempt.url:{_URL_WIDTH}}"
        self._tell(word, f"{clock_time(self._now())} {names}  {one_line(text)}")

    def _of_attempt(self, event: AttemptEnded) -> tuple[str, str]:
        took = f"{event.seconds * 1000:.0f} ms"
        number = f"attempt {event.attempt.number}"
        match event.outcome:
            case Done():
                return "done", f"{number}: {event.status or 'no request'}, {took}"
            case Retry(after=after, queue=queue) if queue == LEASES:
                return "leased", f"{number}: {event.status}, {took}, for {after:g} s"
            case Retry(after=after):
                what = took if event.status is None else f"{event.status}, {took}"
                return (
                    "retry",
                    f"{number}: {what}, again in {after:.3g} s: {_why(event)}",
                )
            case _:
                return self._of_outcome(event.outcome, event.why)

    def _of_outcome(self, outcome: Outcome, why: str) -> tuple[str, str]:
        match outcome:
            case Bury(reason=reason):
                return "buried", f"now in queue {self._dead}: {reason}"
            case Discard(reason=reason):
                return "discarded", reason
            case Retry(after=after):
                return "waiting", f"until {self._clock_time(after)}: {why}"
            case Done():
                return "done", why
            case _:
                assert_never(outcome)

    def _clock_time(self, after: float) -> str:
        now = self._now()
        moment, today = time.localtime(now + after), time.localtime(now)
        same_day = moment[:3] == today[:3]
        return time.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M:%S", moment)


def _why(event: AttemptEnded) -> str:
    """
    Why an attempt has failed: what the answer says, or what its status means, or why
    there was no answer.
    """
    if event.status is None:
        return event.why
    return answer_text(event.answer, event.html) or _phrase(event.status) or event.why


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def clock_time(now: float) -> str:
    """
    The time of day, as a clock on the wall shows it.
    """
    return time.strftime("%H:%M:%S", time.localtime(now))
