"""
L{Mediator}: what it is made of, and what users see of it.

A message goes along the L{Pipeline}; what fails there comes out at L{Mediator.failed}.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from quebert import task as tasks
from quebert._consumer_timeout import LONGEST_REQUEST
from quebert._log import Logger
from quebert._reactor import given_or_global
from quebert.boundaries import FailurePolicy, HTTPClient, Message, PostHook, PreHook
from quebert.cloud_events import CloudEvents
from quebert.errors import ConfigError
from quebert.guard import Guard
from quebert.limits import Admission
from quebert.mediator._adapters import MESSAGES
from quebert.mediator._codec import Codec, Decode, Encode
from quebert.mediator._failures import Failures
from quebert.mediator._observation import Observations
from quebert.mediator._parts import of_part
from quebert.mediator._pipeline import Pipeline
from quebert.mediator._reading import TaskReader
from quebert.mediator._redaction import Redaction
from quebert.mediator._requests import Requests
from quebert.mediator._steady_failures import SteadyFailures
from quebert.mediator._target import RequestTarget
from quebert.outcome import Outcome
from quebert.signatures import IDTokens, Signer
from quebert.task import Bounds, Task
from quebert.task_callbacks import CallbackTask
from quebert.task_events import TaskObserver, TaskRecorder

__all__ = ["DEFAULT_TIMEOUT", "MAX_TIMEOUT", "Mediator"]

#: Seconds a task may take unless it says otherwise, as in Cloud Tasks.
DEFAULT_TIMEOUT = 600.0
#: Seconds a task may take whatever it says.
MAX_TIMEOUT = LONGEST_REQUEST


class Mediator:
    """
    Executes the task in a message, by requesting its URL.

    A failed task is put back as it was and tried again, at a steady pace, unless
    another C{policy} decides.  The headers of its message count the attempts, for other
    mediators of the same queue.

    The names C{decode}, C{encode} and C{defaulturl}, and those in camelCase, such as
    C{retryDelay}, are those of the original quebert; programs use them.

    @param decode: from a body to a task.
    @param encode: from a task to a body, which executors get.
    @param defaulturl: where the scheme and host of partial URLs come from; with
        C{None} or C{""} a task with a partial URL is buried.
    @param reactor: makes the requests; the global one by default.
    @param http: makes them instead: a treq client, or anything like it.
    @param clock: keeps the time limits, and the times that C{admission} is told;
        C{reactor} by default.
    @param retryDelay: seconds until a failed task is put back; 0 for at once.
    @param defaultTimeout: seconds a task may take that does not say.
    @param maxTimeout: seconds a task may take at most.
    @param now: the time of day, in seconds since the epoch.
    @param bury: whether a message that is no task is buried, for somebody to
        look at, and not discarded.
    @param max_url_length: characters that a task's URL may have at most; the bounds of
        its other fields are those of L{Bounds<quebert.task.Bounds>}.
    @param max_body: bytes that a message may have at most; a larger one is no task, and
        is not decoded.
    @param admission: asked before each request whether its origin may have it now, such
        as L{Origins<quebert.limits.Origins>}; a task that must wait has
        not failed.
    @param guard: permits or refuses each request; for the HTTP client that is made
        where no C{http} is given.  A given C{http} has a guard of its own.
    @param signer: signs each request, for executors that verify it.
    @param cloud_events: makes an event of each request.
    @param id_tokens: makes the ID tokens that tasks ask for with C{cloud_tasks}; by
        default such a task is buried.
    @param target: takes the place of parts of each request.
    @param keep_answers: whether a dead letter holds the beginning of the last answer,
        and a callback task the answer; by default the guard says.
    @param secrets: texts that are hidden where an answer or an exception has them,
        beside the secrets of a task: those of headers that C{http} adds.
    @param policy: decides what becomes of failed tasks; by default each is put back as
        it was, after C{retryDelay}.
    @param observer: told of each attempt (L{quebert.task_events}); by default nobody.
    @param recorder: given each task when it has ended, such as the method C{append} of
        a list; likewise.
    @ivar bounds: how long the fields of a task may be.
    @ivar drop_before: tasks that were created before this time are dropped, in seconds
        since the epoch; 0 for none, infinity for all.
    @raise ConfigError: C{defaulturl} is no absolute HTTP URL, there is both a C{guard}
        and C{http}, or C{policy} is no L{FailurePolicy}.
    """

    log = Logger()
    #: No task is attempted that its message says is cancelled.
    heeds_cancelled = True

    bury: bool = of_part("_pipeline.bury")
    drop_before: float = of_part("_pipeline.drop_before")
    defaulturl: str = of_part("_reader.defaulturl")
    defaultTimeout: float = of_part("_requests.default_timeout")
    admission: Admission | None = of_part("_requests.admission")
    http: HTTPClient = of_part("_requests.http")
    id_tokens: IDTokens | None = of_part("_requests.id_tokens")
    keep_answers: bool = of_part("_failures.keep_answers")
    maxTimeout: float = of_part("_requests.max_timeout")
    observer: TaskObserver | None = of_part("_observations.observer")
    recorder: TaskRecorder | None = of_part("_observations.recorder")
    retryDelay: float = of_part("_steady.delay")
    target: RequestTarget | None = of_part("_reader.target")

    def __init__(
        self,
        decode: Decode = tasks.decode,
        encode: Encode = tasks.encode,
        defaulturl: str | None = "http://localhost:8000/",
        reactor: Any = None,
        *,
        http: HTTPClient | None = None,
        clock: IReactorTime | None = None,
        retryDelay: float = 1.0,
        defaultTimeout: float = DEFAULT_TIMEOUT,
        maxTimeout: float = MAX_TIMEOUT,
        now: Callable[[], float] = time.time,
        bury: bool = False,
        max_url_length: int = tasks.BOUNDS.url,
        max_body: int = tasks.BOUNDS.body,
        admission: Admission | None = None,
        guard: Guard | None = None,
        signer: Signer | None = None,
        cloud_events: CloudEvents | None = None,
        id_tokens: IDTokens | None = None,
        target: RequestTarget | None = None,
        keep_answers: bool | None = None,
        secrets: Iterable[str] = (),
        policy: FailurePolicy | None = None,
        observer: TaskObserver | None = None,
        recorder: TaskRecorder | None = None,
    ) -> None:
        if guard is not None and http is not None:
            raise ConfigError(
                "guard and http exclude each other: give the guard to http"
            )
        guard = guard or Guard()
        bounds = tasks.Bounds(
            url=_positive("max_url_length", max_url_length),
            body=_positive("max_body", max_body),
        )
        self._reactor = reactor
        self._clock = clock
        self._now = now
        self._steady = SteadyFailures(retryDelay)
        self._policy = self._steady if policy is None else _checked(policy)
        self._codec = Codec(decode, encode, bounds)
        self._reader = TaskReader(defaulturl, bounds, self._policy, now)
        self._reader.target = target
        self._requests = Requests(
            http,
            lambda: _make_http(self.reactor, guard),
            lambda: self.clock,
            admission=admission,
            default_timeout=defaultTimeout,
            max_timeout=maxTimeout,
            signer=signer,
            cloud_events=cloud_events,
            id_tokens=id_tokens,
            overrules=self._policy.overrules,
        )
        self._failures = Failures(
            self,
            self._policy,
            self._steady,
            self._codec,
            self._reader,
            Redaction(secrets, self._reader.request, self._policy.lease_url),
            keep_answers=guard.keeps_answers if keep_answers is None else keep_answers,
            now=now,
        )
        self._observations = Observations(self.log, lambda: self.clock)
        self._observations.observer = observer
        self._observations.recorder = recorder
        self._pipeline = Pipeline(
            self._codec,
            self._reader,
            self._requests,
            self._failures,
            self._observations,
            clock=lambda: self.clock,
            now=now,
            bury=bury,
        )

    @property
    def bounds(self) -> Bounds:
        """
        How large a task and its fields may be.
        """
        return self._codec.bounds

    @bounds.setter
    def bounds(self, bounds: Bounds) -> None:
        self._codec.bounds = self._reader.bounds = bounds

    @property
    def reactor(self) -> Any:
        """
        The reactor, the global one unless another was given.
        """
        return given_or_global(self._reactor)

    @property
    def clock(self) -> IReactorTime:
        """
        What keeps the time limits.
        """
        if self._clock is None:
            self._clock = self.reactor
        return self._clock

    def add_prehook(self, hook: PreHook) -> None:
        """
        Have C{hook(task)} called before each request, after the hooks added
        before it.  It may change the task, and return a Deferred or be a
        coroutine.  When it sets C{task["filter"]} the request is left out;
        when it fails the task has failed.
        """
        self._pipeline.prehooks.append(hook)

    def add_posthook(self, hook: PostHook) -> None:
        """
        Have C{hook(task, result)} called after each success, before the hooks
        added before it.  When it fails the task has failed.
        """
        self._pipeline.posthooks.insert(0, hook)

    addPrehook = add_prehook
    addPosthook = add_posthook

    def messageReceived(self, message: Message) -> Deferred[Outcome]:
        """
        Execute the task in C{message}.

        @return: fires with what is to become of the message; does not fail.
        """
        given: Any = message
        fits = type(given) in MESSAGES.fitting
        return self._pipeline.execute(given if fits else MESSAGES.adapt(given))

    def memory_of(self, body: bytes) -> int:
        """
        Bytes of memory that the task in C{body} takes at most while it is at work.
        """
        return self._codec.memory_of(body, in_part=self._pipeline.reads_part(body))

    def callback_in(self, body: bytes) -> CallbackTask | None:
        """
        The callback task that the task in C{body} asks for; C{None} where it asks for
        none.
        """
        return self._pipeline.callback_in(body)

    def failed(self, task: Task, failure: Failure) -> Outcome:
        """
        Decide what becomes of a task that could not be executed; to be overridden.
        Unless it is, the failure policy decides.

        @param failure: why.  Where this mediator calls it, it is a L{FailedAttempt
            <quebert.mediator.FailedAttempt>}, whose C{history} tells all attempts.
        """
        return self._failures.decided(task, failure)

    @property
    def failed_is_overridden(self) -> bool:
        """
        Whether a subclass decides about failures, or may.
        """
        return self.failed != MethodType(Mediator.failed, self)


def _make_http(reactor: Any, guard: Guard) -> HTTPClient:
    from quebert.http import Dispatcher

    return Dispatcher.with_reactor(reactor, guard)


def _checked(policy: object) -> FailurePolicy:
    if isinstance(policy, FailurePolicy):
        return policy
    raise ConfigError(f"policy={policy!r:.40} must be a FailurePolicy")


def _positive(name: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise ConfigError(f"{name}={value!r:.40} must be a whole number from 1")
