"""
The Protocols between the centre and the edges, and the types of hooks.

The mediator is written against these alone, so that it knows neither AMQP nor
HTTP; users can provide their own, and tests provide doubles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Protocol, Union, runtime_checkable

from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers

from quebert.limits import WhenFree
from quebert.outcome import Outcome
from quebert.policy import FailedAnswer, History, RetryPolicy
from quebert.task import Task
from quebert.task_callbacks import CallbackTask
from quebert.task_events import EndedTask

__all__ = [
    "CancelMark",
    "FailedTask",
    "FailurePolicy",
    "HTTPClient",
    "Message",
    "PostHook",
    "PreHook",
    "Publisher",
    "Response",
    "SigningHTTPClient",
    "TimedMessage",
    "WatchedMessage",
    "WholeResponse",
]

#: Called before the request; a Deferred or coroutine it returns is waited for.
PreHook = Callable[[Task], object]

#: Called with the result after a success; likewise waited for.
PostHook = Callable[[Task, Any], object]


class Message(Protocol):
    """
    One delivery of a message, as a callback of C{watch} gets it.
    """

    @property
    def body(self) -> bytes:
        """
        The body, always bytes.
        """

    @property
    def properties(self) -> Mapping[str, Any]:
        """
        The basic properties under their AMQP names (C{"content-type"},
        C{"delivery-mode"}, ...); C{"headers"} is always a dict.
        """


class CancelMark(Protocol):
    """
    Somebody has cancelled a task.
    """

    @property
    def reason(self) -> str:
        """
        Why it is not attempted, in a sentence.
        """

    def covers(self, message: Message) -> bool:
        """
        Whether a message with the uuid has the task, and not a later one that was given
        the same uuid.
        """


class WatchedMessage(Message, Protocol):
    """
    A L{Message} whose watch wants to know what is requested for it, as those of
    L{quebert.amqp} do.  A class that has less than all of this may be given to a
    mediator, too, which then goes by the defaults that stand here.

    @ivar may_have_past: whether it may have been put back, or delivered before.  If
        not, nothing was tried, and its properties need not be decoded to know it.
    @ivar cancelled_tasks: the tasks of its queue that somebody has cancelled, by their
        uuids.  More may come at any time.
    @ivar runs_now: whether somebody wants its task to run although its time has not
        come.
    @ivar tells_end: whether its watch tells somebody how its task ends.  A mediator
        says so, too, where it notes a C{callback_task}.
    @ivar last_attempt: the last attempt at its task, which a mediator notes here where
        C{tells_end} is true.
    @ivar callback_task: what its task asks to be told its end by, which a mediator
        notes here.
    """

    may_have_past: bool = True
    tells_end: bool = False
    last_attempt: EndedTask | None = None
    callback_task: CallbackTask | None = None
    cancelled_tasks: Mapping[str, CancelMark] = MappingProxyType({})
    runs_now: bool = False

    def may_request(self, url: str) -> bool:
        """
        Called before C{url} is requested: whether that may be done now.  If not, the
        outcome is a C{Retry} that is no attempt.
        """
        return True

    def was_refused(
        self,
        seconds: float,
        when_free: WhenFree | None = None,
    ) -> None:
        """
        Called when a request may not be made, although L{may_request} let it pass: its
        origin takes none now.  The outcome is a C{Retry} that is no attempt.

        @param seconds: in which it may take one.
        @param when_free: has a function called once, as soon as it takes one; see
            L{FreeingAdmission.when_free
            <quebert.limits.FreeingAdmission.when_free>}.
        """
        return

    def was_unanswered(self) -> None:
        """
        Called when a task has failed and no answer came, or no request was made.
        """
        return


class TimedMessage(Protocol):
    """
    A L{Message} that knows its times, as those of L{quebert.amqp} do.  Of a class that
    has less than all of this, a mediator reads the properties.
    """

    @property
    def sent_at(self) -> float | None:
        """
        When it was sent, as its property C{timestamp} tells, in seconds since the
        epoch; C{None} where it does not.
        """

    @property
    def due_at(self) -> float | None:
        """
        Until when it has waited in the broker, in seconds since the epoch; C{None}
        where it has not, or where nothing tells.
        """


class Publisher(Protocol):
    """
    What can put a message into the broker.
    """

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Mapping[str, Any],
    ) -> Deferred[None]:
        """
        Publish; the Deferred fires once the broker has confirmed it.
        """


class Response(Protocol):
    """
    The part of treq's response that a mediator uses.  A L{FailurePolicy} may read its
    C{headers}, too, if it has any.
    """

    @property
    def code(self) -> int:
        """
        The HTTP status.
        """

    def content(self) -> Deferred[bytes]:
        """
        The body, once all of it is there; fails when it is cut short.
        """


class WholeResponse(Response, Protocol):
    """
    A L{Response} that is read without a Deferred and without decoding its head, as
    those of L{quebert.http} are.  A client may give responses that have less than all
    of this: then a mediator goes by the defaults that stand here.
    """

    @property
    def whole(self) -> bytes | None:
        """
        What C{content()} would fire with, if it would do so at once.
        """
        return None

    @property
    def headers(self) -> Headers:
        """
        The header fields.
        """
        return Headers()

    def may_have(self, name: bytes) -> bool:
        """
        Whether there may be a header field of this name, in lower case.
        """
        return True


class HTTPClient(Protocol):
    """
    The part of C{treq.client.HTTPClient} that a mediator uses; C{treq}'s own
    clients, C{StubTreq} among them, fit.
    """

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Any = ...,
        data: Union[bytes, None] = ...,
        allow_redirects: bool = ...,
    ) -> Deferred[Any]:
        """
        Make the request; the Deferred fires with a L{Response} once its
        headers are there.
        """


@runtime_checkable
class SigningHTTPClient(Protocol):
    """
    An L{HTTPClient} that has a request signed when it writes the request.  The request
    may have waited for a connection, and the time in a signature must not be old.
    A mediator makes all its requests by L{make_request} then, signed or not, and none
    by C{request}.
    """

    def make_request(
        self,
        method: str,
        url: str,
        fields: Iterable[tuple[str, str]],
        body: Union[bytes, None],
        sign: Union[Callable[[], Mapping[str, str]], None] = None,
    ) -> Deferred[Any]:
        """
        Make the request, without following redirects.

        @param fields: of its header; no name is there twice.
        @param sign: gives further fields; called once, as the request is written.
        @return: as of L{HTTPClient.request}.
        """


class FailedTask(Protocol):
    """
    What a L{FailurePolicy} gets to know of an attempt that failed.  It does not tell
    the whole URL that was requested, nor its host: the URL in C{task} may be partial.
    """

    @property
    def task(self) -> Task:
        """
        The task, with the changes of pre-hooks.
        """

    @property
    def history(self) -> History:
        """
        The attempts at the task, with this one.
        """

    @property
    def error(self) -> BaseException | None:
        """
        The exception; L{BadStatus<quebert.errors.BadStatus>} where there was an answer.
        """

    @property
    def answer(self) -> FailedAnswer | None:
        """
        The status and the first bytes of the answer, if there was one.
        """

    @property
    def message(self) -> WatchedMessage | None:
        """
        The message of the task; C{None} where somebody else than the mediator has the
        policy decide.
        """

    def header(self, name: bytes) -> list[str]:
        """
        The values of a header field of the answer, as they came; none where there was
        no answer.

        @param name: in lower case.
        """

    @property
    def name(self) -> str:
        """
        What to call the task.
        """

    @property
    def why(self) -> str:
        """
        What went wrong, on one line, without the secrets of the request.
        """

    @property
    def traceback(self) -> str:
        """
        The traceback of the exception, without the secrets of the request.
        """

    def without_secrets(self, text: str) -> str:
        """
        A text of an executor or a hook, without the secrets of the request.
        """

    def encoded(self) -> bytes | None:
        """
        The task as it is now, as the body of a message; C{None} where that is larger
        than a body may be.

        @raise BadTask: it could not be requested, or cannot be encoded; the text has no
            secrets of the request.
        """


@runtime_checkable
class FailurePolicy(Protocol):
    """
    Decides what becomes of the tasks of a L{Mediator<quebert.mediator.Mediator>} that
    fail.  A class of one's own derives from this one, and needs C{outcome} alone: the
    defaults of all else stand here.

    @ivar needs_whole_task: whether C{outcome} may read any field of a task.  If not, a
        large task may have but the fields that mediators read.
    @ivar attempt_header: the request header that tells the number of the attempt, from
        1; C{None} for none.
    @ivar lease_url: called with each message and the number of the attempt, from 1;
        gives the URL by which the executor may lease the task.  C{None} for no leases.
    @ivar limits_for: called with each task; gives the limits by which a task is given
        up before another attempt, and raises L{BadTask<quebert.errors.BadTask>} if the
        task asks for what is wrong.  C{None} where there are no limits.
    @ivar overrules: called with each 2xx answer; tells whether the answer says itself
        that it is no success.  C{None} where each is a success.
    """

    needs_whole_task: bool = True
    attempt_header: str | None = None
    lease_url: Callable[[WatchedMessage, int], str] | None = None
    limits_for: Callable[[Task], RetryPolicy] | None = None
    overrules: Callable[[Any], bool] | None = None

    def outcome(self, failed: FailedTask, now: float) -> Outcome:
        """
        Decide what becomes of a task; to be overridden.

        @param now: seconds since the epoch.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method outcome()")

    def is_told(self, attempts: int) -> bool:
        """
        Whether the log tells that a task is tried again after so many attempts.
        """
        return True
