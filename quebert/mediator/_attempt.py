"""
One HTTP request and its whole answer, within its time.

Written with bare callbacks, since every task has one of these: as a coroutine
it would cost 5 µs more.  It decides by the status of the answer, and by C{overruled},
which may look at the headers.  Of the task it knows nothing but the record that gets
the status.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from quebert._deadlines import Deadlines
from quebert._secrets import LONGEST
from quebert._text import shown_url
from quebert.boundaries import Response
from quebert.errors import BadStatus, IncompleteAnswer, RequestTimedOut
from quebert.mediator._adapters import RESPONSES
from quebert.mediator._admission import Admitted
from quebert.task_events import EndedTask

__all__ = ["Attempt"]

Error = TypeVar("Error", bound=BaseException)

# Bytes of the body of a failure that are kept: more than are kept in the end, so that a
# secret is found that begins among them.
_BODY_LIMIT = 2_048 + LONGEST


class Attempt:
    """
    A request, until the last byte of the answer to it.

    @param answering: fires with the L{Response}; it is the attempt's from now on.
    @param method: of the request, for what is said of a failure; C{url}
        likewise.
    @param seconds: how long all of it may take.
    @param deadlines: keep that time; they call L{late}.
    @param overruled: asked of each 2xx whether it says itself that it is no
        success.
    @param observed: gets the status of the answer, once it is there; C{None} for none.
    @param admitted: is told how the request ends; C{None} for nobody.
    @param result: what C{success} fires with in place of the body; C{None} for the
        body.
    @ivar success: C{answering}, which fires with the body of a 2xx now.  Fails with
        L{BadStatus<quebert.errors.BadStatus>}, also where the body of such an answer is
        cut short, with L{RequestTimedOut<quebert.errors.RequestTimedOut>}, or however
        the request does.  Cancelling it cancels what is waited for.
    """

    __slots__ = (
        "_admitted",
        "_code",
        "_deadlines",
        "_is_late",
        "_is_success",
        "_observed",
        "_overruled",
        "_response",
        "_result",
        "_seconds",
        "_what",
        "success",
    )

    def __init__(
        self,
        answering: Deferred[Any],
        method: str,
        url: str,
        seconds: float,
        deadlines: Deadlines[Attempt],
        overruled: Callable[[Any], bool] | None = None,
        observed: EndedTask | None = None,
        admitted: Admitted | None = None,
        result: object = None,
    ) -> None:
        self._what = (method, url)
        self._seconds = seconds
        self._deadlines = deadlines
        self._overruled = overruled
        self._observed = observed
        self._admitted = admitted
        self._result = result
        self._code = 0
        self._is_late = False
        self._is_success = False
        self.success: Deferred[Any] = answering
        deadlines.begin(self, seconds)
        answering.addCallbacks(self._head_came, self._failed)

    def late(self) -> None:
        """
        It takes too long: give up.
        """
        self._is_late = True
        self.success.cancel()

    def _head_came(self, response: Response) -> Any:
        if self._is_late:
            raise self._failed_with(self._too_late())
        self._response = response
        try:
            self._code = code = response.code
            self._is_success = 200 <= code < 300 and (
                self._overruled is None or not self._overruled(response)
            )
            if self._observed is not None:
                self._observed.status = code
            given: Any = response
            fits = type(given) in RESPONSES.fitting
            # Our own have it all at hand, nearly always; treq's have not.
            whole = given.whole if fits else RESPONSES.adapt(given).whole
            if whole is None:
                content = response.content()
                return content.addCallbacks(self._body_came, self._body_failed)
        except BaseException as e:
            self._failed_with(e)
            raise
        return self._body_came(whole)

    def _body_came(self, body: bytes) -> Any:
        if not self._is_success:
            raise self._failed_with(self._bad_status(body))
        self._deadlines.end(self)
        if self._admitted is not None:
            self._admitted.ended(None)
        return body if self._result is None else self._result

    def _body_failed(self, failure: Failure) -> Failure:
        error: Any = failure.value
        why = self._too_late() if self._is_late else error
        if self._is_success or isinstance(why, CancelledError):
            return self._failed(failure)
        # The head is there whole, and tells what is to become of the task.
        begun = error.body if isinstance(error, IncompleteAnswer) else b""
        raise self._failed_with(self._bad_status(begun, f"; {why}"))

    def _bad_status(self, body: bytes, more: str = "") -> BadStatus:
        method, url = self._what
        text = f"{method} {shown_url(url)} was answered {self._code}{more}"
        return BadStatus(self._code, text, self._response, body[:_BODY_LIMIT])

    def _failed(self, failure: Failure) -> Failure:
        if self._is_late:
            return Failure(self._failed_with(self._too_late()))
        error: Any = failure.value
        self._failed_with(error)
        return failure

    def _too_late(self) -> RequestTimedOut:
        return RequestTimedOut(f"no complete answer within {self._seconds:g} s")

    def _failed_with(self, error: Error) -> Error:
        """
        The attempt has failed.

        @return: C{error}.
        """
        self._deadlines.end(self)
        if self._admitted is not None:
            self._admitted.ended(error)
        return error
