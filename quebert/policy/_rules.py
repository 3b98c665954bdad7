"""
From a failure, and those before it, to what becomes of the task: L{Rules}.

A wait that the answer asks for wins over the backoff, within bounds: it is at least the
shortest backoff, and at most L{MAX_RETRY_AFTER} or what the user has set instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from quebert.errors import ConfigError
from quebert.outcome import Bury, Discard, Outcome, Retry
from quebert.policy._answers import Directive
from quebert.policy._backoff import RetryPolicy, seconds_from
from quebert.policy._history import LAST_ANSWER, History

__all__ = ["MAX_RETRY_AFTER", "FailedAnswer", "Rules", "exhausted"]

#: Seconds that an answer can have its task wait, unless that is set.
MAX_RETRY_AFTER = 3600.0


@attrs.frozen
class FailedAnswer:
    """
    An answer that is no success.

    @ivar status: its HTTP status.
    @ivar body: the first bytes of its body, as text.
    @ivar retry_after: seconds that it asks to wait, if it does.
    @ivar directive: what it wants done with the task, if it says.
    """

    status: int
    body: str = ""
    retry_after: float | None = None
    directive: Directive | None = None


def _is_policy(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, RetryPolicy):
        raise ConfigError(f"{field.name} must be a RetryPolicy, not {value!r:.40}")


def _statuses(permanent: Iterable[int]) -> frozenset[int]:
    try:
        statuses = frozenset(permanent)
    except TypeError:
        text = f"permanent must be a list of HTTP statuses, not {permanent!r:.40}"
        raise ConfigError(text) from None
    for status in statuses:
        right = isinstance(status, int) and 300 <= status <= 599
        if not right:
            text = f"permanent must have statuses from 300 to 599, not {status!r:.40}"
            raise ConfigError(text)
    return statuses


@attrs.frozen(kw_only=True)
class Rules:
    """
    What is to be done about failures.

    @ivar policy: when a task is tried again, and given up.
    @ivar permanent: the statuses after which a task is given up at once.
    @ivar max_retry_after: seconds that an answer can have its task wait; if it
        asks for more it gets these, and with 0 it is not heeded.
    """

    policy: RetryPolicy = attrs.field(factory=RetryPolicy, validator=_is_policy)
    permanent: frozenset[int] = attrs.field(default=(), converter=_statuses)
    max_retry_after: float = attrs.field(
        default=MAX_RETRY_AFTER, validator=seconds_from(0)
    )

    def outcome(
        self,
        history: History,
        answer: FailedAnswer | None,
        now: float,
        random: Callable[[], float],
        *,
        task: str,
        why: str,
    ) -> Outcome:
        """
        What becomes of a task.

        @param history: with the attempt that just failed.
        @param answer: to it, if there was one.
        @param now: seconds since the epoch.
        @param random: gives a number from 0 up to 1.
        @param task: its name.
        @param why: how the attempt failed, in a sentence.
        """
        asked = None if answer is None else answer.retry_after
        if answer is not None and answer.directive is not None:
            wish = answer.directive
            reason = wish.reason or why
            if wish.verb == "discard":
                return Discard(f"task {task} is discarded by its executor: {reason}")
            if wish.verb == "bury":
                text = f"task {task} is given up by its executor: {reason}"
                return _burial(text, history, answer)
            asked = wish.seconds
        elif answer is not None and answer.status in self.permanent:
            text = f"task {task} is given up at once: {why}"
            return _burial(text, history, answer)
        wait = self.policy.wait(history.attempts, history.first, now, random)
        if wait is None:
            return exhausted(history, answer, now, task, why)
        if asked is not None and self.max_retry_after:
            least = self.policy.shortest(history.attempts)
            wait = max(least, min(asked, self.max_retry_after))
        return Retry(after=wait, headers=history.headers)


def exhausted(
    history: History, answer: FailedAnswer | None, now: float, task: str, why: str
) -> Bury:
    """
    What becomes of a task that has been tried enough.
    """
    tries = f"{history.attempts} attempt" + ("" if history.attempts == 1 else "s")
    if math.isfinite(history.first):
        tries += f" in {now - history.first:.0f} s"
    return _burial(f"task {task} is given up after {tries}: {why}", history, answer)


def _burial(reason: str, history: History, answer: FailedAnswer | None) -> Bury:
    text = answer.body if answer is not None else ""
    return Bury(reason, headers={**history.headers, LAST_ANSWER: text or None})
