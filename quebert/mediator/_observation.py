"""
Tells the observer and the recorder of a mediator what happens to tasks
(L{quebert.task_events}).

Nothing here is called while there is neither: every task comes by.  With a recorder
alone, a task that is done costs an object and two looks at the clock.  What an observer
is told is made only where there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from quebert._repeated import RepeatedWarning
from quebert.boundaries import FailedTask, WatchedMessage
from quebert.clock import stopwatch_of
from quebert.mediator._adapters import timed
from quebert.mediator._describe import line_of_url, one_line
from quebert.mediator._history import NO_ATTEMPTS, history_of
from quebert.mediator._reading import Wanted
from quebert.outcome import DISCARDED, Bury, Discard, Done, Outcome, Retry
from quebert.task import Task
from quebert.task_events import (
    AttemptBegun,
    AttemptEnded,
    EndedTask,
    NotAttempted,
    TaskAttempt,
    TaskObserver,
    TaskRecorder,
)

__all__ = ["Observation", "Observations"]

_EARLY = "its time has not come"
_HOST_BUSY = "its host takes no request now"
_DONE = Done()


class Observations:
    """
    Makes an L{Observation} of each task.

    @param log: told where the observer fails.
    @param clock: gives what keeps time.
    @ivar is_on: whether anybody is told.
    @ivar seconds: tells how the time goes on.
    """

    def __init__(self, log: Logger, clock: Callable[[], IReactorTime]) -> None:
        self.is_on = False
        self._observer: TaskObserver | None = None
        self._recorder: TaskRecorder | None = None
        self._clock = clock
        self.seconds: Callable[[], float] = self._first_seconds
        self._failing = RepeatedWarning(
            log,
            clock,
            "An observer of tasks fails",
            "The observer of tasks does not fail any more",
        )

    def _first_seconds(self) -> float:
        """
        There is a clock as soon as it is needed.
        """
        self.seconds = stopwatch_of(self._clock())
        return self.seconds()

    @property
    def observer(self) -> TaskObserver | None:
        """
        Is told what happens; C{None} for nobody.
        """
        return self._observer

    @observer.setter
    def observer(self, observer: TaskObserver | None) -> None:
        self._observer = observer
        self.is_on = self._observer is not None or self._recorder is not None

    @property
    def recorder(self) -> TaskRecorder | None:
        """
        Is given each task that has ended; C{None} for nobody.
        """
        return self._recorder

    @recorder.setter
    def recorder(self, recorder: TaskRecorder | None) -> None:
        self._recorder = recorder
        self.is_on = self._observer is not None or self._recorder is not None

    def begin(
        self, task: Task, message: WatchedMessage, wanted: Wanted, started: float
    ) -> Observation:
        """
        The observation of a task that has come.

        @param started: now, in seconds since the epoch.
        """
        times, request, _, history, added = wanted
        due = times.run_at
        if message.may_have_past or "failures" in task:  # seldom
            if history is NO_ATTEMPTS:  # the policy may not need it
                history = history_of(message, task)
            due = timed(message).due_at or (None if history.attempts else due)
        if added is None:
            added = timed(message).sent_at
        number = history.attempts + 1
        observation = Observation(
            self, request.uuid, task["url"], number, added, due, started
        )
        if message.tells_end:
            message.last_attempt = observation
        return observation

    def no_task(
        self, decoded: Any, message: WatchedMessage, outcome: Outcome, started: float
    ) -> None:
        """
        A message is no task.

        @param decoded: anything that a body can be decoded to.
        """
        fields = decoded if isinstance(decoded, dict) else {}
        uuid, url = fields.get("uuid"), fields.get("url")
        Observation(
            self,
            None if uuid is None else one_line(uuid),
            one_line(url) if isinstance(url, str) else None,
            history_of(message, fields).attempts + 1,
            timed(message).sent_at,
            timed(message).due_at,
            started,
        ).not_attempted(outcome)

    def tell(self, ended: Observation, attempted: bool) -> None:
        """
        Tell what has become of a task.
        """
        try:
            if self._recorder is not None:
                self._recorder(ended)
            if self._observer is not None:
                self._observer(ended.event(attempted))
                self._failing.succeeded()
        except Exception as e:
            self._failing.met(f"{type(e).__name__}: {e}")

    def tell_begun(self, attempt: TaskAttempt) -> None:
        """
        Tell that the request of an attempt begins.
        """
        if self._observer is not None:
            try:
                self._observer(AttemptBegun(attempt))
            except Exception as e:
                self._failing.met(f"{type(e).__name__}: {e}")


class Observation(EndedTask):
    """
    What is known of one task on its way.
    """

    __slots__ = ("_attempt", "_began", "_observations")

    def __init__(
        self,
        observations: Observations,
        uuid: object,
        url: object,
        number: int,
        added: float | None,
        due: float | None,
        started: float,
    ) -> None:
        self._observations = observations
        self._attempt: TaskAttempt | None = None
        self._began = observations.seconds()
        self.has_begun = False
        self.uuid = uuid
        self.url = url
        self.number = number
        self.added = added
        self.due = due
        self.started = started
        self.status = None
        self.outcome = _DONE
        self.why = self.answer = ""
        self.html = False

    def begun(self) -> None:
        """
        The request begins.
        """
        self.has_begun = True
        if self._observations.observer is not None:
            self._observations.tell_begun(self._told_as())

    def failed(self, failed: FailedTask) -> None:
        """
        The attempt has failed.
        """
        answer = failed.answer
        self.why = failed.why
        self.answer = "" if answer is None else answer.body
        if self._observations.observer is not None:
            kinds = failed.header(b"content-type")
            self.html = bool(kinds) and "html" in kinds[0].lower()

    def done(self, _: object) -> Outcome:
        """
        The task is done.
        """
        observations = self._observations
        seconds = observations.seconds() - self._began
        self.seconds = seconds if seconds > 0.0 else 0.0
        observations.tell(self, attempted=True)
        return _DONE

    def ended(self, outcome: Outcome) -> Outcome:
        """
        It is clear what becomes of a task that was to be attempted.
        """
        if isinstance(outcome, Done):
            return self.done(None)
        if isinstance(outcome, Retry) and not outcome.attempted:
            return self.not_attempted(outcome, _HOST_BUSY)
        not_to_be = isinstance(outcome, Discard) and outcome.kind != DISCARDED
        if not_to_be and not self.has_begun:  # hooks may take time
            return self.not_attempted(outcome)
        self.seconds = max(0.0, self._observations.seconds() - self._began)
        self.outcome = outcome
        if not self.why and isinstance(outcome, (Bury, Discard)):
            self.why = one_line(outcome.reason)
        self._observations.tell(self, attempted=True)
        return outcome

    def not_attempted(self, outcome: Outcome, why: str = _EARLY) -> Outcome:
        """
        A task is not attempted.

        @param why: the reason, if C{outcome} has none.
        """
        if isinstance(outcome, (Bury, Discard)):
            why = outcome.reason
        self.seconds = max(0.0, self._observations.seconds() - self._began)
        self.outcome = outcome
        self.why = one_line(why)
        self._observations.tell(self, attempted=False)
        return outcome

    def event(self, attempted: bool) -> AttemptEnded | NotAttempted:
        """
        What an observer is told of its end.
        """
        attempt = self._told_as()
        if not attempted:
            return NotAttempted(attempt, self.outcome, self.why)
        return AttemptEnded(
            attempt,
            self.status,
            self.seconds,
            self.outcome,
            self.why,
            self.answer,
            self.html,
        )

    def _told_as(self) -> TaskAttempt:
        if self._attempt is None:
            uuid = "" if self.uuid is None else one_line(self.uuid)
            url = line_of_url(self.url) if isinstance(self.url, str) else "?"
            self._attempt = TaskAttempt(uuid, url, self.number)
        return self._attempt
