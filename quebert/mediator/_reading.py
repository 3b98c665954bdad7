"""
From a message to what its task asks for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Union

from quebert import task as tasks
from quebert._url import default_option
from quebert.boundaries import FailurePolicy, WatchedMessage
from quebert.mediator._adapters import timed
from quebert.mediator._handler_headers import handler_headers
from quebert.mediator._history import NO_ATTEMPTS, history_of
from quebert.mediator._target import RequestTarget, retargeted
from quebert.policy import LEASE_URL, History, RetryPolicy
from quebert.task import Bounds, Request, Schedule, Task
from quebert.task_callbacks import CallbackTask

__all__ = ["TaskReader", "Wanted", "replace"]


#: C{times, request, limits, history, added}: when a task may run; the request it asks
#: for; the limits by which it may be given up without another attempt; the attempts at
#: it; and when it was added, as far as it says so itself.  A plain tuple, since each
#: task has one.
Wanted = tuple[Schedule, Request, Union[RetryPolicy, None], History, Union[float, None]]


class TaskReader:
    """
    Reads tasks.

    @param defaulturl: completes partial URLs; C{None} or C{""} for nothing.
    @ivar bounds: of the fields of tasks.
    @param policy: tells the limits of a task, and how its attempts are numbered.
    @param now: the time of day, in seconds since the epoch.
    @ivar target: what takes the place of parts of each request; C{None} for nothing.
    @raise ConfigError: C{defaulturl} is no absolute HTTP URL.
    """

    def __init__(
        self,
        defaulturl: str | None,
        bounds: Bounds,
        policy: FailurePolicy,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.bounds = bounds
        self.target: RequestTarget | None = None
        self._now = now
        self._limits_for = policy.limits_for
        self._attempt_header = policy.attempt_header
        self._lease_url = policy.lease_url
        asks = (self._limits_for, self._attempt_header, self._lease_url)
        self._needs_history = any(each is not None for each in asks)
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
        What a task asks for.  The headers of its request tell the number of the
        attempt, where the policy wants that, the URL of a lease, and what handlers of
        Cloud Tasks are told.  What needs no history is to be added before that is
        read, which is seldom.

        @return: its history is told only where the policy needs it.
        @raise BadTask: a field is missing or wrong.
        """
        # Nearly always it has no time to live, and nobody needs its history.
        ages = type(task) is dict and task.get("ttl") and tasks.ages_since_sent(task)
        sent_at = timed(message).sent_at if ages else None
        times, added = tasks.times_of(task, sent_at, self.bounds)
        request = tasks.request(task, self._defaulturl, self.bounds)
        if self.target is not None:
            request = retargeted(request, self.target)
        if not (self._needs_history or request.cloud_tasks):
            return times, request, None, NO_ATTEMPTS, added
        limits = None if self._limits_for is None else self._limits_for(task)
        has_past = message.may_have_past or "failures" in task  # seldom
        history = history_of(message, task) if has_past else NO_ATTEMPTS
        if self._attempt_header is not None:
            replace(request.headers, self._attempt_header, str(history.attempts + 1))
        if self._lease_url is not None:
            url = self._lease_url(message, history.attempts + 1)
            replace(request.headers, LEASE_URL, url)
        if request.cloud_tasks is not None:
            due = timed(message).due_at
            if not history.attempts:  # it is not known of all that are tried again
                due = times.run_at or due or added
            eta = self._now() if due is None else due
            told = handler_headers(request.cloud_tasks, history, eta)
            request.headers.update(told)
        return times, request, limits, history, added

    def request(self, task: Task) -> Request:
        """
        The request alone.

        @raise BadTask: a field is missing or wrong.
        """
        request = tasks.request(task, self._defaulturl, self.bounds)
        return request if self.target is None else retargeted(request, self.target)

    def callback_of(self, task: Task, **options: Any) -> CallbackTask | None:
        """
        The callback task that a task asks for; C{None} where it asks for none.

        @param options: as for L{CallbackTask}.
        @raise BadTask: it cannot be requested.
        """
        url = task.get("callback_url")
        if url is not None:
            tasks.check_callback_url(url, self._defaulturl, self.bounds)
        return CallbackTask.of_task(task, **options)

    def check(self, task: Task) -> None:
        """
        Look whether a task could be requested.

        @raise BadTask: it could not.
        """
        tasks.schedule(task, bounds=self.bounds)
        self.request(task)


def replace(headers: dict[str, str], name: str, value: str) -> None:
    """
    Tell something in the headers of a request.  Whoever wrote the task cannot say it.

    @param name: of the header.
    """
    # Nearly always there is Content-Type alone, which is no other spelling of a name.
    if len(headers) > 1 or "Content-Type" not in headers:
        folded = tasks.folded(name)
        for each in [each for each in headers if tasks.folded(each) == folded]:
            del headers[each]
    headers[name] = value
