"""
From a request to the function and back: what an executor answers.

Knows requests, and nothing of the connections they come by, nor of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from contextlib import aclosing, closing
from inspect import isasyncgen, isgenerator
from math import inf
from time import monotonic
from typing import Any

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    TimeoutError,
    maybeDeferred,
)
from twisted.internet.task import deferLater
from twisted.logger import LogLevel
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from quebert._bounds import memory_of
from quebert._log import Logger
from quebert._reactor import given_or_global
from quebert._repeated import RepeatedWarning
from quebert.errors import BadTask
from quebert.executor._answer import write
from quebert.executor._limits import ExecutorLimits
from quebert.executor._memory import Transit, Turns
from quebert.executor._tally import Tally
from quebert.functions import (
    AnsweredError,
    ExecutorAnswer,
    Function,
    ReceivedTask,
)
from quebert.functions.admission import (
    Fields,
    RequestFilter,
    SignedOnly,
    Unsigned,
    method_refusal,
)
from quebert.functions.answers import (
    Pieces,
    answer_to_error,
    answer_to_result,
    name_of,
)
from quebert.signatures import Verifier
from quebert.task import Task

__all__ = ["ExecutorResource"]

_BUSY = "the tasks at work take all the memory that they may"


class ExecutorResource(Resource):
    """
    Runs a function for each task that is POSTed, PUT or PATCHed, whatever the
    path, and answers with its result.

    A client that hangs up does not stop the function: what it has begun, it
    ends, and its result goes nowhere.  Whoever gave the task out has to expect
    that anyhow, since a connection can break after the last step as well.

    @param function: called with each task, which is a dict.
    @param limits: how much it takes.  An L{ExecutorSite<quebert.executor.ExecutorSite>}
        keeps to all of them; any other site keeps to C{body}, C{patience}, and
        C{memory} for tasks at work.
    @param verifier: lets only signed requests in.  Without one, whatever a web page
        could have sent is refused.
    @param hosts: without a C{verifier}, names that requests may have as their host; an
        address, a name without a dot and C{localhost} they may have anyway, and with
        C{"*"} any.
    @param reactor: keeps the time; the global one by default.
    @raise ConfigError: one of C{hosts} is no name.
    @ivar transit: what is on its way, of all requests.
    @ivar draining: set to answer new requests with 503; running calls go on.
    """

    log = Logger()
    isLeaf = True

    def __init__(
        self,
        function: Function,
        *,
        limits: ExecutorLimits | None = None,
        verifier: Verifier | None = None,
        hosts: Iterable[str] = (),
        reactor: Any = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._admission: RequestFilter = Unsigned(hosts)
        if verifier is not None:
            self._admission = SignedOnly(verifier)
        self._refused = RepeatedWarning(
            self.log,
            lambda: given_or_global(reactor),
            "A request was refused",
            "Requests are let in again",
        )
        self.draining = False
        self.limits = ExecutorLimits() if limits is None else limits
        self.transit: Transit[Any] = Transit(self.limits.memory)
        self._function = function
        self._reactor = reactor
        self._calls = Tally()
        self._turns = Turns(self.limits.memory, self._call_later)

    @property
    def active(self) -> int:
        """
        How many calls of the function are running, or about to.
        """
        return self._calls.count

    def _call_later(self, seconds: float, call: Callable[[], object]) -> None:
        given_or_global(self._reactor).callLater(seconds, call)

    def drained(self) -> Deferred[None]:
        """
        Fires once no call is running; may be cancelled.
        """
        return self._calls.none()

    def render(self, request: Request) -> int:
        """
        Answer any request.
        """
        content: Any = request.content
        # An executor's own site has seen to the limit; any other has not.
        body = content.read(self.limits.body + 1)
        content.close()  # the request stays until its function has ended
        refusal = self._refusal(request, body)
        if refusal is not None:
            self._finish(request, refusal)
        else:
            left = request.notifyFinish()
            fields = _fields(request)
            work = self._work(body, fields, left)  # alone has the body
            Deferred.fromCoroutine(self._execute(request, left, work))
        return NOT_DONE_YET

    def _refusal(self, request: Request, body: bytes) -> ExecutorAnswer | None:
        if self.draining:
            sentence = "the executor is closing down and takes no new tasks"
            return ExecutorAnswer.unavailable(sentence)
        wrong = method_refusal(request.method.decode("ascii", "replace"))
        if wrong is not None:
            return wrong
        if len(body) > self.limits.body:
            return ExecutorAnswer.too_large(self.limits.body)
        refusal = self._admission.refusal(_fields(request), body)
        if refusal is None:
            self._refused.succeeded()
        else:
            self.log_refused(refusal.sentence)
        return refusal

    def log_refused(self, why: str) -> None:
        """
        Log that a request was refused, unless the same was logged not long ago.
        """
        self._refused.met(why)

    def forget_refused(self) -> None:
        """
        Log no more of the requests that were refused.
        """
        self._refused.end()

    async def _execute(
        self,
        request: Request,
        left: Deferred[None],
        work: Coroutine[Any, Any, tuple[str, ExecutorAnswer]],
    ) -> None:
        gone: list[Failure] = []
        left.addErrback(gone.append)
        self._calls.add()
        try:
            name, answer = await work
            if not gone:
                self._finish(request, answer)
            elif name:
                self.log.info("Nobody waits for task {name} now.", name=name)
        finally:
            self._calls.remove()

    async def _work(
        self, body: bytes, fields: Fields, left: Deferred[None]
    ) -> tuple[str, ExecutorAnswer]:
        """
        The name of the task, if it was begun, and the answer.
        """
        size, began = memory_of(body), monotonic()
        if not await self._begin(size, len(body), left):
            self.log_refused(_BUSY)
            return "", ExecutorAnswer.unavailable(_BUSY)
        try:
            task = ReceivedTask.decode(body, fields, began=began)
            body = b""
            return await self._answer(task)
        except BadTask as e:
            return "", ExecutorAnswer.text(http.BAD_REQUEST, str(e))
        finally:
            self._turns.end(size)

    async def _begin(self, size: int, length: int, left: Deferred[None]) -> bool:
        """
        Wait until the task may be decoded; gives whether that is so.
        """
        begun = self._turns.begin(size)
        if begun.called:
            return True
        self.transit.hold(begun, length, inf)
        left.addBoth(lambda _: begun.cancel())
        if self.transit.is_too_much:
            begun.cancel()
        clock = given_or_global(self._reactor)
        try:
            await begun.addTimeout(self.limits.patience, clock)
        except (CancelledError, TimeoutError):
            return False
        finally:
            self.transit.release(begun)
        return True

    async def _answer(self, task: Task) -> tuple[str, ExecutorAnswer]:
        name = name_of(task)  # the function may change it
        try:
            result = await self._joined(await maybeDeferred(self._function, task))
        except GeneratorExit:  # what is awaited can no more come
            raise
        except AnsweredError as e:
            self.log.info("Task {name}: {status}: {why}", **_told(name, e))
            return name, e.answer
        except BaseException as e:  # the function's exit() is not the server's
            self.log.failure(
                "Task {name} failed.", Failure(), LogLevel.error, name=name
            )
            return name, answer_to_error(e)
        answer = answer_to_result(result)
        if isinstance(result, AnsweredError):
            self.log.info("Task {name}: {status}: {why}", **_told(name, result))
        elif answer.status >= http.INTERNAL_SERVER_ERROR:
            self.log.error("Task {name}: {why}", name=name, why=answer.sentence)
        return name, answer

    async def _joined(self, result: Any) -> Any:
        """
        What a generator yields, joined; other events have their turn after each piece.
        """
        if isasyncgen(result):
            pieces = Pieces()
            async with aclosing(result):
                async for piece in result:
                    pieces.add(piece)
            return pieces.result()
        if not isgenerator(result):
            return result
        pieces = Pieces()
        with closing(result):
            while True:
                try:
                    pieces.add(next(result))
                except StopIteration as e:
                    return pieces.result(e.value)
                await deferLater(given_or_global(self._reactor), 0)

    def _finish(self, request: Request, answer: ExecutorAnswer) -> None:
        write(answer, request, last=self.draining)
        request.finish()


def _fields(request: Request) -> Fields:
    return [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, values in request.requestHeaders.getAllRawHeaders()
        for value in values
    ]


def _told(name: str, error: AnsweredError) -> dict[str, Any]:
    return {"name": name, "status": error.answer.status, "why": str(error)}
