"""
Doubles for the tests of mediators, and what those tests share.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from quebert.mediator import DelayOnErrorMediator, Mediator
from quebert.outcome import Discard, Outcome, Retry
from quebert.policy import ATTEMPTS, History
from quebert.task import LARGE, Task

NOW = 1_800_000_000.0
URL = "http://executor.example/run"
_NONE: Mapping[str, str] = {}


@attrs.frozen
class FakeMessage:
    """
    A delivery: a body and its properties.
    """

    body: bytes
    properties: Mapping[str, Any] = attrs.field(factory=dict)


class UnreadableMessage:
    """
    A delivery whose properties cannot be decoded.
    """

    def __init__(self, body: bytes) -> None:
        self.body = body

    @property
    def properties(self) -> Mapping[str, Any]:
        """
        What an AMQP message does with a value of an unknown type.
        """
        raise ValueError("a value of the unknown type b'?'")


class FakeResponse:
    """
    A response whose body the test delivers.
    """

    def __init__(self, code: int, fields: Mapping[str, str] = _NONE) -> None:
        self.code = code
        self.headers = Headers({name: [value] for name, value in fields.items()})
        self.cancelled = False
        self.body: Deferred[bytes] = Deferred(self._cancel)

    def _cancel(self, body: Deferred[bytes]) -> None:
        self.cancelled = True

    def content(self) -> Deferred[bytes]:
        """
        Fires when the test says so.
        """
        return self.body


@attrs.define(eq=False)
class FakeRequest:
    """
    A request that was made, and that the test answers.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    data: bytes | None
    allow_redirects: bool
    cancelled: bool = False
    answered: Deferred[Any] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.answered = Deferred(self._cancel)

    def _cancel(self, answered: Deferred[Any]) -> None:
        self.cancelled = True

    def begin(self, code: int = 200, fields: Mapping[str, str] = _NONE) -> FakeResponse:
        """
        Send the headers alone.
        """
        response = FakeResponse(code, fields)
        self.answered.callback(response)
        return response

    def answer(
        self, code: int = 200, body: bytes = b"", fields: Mapping[str, str] = _NONE
    ) -> None:
        """
        Send the whole response.
        """
        self.begin(code, fields).body.callback(body)


class FakeHTTP:
    """
    An HTTP client that records requests.

    @param code: answers all of them at once, unless it is C{None}.
    """

    def __init__(
        self,
        code: int | None = None,
        body: bytes = b"",
        fields: Mapping[str, str] = _NONE,
    ) -> None:
        self.requests: list[FakeRequest] = []
        self._code = code
        self._body = body
        self._fields = fields

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Any = None,
        data: bytes | None = None,
        allow_redirects: bool = True,
    ) -> Deferred[Any]:
        """
        Record a request.
        """
        request = FakeRequest(method, url, headers, data, allow_redirects)
        self.requests.append(request)
        if self._code is not None:
            request.answer(self._code, self._body, self._fields)
        return request.answered


class Noting(Mediator):
    """
    A mediator that notes why tasks failed.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.failures: list[Failure] = []

    def failed(self, task: Task, failure: Failure) -> Outcome:
        """
        Note the failure.
        """
        self.failures.append(failure)
        return super().failed(task, failure)


class Outlaw(BaseException):
    """
    What C{except Exception} does not catch.
    """


class Unspeakable(Exception):
    """
    What cannot be made into text.
    """

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


def body_of(**fields: Any) -> bytes:
    """
    The body of a task that wants L{URL} unless it says otherwise.
    """
    return json.dumps({"url": URL, **fields}).encode()


def appending(
    calls: list[Any], value: object, result: object = None
) -> Callable[..., object]:
    """
    A hook that notes that it was called, and returns C{result}.
    """

    def hook(*args: object) -> object:
        calls.append(value)
        return result

    return hook


def noting_results(results: list[Any]) -> Callable[[Task, Any], None]:
    """
    A post-hook that notes the results.
    """
    return lambda task, result: results.append(result)


def returning(value: Any) -> Callable[..., Any]:
    """
    A hook, or a plug-in, that returns C{value}.
    """
    return lambda *args: value


def raising(error: type[Exception], *args: object) -> Callable[..., Any]:
    """
    A hook, or a plug-in, that raises C{error}.
    """

    def hook(*ignored: object) -> Any:
        raise error(*args)

    return hook


def first_retry(outcome: object) -> Retry:
    """
    How a task was put back after its first attempt, without the headers that tell of
    the attempt, which must be there.
    """
    assert isinstance(outcome, Retry), outcome
    headers = dict(outcome.headers)
    assert headers.pop(ATTEMPTS) == 1
    for name in History().headers:
        headers.pop(name, None)
    return attrs.evolve(outcome, headers=headers)


def message(**fields: Any) -> FakeMessage:
    """
    A message with a task.
    """
    return FakeMessage(body_of(**fields))


class Case(SynchronousTestCase):
    """
    What the tests share: a clock, and an HTTP client that succeeds at once.
    """

    def setUp(self) -> None:
        """
        Stop the time.
        """
        self.clock = Clock()
        self.http = FakeHTTP(200)

    def mediator(self, **options: Any) -> Noting:
        """
        A plain mediator.
        """
        settings = {"http": self.http, "clock": self.clock, "now": returning(NOW)}
        return Noting(**{**settings, **options})

    def backing_off(self, **options: Any) -> DelayOnErrorMediator:
        """
        A mediator that backs off.
        """
        settings = {"http": self.http, "clock": self.clock, "now": returning(NOW)}
        return DelayOnErrorMediator(**{**settings, **options})

    def outcome(self, mediator: Mediator, received: Any) -> Outcome:
        """
        What became of a message, which must be known at once, or, if it is large, when
        it has been read in steps.
        """
        answer = mediator.messageReceived(received)
        self.read(received.body)
        outcome: Outcome = self.successResultOf(answer)
        return outcome

    def read(self, body: bytes) -> None:
        """
        Let all turns pass that it takes to read a large body.
        """
        if len(body) > LARGE:
            self.clock.advance(0)

    def put_back(self, mediator: Mediator, received: Any) -> Retry:
        """
        How a message was put back, which it must have been.
        """
        outcome = self.outcome(mediator, received)
        assert isinstance(outcome, Retry), outcome
        return outcome

    def discarded(self, mediator: Mediator, received: Any) -> str:
        """
        Why a message was discarded, which it must have been.
        """
        outcome = self.outcome(mediator, received)
        assert isinstance(outcome, Discard), outcome
        return outcome.reason

    def events(self) -> Sequence[LogEvent]:
        """
        What is logged from now on.
        """
        events = EventLoggingObserver()
        globalLogPublisher.addObserver(events)
        self.addCleanup(globalLogPublisher.removeObserver, events)
        return events
