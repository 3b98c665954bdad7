"""
A mediator that tells what becomes of each task, in one line: for C{quebert dev}.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from quebert import task as tasks
from quebert._text import shown_url
from quebert.boundaries import HTTPClient, Message
from quebert.cli._running import one_line
from quebert.errors import BadStatus, BadTask
from quebert.mediator import DelayOnErrorMediator
from quebert.outcome import Bury, Discard, Done, Outcome, Retry
from quebert.task import Task

__all__ = ["Tell", "TellingMediator"]

#: Called with a word, and with a line about it.
Tell = Callable[[str, str], object]

#: Bytes of an answer that are told.
_TEXT_LIMIT = 200
_URL_WIDTH = 16


@attrs.define
class _Answer:
    """
    What a request was answered with, as far as it was; it is filled in.

    @ivar began: seconds on some clock.
    """

    began: float
    status: int | None = None


@attrs.frozen
class _Failed(Retry):
    """
    A task that is tried again since it has failed.

    @ivar why: it has.
    @ivar text: how the body of the answer begins.
    """

    why: str = ""
    text: str = ""


# The answer to whatever is requested in this context.
_current: ContextVar[_Answer] = ContextVar("_current")


class _Noting:
    """
    An HTTP client that notes the answers.
    """

    def __init__(self, http: HTTPClient) -> None:
        self._http = http

    def request(self, method: str, url: str, **options: Any) -> Deferred[Any]:
        """
        Make the request.
        """
        answer = _current.get()
        return self._http.request(method, url, **options).addCallback(_note, answer)


def _note(response: Any, answer: _Answer) -> Any:
    answer.status = response.code
    return response


class TellingMediator(DelayOnErrorMediator):
    """
    Tells of each task that it is done, tried again (C{retry}), C{waiting} for
    its time, discarded, or buried.

    @param tell: called with that word and the rest of the line.
    @param http: makes the requests.
    @param dead: the queue that buried tasks go to.
    @param options: as for L{DelayOnErrorMediator}.
    """

    # tell() says it all.
    log = Logger(observer=lambda event: None)  # type: ignore[arg-type]

    def __init__(self, tell: Tell, http: HTTPClient, dead: str, **options: Any) -> None:
        super().__init__(http=_Noting(http), bury=True, **options)
        self._tell = tell
        self._dead = dead

    def messageReceived(self, message: Message) -> Deferred[Outcome]:
        """
        Execute the task in C{message}, and tell of it.
        """
        answer = _Answer(self.clock.seconds())
        context = copy_context()
        context.run(_current.set, answer)
        outcome = context.run(super().messageReceived, message)
        return outcome.addCallback(self._told, message, answer)

    def failed(self, task: Task, failure: Failure) -> Outcome:
        """
        Put the task back, with why for those who read along.
        """
        retry = super().failed(task, failure)
        if not isinstance(retry, Retry):
            return retry
        error, told = failure.value, attrs.asdict(retry, recurse=False)
        body = error.body if isinstance(error, BadStatus) else b""
        text = body[:_TEXT_LIMIT].decode("utf-8", "replace").strip()
        return _Failed(
            **told, why=self._failures.described(task, failure).why, text=text
        )

    def _told(self, outcome: Outcome, message: Message, answer: _Answer) -> Outcome:
        url, attempt = _read(message.body)
        word, what = self._line(outcome, answer, attempt)
        self._tell(word, f"{one_line(url):{_URL_WIDTH}}  {one_line(what)}")
        # What is discarded has been told of: the watcher need not log it.
        return Done() if isinstance(outcome, Discard) else outcome

    def _line(self, outcome: Outcome, answer: _Answer, attempt: int) -> tuple[str, str]:
        took = f"{(self.clock.seconds() - answer.began) * 1000:.0f} ms"
        if isinstance(outcome, Discard):
            return "discarded", outcome.reason
        if isinstance(outcome, Bury):
            return "buried", f"now in queue {self._dead}: {outcome.reason}"
        if isinstance(outcome, Done):
            return "done", f"attempt {attempt}: {answer.status or 'no request'}, {took}"
        again = f"again in {outcome.after:.3g} s"
        if not isinstance(outcome, _Failed):
            return "waiting", f"until {_clock_time(self._now() + outcome.after)}"
        if answer.status is None:
            return "retry", f"attempt {attempt}: {outcome.why} ({took}), {again}"
        text = f": {outcome.text}" if outcome.text else ""
        return "retry", f"attempt {attempt}: {answer.status}, {took}, {again}{text}"


def _read(body: bytes) -> tuple[str, int]:
    """
    The URL in a message, and which attempt at it this is.
    """
    try:
        task = tasks.decode(body)
        url, failures = task.get("url"), task.get("failures")
    except (BadTask, AttributeError):
        return "?", 1
    known = isinstance(failures, int) and failures > 0
    shown = shown_url(url) if isinstance(url, str) else "?"
    return shown, 1 + failures if known else 1


def _clock_time(when: float) -> str:
    moment = time.localtime(when)
    today = moment[:3] == time.localtime()[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", moment)
