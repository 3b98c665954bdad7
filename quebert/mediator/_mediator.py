"""
The steps between a message and its L{Outcome<quebert.outcome>}: decode,
expired?, due?, pre-hooks, request, post-hooks.

What becomes of a failure is for subclasses to decide.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextvars import copy_context
from functools import partial
from typing import Any, Union

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

from quebert.mediator import _hooks as hooks
from quebert import task as tasks
from quebert.mediator._attempt import Attempt
from quebert._bounds import memory_of
from quebert._deadlines import Deadlines
from quebert._log import Logger
from quebert._reactor import given_or_global
from quebert._secrets import hide, hide_in_beginning, in_headers, in_url
from quebert._turn import InSteps
from quebert._url import default_option
from quebert.boundaries import (
    HTTPClient,
    Message,
    PostHook,
    PreHook,
    SigningHTTPClient,
)
from quebert.clock import seconds_set
from quebert.cloud_events import CloudEvents
from quebert.errors import BadStatus, BadTask, ConfigError, Forbidden, NoDefaultURL
from quebert.guard import Guard
from quebert.limits import Gate
from quebert.mediator._admission import Held, gated
from quebert.mediator._history import (
    FailedAttempt,
    failures_in,
    history_of,
    with_history,
)
from quebert.mediator._describe import name_of, one_line
from quebert.outcome import FORBIDDEN, POISON, Bury, Discard, Done, Outcome, Retry
from quebert.policy import History, RetryPolicy, exhausted
from quebert.signatures import Signer
from quebert.task import Task

__all__ = ["DEFAULT_TIMEOUT", "MAX_TIMEOUT", "Mediator"]

Decode = Callable[[bytes], Any]
Encode = Callable[[Task], Union[bytes, str]]

#: Seconds a task may take unless it says otherwise, as in Cloud Tasks.
DEFAULT_TIMEOUT = 600.0
#: Seconds a task may take whatever it says: it must be settled before the half
#: hour after which RabbitMQ gives a delivery to somebody else.
MAX_TIMEOUT = 1_500.0
#: Seconds after which a task is judged again that is early or has expired only if the
#: clock of the machine was set rightly.
DOUBT = 5.0
#: Bytes of the answer to a failed attempt that are kept.
ANSWER = 2_048
_DONE = Done()


class Mediator:
    """
    Executes the task in a message, by requesting its URL.

    A failed task is put back as it was and tried again, at a steady pace.  The headers
    of its message count the attempts, for other mediators of the same queue.

    @param decode: from a body to a task.
    @param encode: from a task to a body, which executors get.
    @param defaulturl: where the scheme and host of partial URLs come from; with
        C{None} or C{""} a task with a partial URL is buried.
    @param reactor: makes the requests; the global one by default.
    @param http: makes them instead: a treq client, or anything like it.
    @param clock: keeps the time limits, and the times that C{gate} is told; C{reactor}
        by default.
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
    @param gate: asked before each request whether its origin may have it now, such
        as L{Origins<quebert.limits.Origins>}; who must wait is put back, and has
        not failed.
    @param guard: permits or refuses each request; for the HTTP client that is made
        where there is no C{http}, which has a guard of its own.
    @param signer: signs each request, for executors that verify it.
    @param cloud_events: makes an event of each request.
    @param keep_answers: whether a dead letter holds the beginning of the last answer;
        by default the guard says.
    @param secrets: texts that are hidden where an answer or an exception has them,
        beside the secrets of a task: those of headers that C{http} adds.
    @raise ConfigError: C{defaulturl} is no absolute HTTP URL, or there is both a
        C{guard} and C{http}.
    """

    log = Logger()
    # Asked of each 2xx whether it says itself that it is no success.
    _overruled: Callable[[Any], bool] | None = None
    # Asked of each task for its limits.
    _limits_for: Callable[[Task], RetryPolicy] | None = None

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
        gate: Gate | None = None,
        guard: Guard | None = None,
        signer: Signer | None = None,
        cloud_events: CloudEvents | None = None,
        keep_answers: bool | None = None,
        secrets: Iterable[str] = (),
    ) -> None:
        if guard is not None and http is not None:
            raise ConfigError("guard is of no use beside http: give http a guard")
        self._guard = guard or Guard()
        if keep_answers is None:
            keep_answers = self._guard.keeps_answers
        self.keep_answers = keep_answers
        self._secrets = tuple(secrets)
        self.defaulturl = defaulturl or ""
        self.retryDelay = retryDelay
        self.defaultTimeout = defaultTimeout
        self.maxTimeout = maxTimeout
        self.bury = bury
        self.bounds = tasks.Bounds(
            url=_positive("max_url_length", max_url_length),
            body=_positive("max_body", max_body),
        )
        self.gate = gate
        self._signer = signer
        self._cloud_events = cloud_events
        self._decode = decode
        self._encode = encode
        self._is_json = (decode, encode) == (tasks.decode, tasks.encode)
        self._reactor = reactor
        self._http = http
        self._clock = clock
        self._now = now
        self._prehooks: list[PreHook] = []
        self._posthooks: list[PostHook] = []
        self._deadlines = Deadlines(lambda: self.clock, Attempt.late)
        self._in_steps = InSteps(lambda: self.clock)
        self._failing: History | None = None  # of the task that failed() is asked about

    @property
    def defaulturl(self) -> str:
        """
        What completes partial URLs; C{""} for nothing.

        @raise ConfigError: it is set to what is no absolute HTTP URL.
        """
        return self._defaulturl

    @defaulturl.setter
    def defaulturl(self, url: str) -> None:
        self._defaulturl = default_option("defaulturl", url) if url else ""

    def add_prehook(self, hook: PreHook) -> None:
        """
        Have C{hook(task)} called before each request, after the hooks added
        before it.  It may change the task, and return a Deferred or be a
        coroutine.  When it sets C{task["filter"]} the request is left out;
        when it fails the task has failed.
        """
        self._prehooks.append(hook)

    def add_posthook(self, hook: PostHook) -> None:
        """
        Have C{hook(task, result)} called after each success, before the hooks
        added before it.  When it fails the task has failed.
        """
        self._posthooks.insert(0, hook)

    addPrehook = add_prehook
    addPosthook = add_posthook

    def messageReceived(self, message: Message) -> Deferred[Outcome]:
        """
        Execute the task in C{message}.

        @return: fires with what is to become of the message; does not fail.
        """
        if len(message.body) > tasks.LARGE and self._reads_part(message.body):
            reading = self._in_steps.do(tasks.read_part(message.body, self.bounds))
            return reading.addCallbacks(
                self._received, self._not_read, (message, False)
            )
        try:
            task = self._decoded(message.body)
        except BadTask as e:
            return succeed(self._not_a_task(None, e))
        return self._received(task, message)

    def _reads_part(self, body: bytes) -> bool:
        """
        Whether of a large body only the fields are decoded that mediators read.  Hooks
        get all fields.
        """
        if len(body) > self.bounds.body or self._prehooks or self._posthooks:
            return False
        return self._is_json and tasks.CAN_READ_PART

    def memory_of(self, body: bytes) -> int:
        """
        Bytes of memory that the task in C{body} takes at most while it is at work.
        """
        if len(body) > tasks.LARGE and self._reads_part(body):
            return 2 * len(body)  # as it came, and as it is sent
        return memory_of(body)

    def _not_read(self, failure: Failure) -> Outcome:
        error = failure.value
        if not isinstance(error, BadTask):
            failure.raiseException()
        return self._not_a_task(None, error)

    def _received(
        self, task: Any, message: Message, whole: bool = True
    ) -> Deferred[Outcome]:
        """
        Execute a task.

        @param whole: whether it has all its fields.
        """
        hooked = bool(self._prehooks or self._posthooks)
        try:
            if hooked and not whole:  # they were added meanwhile
                task, whole = self._decoded(message.body), True
            times, request = self._read(task, message)
        except BadTask as e:
            return succeed(self._not_a_task(task, e))
        now = self._now()
        if times is not tasks.ANY_TIME:  # as it is nearly always
            if times.expired(now):
                return succeed(self._expired(task, times, now))
            early = times.early(now)
            if early > 0:
                after = min(early, max(times.early(self._unset(now)), DOUBT))
                return succeed(Retry(after=after, attempted=False))
        # Nearly always there is no history.
        may_have_past = getattr(message, "may_have_past", True) or "failures" in task
        if may_have_past and self._limits_for is not None:
            history = history_of(message, task)
            if history.attempts and self._limits_for(task).given_up(history):
                why = "this mediator makes no more attempts at it"
                return succeed(exhausted(history, None, now, name_of(task), why))
        arguments = (task, message, now, whole)
        if hooked or task.get("filter"):
            executing: Deferred[Any] = maybeDeferred(
                self._execute, task, message, times, request
            )
            return executing.addErrback(self._failed, *arguments)
        requesting = self._requested(message, request, message.body)
        return requesting.addCallbacks(_done, self._failed, errbackArgs=arguments)

    def _unset(self, now: float) -> float:
        """
        The time as if the clock of the machine had not been set since this process
        began.  Somebody may have set it wrong, and may set it right soon.  So a task
        that is early or expired now, and is not so by this time, waits for L{DOUBT}
        seconds at most before it is judged again.
        """
        return now - seconds_set(self.clock)

    def _expired(self, task: Task, times: tasks.Schedule, now: float) -> Outcome:
        """
        What becomes of a task whose time to live is over.
        """
        if times.expired(self._unset(now)):
            return Discard(f"task {name_of(task)} has expired")
        return Retry(after=DOUBT, attempted=False)

    def _not_a_task(self, decoded: Any, error: BadTask) -> Outcome:
        """
        What becomes of a message that this mediator can make no request for.

        @param decoded: what its body says, if it could be decoded.
        """
        known = decoded.get("uuid") if isinstance(decoded, dict) else None
        if isinstance(known, str) and len(known) > self.bounds.uuid:
            known = None
        name = f" (uuid {one_line(known)})" if known else ""
        if isinstance(error, NoDefaultURL):  # another mediator can
            return Bury(f"a task{name} for another mediator: {error}", POISON)
        why = f"not a task{name}: {error}"
        return Bury(why, POISON) if self.bury else Discard(why)

    def _failed(
        self,
        failure: Failure,
        task: Task,
        message: Message,
        began: float,
        whole: bool,
    ) -> Outcome:
        unanswered = getattr(message, "was_unanswered", None)
        if unanswered is not None and not isinstance(failure.value, BadStatus):
            unanswered()
        if isinstance(failure.value, Held):
            return Retry(after=failure.value.after, attempted=False)
        error, status = failure.value, None
        if isinstance(error, Forbidden):
            why = f"task {name_of(task)} is given up at once: {error}"
            return Bury(why, FORBIDDEN)
        if isinstance(error, BadStatus):
            status = error.status
            error.body = self._kept(task, error.body)
        history = history_of(message, task).failed(began, status)
        try:
            if not whole and self._failed_needs_whole_task:
                task = self._decoded(message.body)
        except BadTask as e:
            return self._not_a_task(task, e)
        self._failing = history
        try:
            outcome = self.failed(task, FailedAttempt.like(failure, history))
        except Exception:
            self.log.failure("{mediator}.failed() failed", mediator=type(self).__name__)
            outcome = self._again(task, failure, Retry(after=self.retryDelay))
        finally:
            self._failing = None
        return with_history(outcome, history, task)

    @property
    def _failed_needs_whole_task(self) -> bool:
        """
        Whether L{failed} may read any field of a task.
        """
        return True

    def _attempts(self, failure: Failure, task: Task) -> History:
        """
        The attempts at a task that L{failed} is called with, the one that failed
        included.  Where somebody else calls it, the body of the task tells them.
        """
        if self._failing is not None:
            return self._failing
        error = failure.value
        status = error.status if isinstance(error, BadStatus) else None
        return History.read({}, failures_in(task)).failed(self._now(), status)

    def failed(self, task: Task, failure: Failure) -> Outcome:
        """
        Decide what becomes of a task that could not be executed; to be overridden.

        @param failure: why.  Where this mediator calls it, it is a L{FailedAttempt
            <quebert.mediator.FailedAttempt>}, whose C{history} tells all attempts.
        """
        return self._again(task, failure, Retry(after=self.retryDelay))

    def _again(self, task: Task, failure: Failure, retry: Retry) -> Retry:
        self.log.warn(
            "Task {name} failed, again in {after} s: {why}",
            name=name_of(task),
            after=retry.after,
            why=self._why(task, failure),
        )
        return retry

    def _why(self, task: Task, failure: Failure) -> str:
        """
        What went wrong, on one line, without the secrets of the request.
        """
        if type(failure.value) is BadStatus:  # nearly always, and its text is ours
            return one_line(failure.value)
        return one_line(self._hidden(task, safe_str(failure.value)))

    def _hidden(self, task: Task, text: str) -> str:
        """
        A text of an executor or a hook without the secrets of the request.
        """
        return hide(text, self._secrets_of(task)) if text else text

    def _kept(self, task: Task, answer: bytes) -> bytes:
        """
        What is kept of an answer.
        """
        if not (answer and self.keep_answers):
            return b""
        return hide_in_beginning(answer, self._secrets_of(task), ANSWER)

    def _secrets_of(self, task: Task) -> list[str]:
        found, headers = [*self._secrets], task.get("headers")
        if isinstance(url := task.get("url"), str):
            found.extend(in_url(url))
        try:
            request = tasks.request(task, self._defaulturl, self.bounds)
        except BadTask:  # hooks spoiled it
            pass
        else:
            headers = request.headers
            found.extend(in_url(request.url))
        if isinstance(headers, dict):
            found.extend(in_headers(headers))
        return found

    def _decoded(self, body: bytes) -> Any:
        if len(body) > self.bounds.body:
            most = self.bounds.body
            raise BadTask(f"the body must have at most {most} bytes, not {len(body)}")
        try:
            return self._decode(body)
        except BadTask:
            raise
        except Exception as e:
            raise BadTask(f"the body cannot be decoded: {one_line(e)}") from e

    def _read(
        self, task: Any, message: Message
    ) -> tuple[tasks.Schedule, tasks.Request]:
        ages = type(task) is dict and "ttl" in task and tasks.ages_since_sent(task)
        sent_at = _sent_at(message) if ages else None
        times = tasks.schedule(task, sent_at, self.bounds)
        return times, tasks.request(task, self._defaulturl, self.bounds)

    def _encoded(self, task: Task) -> bytes:
        body = self._encode(task)
        return body.encode("utf-8") if isinstance(body, str) else body

    def _execute(
        self,
        task: Task,
        message: Message,
        times: tasks.Schedule,
        request: tasks.Request,
    ) -> Deferred[Outcome] | Outcome:
        """
        The request, and the hooks around it.
        """
        context = copy_context()  # the hooks of one task share it

        def prepared(_: None) -> Deferred[Outcome] | Outcome:
            if task.get("filter"):
                return answered(b"")
            body, wanted, until = message.body, request, times
            if self._prehooks:
                body = self._body_for(task, message.body)
                if body is not message.body:
                    until, wanted = self._read(task, message)
                now = self._now()
                if until.expired(now):  # hooks may take time
                    return self._expired(task, until, now)
            return self._requested(message, wanted, body).addCallback(answered)

        def answered(content: bytes) -> Deferred[Outcome] | Outcome:
            if not self._posthooks:
                return _DONE
            arguments = (task, self._result(content))
            waiting = hooks.run(self._posthooks, arguments, context)
            return _DONE if waiting is None else waiting.addCallback(_done)

        waiting = hooks.run(self._prehooks, (task,), context)
        return prepared(None) if waiting is None else waiting.addCallback(prepared)

    def _body_for(self, task: Task, body: bytes) -> bytes:
        """
        What is to be sent of a task that came as C{body}: that, byte for byte, as
        it may have been signed, unless pre-hooks have changed something.
        """
        now = self._encoded(task)
        if not self._is_json:
            return now  # what other codecs write, executors get
        as_it_came = now == body or now == self._encoded(self._decoded(body))
        return body if as_it_came else now

    def _requested(
        self, message: Message, request: tasks.Request, body: bytes
    ) -> Deferred[bytes]:
        """
        Fires with the body of a success, once the last byte of it is there.
        """
        may_request = getattr(message, "may_request", None)  # as those of watches
        if may_request is not None and not may_request(request.url):
            return fail(Held(0.0))
        if self.gate is None:
            return self._made(request, body)
        made = partial(self._made, request, body)
        return gated(self.gate, request.url, self.clock.seconds, made)

    def _made(self, request: tasks.Request, body: bytes) -> Deferred[bytes]:
        method, url, headers, timeout, uuid = request
        seconds = min(timeout or self.defaultTimeout, self.maxTimeout)
        data = body if request.has_body else None
        try:
            if self._cloud_events is not None:
                headers = self._cloud_events.added(headers, uuid)
            if self._signer is not None:
                answering: Any = self._signed(self._signer, request, headers, data)
            else:
                answering = self.http.request(
                    method, url, headers=headers, data=data, allow_redirects=False
                )
            if not isinstance(answering, Deferred):  # a coroutine will do
                answering = Deferred.fromCoroutine(answering)
        except Exception:
            return fail()
        attempt = Attempt(method, url, seconds, self._deadlines, self._overruled)
        return attempt.success(answering)

    def _signed(
        self,
        signer: Signer,
        request: tasks.Request,
        headers: dict[str, str],
        data: bytes | None,
    ) -> Any:
        """
        Make a request that is signed as late as the HTTP client lets us.
        """
        http, method, url = self.http, request.method, request.url
        sign = partial(signer.headers, request.uuid, data or b"")
        headers = signer.unsigned(headers)
        if isinstance(http, SigningHTTPClient):
            return http.request_signed(
                method, url, headers=headers, data=data, sign=sign
            )
        headers |= sign()
        return http.request(
            method, url, headers=headers, data=data, allow_redirects=False
        )

    def _result(self, content: bytes) -> Any:
        if not content:
            return None
        try:
            return self._decode(content)
        except Exception:
            return content.decode("utf-8", "replace")

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

    @property
    def http(self) -> HTTPClient:
        """
        What makes the requests.
        """
        if self._http is None:
            from quebert.http import Dispatcher

            self._http = Dispatcher.with_reactor(self.reactor, self._guard)
        return self._http


def _positive(name: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise ConfigError(f"{name}={value!r:.40} must be a whole number from 1")


def _done(_: object) -> Outcome:
    return _DONE


def _sent_at(message: Message) -> float | None:
    try:
        sent_at = message.properties.get("timestamp")
    except ValueError:
        return None
    return sent_at if isinstance(sent_at, (int, float)) else None
