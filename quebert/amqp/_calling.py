"""
From a message to an outcome, by way of the user's callback.

Whatever the callback does, there is an outcome: one that fails gets its message
again, later each time, counted in a header.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Union

from twisted.internet.defer import CancelledError, maybeDeferred
from twisted.logger import Logger

from quebert.amqp._message import ERRORS, NOT_BEFORE, Message
from quebert.outcome import Discard, Done, Outcome, Retry
from quebert.policy import exponential

__all__ = ["Callback", "Caller"]

Answer = Union[None, bytes, str, Outcome]
Callback = Callable[[Message], Union[Answer, Awaitable[Answer]]]

#: The longest wait, in seconds, of a message whose callback fails.
ERROR_LIMIT = 120.0
# What is counted no further: anybody can write headers.
_MOST_ERRORS = 1e6


class Caller:
    """
    Calls a callback.

    @param error_delay: seconds until a message comes again whose callback has
        failed once; 0 for at once, however often.
    @param now: the time, in seconds since the epoch.
    @ivar busy: the messages that are with the callback now.
    @ivar given_up: those of them whose answers nobody wants any more.
    """

    log = Logger()

    def __init__(
        self, callback: Callback, error_delay: float, now: Callable[[], float]
    ) -> None:
        self.busy: set[Message] = set()
        self.given_up: set[Message] = set()
        self._callback = callback
        self._error_delay = error_delay
        self._now = now

    async def outcome(self, message: Message) -> tuple[Outcome, int]:
        """
        What to do with a message, and how often in a row the callback failed.
        """
        early = message.number_in(NOT_BEFORE) - self._now()
        errors = int(min(max(0.0, message.number_in(ERRORS)), _MOST_ERRORS))
        if early > 0:
            return Retry(after=early), errors
        self.busy.add(message)
        try:
            answer = await maybeDeferred(self._callback, message)
            return _as_outcome(answer), 0
        except GeneratorExit:
            raise
        except BaseException as e:  # its sys.exit() must not leave it hanging
            self._tell(message, e)
        finally:
            self.busy.discard(message)
        return Retry(after=self._delay(errors)), errors + 1

    def _tell(self, message: Message, error: BaseException) -> None:
        cancelled = isinstance(error, CancelledError) and message in self.given_up
        self.given_up.discard(message)
        if not cancelled:
            self.log.failure("The callback failed with {message}", message=message)

    def _delay(self, errors: int) -> float:
        growth = exponential(errors, constant=2, maximum=ERROR_LIMIT)
        return min(self._error_delay * growth, max(ERROR_LIMIT, self._error_delay))


def _as_outcome(answer: object) -> Outcome:
    if answer is None:
        return Done()
    if isinstance(answer, str):
        return Retry(body=answer.encode("utf-8"))
    if isinstance(answer, bytes):
        return Retry(body=answer)
    if isinstance(answer, Retry):
        _check(answer)
    if isinstance(answer, (Done, Retry, Discard)):
        return answer
    raise TypeError(
        "a callback of watch() must return None, bytes, str or an Outcome,"
        f" not {type(answer).__name__}"
    )


def _check(retry: Retry) -> None:
    body: object = retry.body
    after: object = retry.after
    if body is not None and not isinstance(body, bytes):
        raise TypeError(f"the body of a Retry must be bytes, not {type(body).__name__}")
    if not isinstance(after, (int, float)):
        raise TypeError(f"Retry(after=...) is seconds, not {type(after).__name__}")
