"""
How long a failed task waits if its answer asks for nothing else, and when it has been
tried enough.

L{RetryPolicy} has the terms of Google's Cloud Tasks, C{queues.retryConfig}:
U{https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues}.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs

from quebert.errors import BadTask, ConfigError
from quebert.policy._history import History

__all__ = ["MANY", "RetryPolicy", "exponential", "overridden", "seconds_from"]

#: Seconds that a task waits at least: no policy, and no task, makes a hot loop.
SHORTEST = 0.01
#: Seconds at most, which are thirty years: beyond it there is no calendar.
LONGEST = 1e9
#: Attempts after which a task waits for L{STEADY} seconds at least: who publishes it
#: chooses how often it is tried, and how soon.
MANY, STEADY = 100, 1.0
JITTERS = ("none", "full")


def exponential(attempt: int, *, constant: float, maximum: float) -> float:
    """
    The wait after C{attempt} failures, in seconds: C{constant ** attempt}, at most
    C{maximum}.
    """
    try:
        return float(min(float(constant) ** attempt, maximum))
    except OverflowError:
        return float(maximum)


# -- What each field may be


Check = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _is_number(value: object, *types: type) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


def _whole(least: int, unlimited: str = "") -> Check:
    def check(_: object, field: attrs.Attribute[Any], value: Any) -> None:
        if _is_number(value, int) and (value >= least or (unlimited and value == -1)):
            return
        _refuse(field.name, f"a whole number from {least}{unlimited}", value)

    return check


def seconds_from(least: float, unlimited: str = "") -> Check:
    """
    A validator of what is a number of seconds.
    """

    def check(_: object, field: attrs.Attribute[Any], value: Any) -> None:
        if _is_number(value, int, float) and (
            least <= value <= LONGEST or (unlimited and value == -1)
        ):
            return
        bounds = f"from {least:g} to {LONGEST:.0f}"
        _refuse(field.name, f"a number of seconds {bounds}{unlimited}", value)

    return check


def _is_jitter(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if value not in JITTERS:
        _refuse(field.name, " or ".join(repr(each) for each in JITTERS), value)


class _Refused(ConfigError):
    """
    A field is wrong.

    @ivar hidden: the same sentence, without a value that somebody else may have chosen.
    """

    def __init__(self, field: str, right: str, value: object) -> None:
        super().__init__(f"{field} must be {right}, not {_shown(value)}")
        self.hidden = f"{field} must be {right}, not {_hidden(value)}"


def _refuse(field: str, right: str, value: object) -> None:
    raise _Refused(field, right, value)


def _hidden(value: object) -> str:
    """
    A value as the log of a mediator may show it: numbers only.
    """
    if _is_number(value, int, float):
        return _shown(value)
    kinds: dict[type, str] = {str: "a string", list: "an array", dict: "an object"}
    return kinds.get(type(value), "true or false")


def _shown(value: object) -> str:
    if value and isinstance(value, (dict, list)):  # it may be as large as a message
        return "[...]" if isinstance(value, list) else "{...}"
    try:
        shown = repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "so large a number"
    return shown if len(shown) <= 40 else f"{shown[:40]}..."


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """
    When a task that failed is tried again, in Cloud Tasks' terms and with its
    defaults.

    It is given up once both limits are reached, where both are set; where one
    is, that decides; where none is, never.  So Cloud Tasks has it: see
    C{maxAttempts} there, which says that retries end only when both are
    satisfied, and go on for ever only with -1 attempts and a duration of 0.

    @ivar max_attempts: how often it is tried in all; -1 for no such limit.
    @ivar max_retry_duration: seconds, from when it was first tried; 0, or -1,
        for no such limit.
    @ivar min_backoff: seconds before the first retry.
    @ivar max_backoff: seconds before any retry at most.
    @ivar max_doublings: how often the wait doubles; from then on it grows by
        what it has grown to, C{2 ** max_doublings * min_backoff}.
    @ivar jitter: C{"none"}, or C{"full"} for a wait that is drawn from between
        nothing and what it would be, so that what failed together does not come
        again together.
    @raise ConfigError: a value is wrong; the text names it.
    """

    max_attempts: int = attrs.field(
        default=100, validator=_whole(1, ", or -1 for no limit")
    )
    max_retry_duration: float = attrs.field(
        default=0.0, validator=seconds_from(0, ", or -1 for no limit")
    )
    min_backoff: float = attrs.field(default=0.1, validator=seconds_from(SHORTEST))
    max_backoff: float = attrs.field(default=3600.0, validator=seconds_from(SHORTEST))
    max_doublings: int = attrs.field(default=16, validator=_whole(0))
    jitter: str = attrs.field(default="none", validator=_is_jitter)

    def __attrs_post_init__(self) -> None:
        if self.max_backoff < self.min_backoff:
            right = f"at least min_backoff, which is {self.min_backoff:g}"
            _refuse("max_backoff", right, self.max_backoff)

    def wait(
        self,
        attempts: int,
        first_attempt: float,
        now: float,
        random: Callable[[], float],
    ) -> float | None:
        """
        Seconds until the next attempt, or C{None} to give up.

        @param attempts: how many there were; all of them failed.
        @param first_attempt: when the first was; seconds, as is C{now}.
        @param random: gives a number from 0 up to 1.
        """
        if self.used_up(attempts, now - first_attempt):
            return None
        seconds = self.backoff(attempts)
        if self.jitter == "full":
            seconds = max(SHORTEST, seconds * random())
        return max(seconds, STEADY) if attempts >= MANY else seconds

    def shortest(self, attempts: int) -> float:
        """
        Seconds that a task waits at least after so many attempts, whatever it was
        answered.
        """
        return max(self.min_backoff, STEADY) if attempts >= MANY else self.min_backoff

    def used_up(self, attempts: int, age: float) -> bool:
        """
        Whether there were enough attempts.

        @param age: seconds since the first.
        """
        limits = []
        if self.max_attempts > 0:
            limits.append(attempts >= self.max_attempts)
        if self.max_retry_duration > 0:
            limits.append(age >= self.max_retry_duration)
        return bool(limits) and all(limits)

    def given_up(self, history: History) -> bool:
        """
        Whether a task would have been given up by this policy after its last attempt.
        Another policy had it tried again.
        """
        return self.used_up(history.attempts, history.last - history.first)

    def backoff(self, attempts: int) -> float:
        """
        The wait after so many attempts (from 1), in seconds, without jitter.
        """
        doublings = min(attempts - 1, self.max_doublings)
        try:
            grown = math.ldexp(self.min_backoff, doublings)
            return float(min(grown * (attempts - doublings), self.max_backoff))
        except OverflowError:
            return float(self.max_backoff)


_FIELDS = tuple(field.name for field in attrs.fields(RetryPolicy))


def overridden(policy: RetryPolicy, wanted: object) -> RetryPolicy:
    """
    C{policy} with what a task wants changed: the object in its C{retry}, with
    the fields of L{RetryPolicy}; C{null}, and a field that is C{null}, change
    nothing.  Of the two bounds of the wait, the one it names moves the other.

    @raise BadTask: it is wrong; the text names the field, as in
        C{retry.max_attempts}.
    """
    if wanted is None:
        return policy
    if not isinstance(wanted, dict):
        raise BadTask(f"retry must be an object, not {_hidden(wanted)}")
    for name in wanted:
        if name not in _FIELDS:
            known = ", ".join(_FIELDS)
            shown = ascii(str(name)[:40])[1:-1]
            raise BadTask(f"retry.{shown:.40} is not known: it may have {known}")
    changes = {name: value for name, value in wanted.items() if value is not None}
    try:
        checked = attrs.evolve(_LAX, **changes)
        if "max_backoff" not in changes:
            changes["max_backoff"] = max(policy.max_backoff, checked.min_backoff)
        if "min_backoff" not in changes:
            changes["min_backoff"] = min(policy.min_backoff, checked.max_backoff)
        return attrs.evolve(policy, **changes)
    except _Refused as e:
        raise BadTask(f"retry.{e.hidden}") from None
    except ConfigError as e:
        raise BadTask(f"retry.{e}") from None


# With either bound of the wait, whatever it is, the other one fits.
_LAX = RetryPolicy(min_backoff=SHORTEST, max_backoff=LONGEST)
