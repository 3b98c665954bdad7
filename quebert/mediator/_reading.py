"""
From a message to what its task asks for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from quebert import task as tasks
from quebert._url import default_option
from quebert.boundaries import FailurePolicy, WatchedMessage
from quebert.mediator._history import NO_ATTEMPTS, history_of
from quebert.mediator._requests import number
from quebert.policy import History, RetryPolicy
from quebert.task import Bounds, Request, Schedule, Task

__all__ = ["TaskReader", "Wanted"]


class Wanted(NamedTuple):
    """
    What a task asks for.

    @ivar times: when it may run.
    @ivar request: the HTTP request.
    @ivar limits: those by which it may be given up without another attempt.
    @ivar history: the attempts at it, if there are such limits.
    """

    times: Schedule
    request: Request
    limits: RetryPolicy | None
    history: History


class TaskReader:
    """
    Reads tasks.

    @param defaulturl: completes partial URLs; C{None} or C{""} for nothing.
    @param bounds: of the fields of tasks.
    @param policy: tells the limits of a task, and how its attempts are numbered.
    @raise ConfigError: C{defaulturl} is no absolute HTTP URL.
    """

    def __init__(
        self, defaulturl: str | None, bounds: Bounds, policy: FailurePolicy
    ) -> None:
        self._bounds = bounds
        self._policy = policy
        self.defaulturl = defaulturl or ""

    @property
    def defaulturl(self) -> str:
        """
        What completes partial URLs; C{""} for nothing.
        """
        return self._defaulturl

    @defaulturl.setter
    def defaulturl(self, url: str) -> None:
        self._defaulturl = default_option("defaulturl", url) if url else ""

    def read(self, task: Any, message: WatchedMessage) -> Wanted:
        """
        What a task asks for.

        @raise BadTask: a field is missing or wrong.
        """
        ages = type(task) is dict and "ttl" in task and tasks.ages_since_sent(task)
        sent_at = _sent_at(message) if ages else None
        times = tasks.schedule(task, sent_at, self._bounds)
        request = tasks.request(task, self._defaulturl, self._bounds)
        policy, history = self._policy, NO_ATTEMPTS
        limits = None if policy.limits_for is None else policy.limits_for(task)
        if limits is not None or policy.attempt_header is not None:
            history = history_of(message, task)
            if policy.attempt_header is not None:
                number(request.headers, policy.attempt_header, history.attempts + 1)
        return Wanted(times, request, limits, history)

    def request(self, task: Task) -> Request:
        """
        The request alone.

        @raise BadTask: a field is missing or wrong.
        """
        return tasks.request(task, self._defaulturl, self._bounds)

    def check(self, task: Task) -> None:
        """
        Look whether a task could be requested.

        @raise BadTask: it could not.
        """
        tasks.schedule(task, bounds=self._bounds)
        self.request(task)


def _sent_at(message: WatchedMessage) -> float | None:
    try:
        sent_at = message.properties.get("timestamp")
    except ValueError:
        return None
    return sent_at if isinstance(sent_at, (int, float)) else None
