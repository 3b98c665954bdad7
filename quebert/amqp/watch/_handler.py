"""
From a message to an outcome, by way of the user's callback.

Whatever the callback does, there is an outcome.  If it fails, its message is put back,
and comes again, each time after a longer wait; a header counts the failures.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import MethodType
from typing import Any, Union

from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred
from twisted.python.failure import Failure

from quebert._log import Logger
from quebert.amqp.delays import due_in
from quebert.amqp.watch._delivered_message import DeliveredMessage
from quebert.amqp.wire import ERRORS
from quebert.outcome import Bury, Discard, Done, Outcome, Retry
from quebert.policy import exponential

__all__ = ["Callback", "Handler", "owner_of"]

CallbackResult = Union[None, bytes, str, Outcome]
#: What a watch calls with each message.
Callback = Callable[
    [DeliveredMessage], Union[CallbackResult, Awaitable[CallbackResult]]
]
Decided = Callable[[DeliveredMessage, Union[Outcome, None]], None]

#: The longest wait, in seconds, of a message whose callback fails.
ERROR_LIMIT = 120.0
# What is counted no further: anybody can write headers.
_MOST_ERRORS = 1e6

_DONE = Done()


def owner_of(callback: Callable[..., object]) -> object:
    """
    The object whose method a callback is, such as a mediator; C{None} where it is no
    method.
    """
    return callback.__self__ if isinstance(callback, MethodType) else None


class Handler:
    """
    Calls a callback.

    @param error_delay: seconds until a message comes again whose callback has
        failed once; 0 for at once, however often.
    @param now: the time of day, in seconds since the epoch.
    @param clock_set: by how many seconds it was set.
    @ivar at_work: the messages that are with the callback now, and their answers.
    """

    log = Logger()

    def __init__(
        self,
        callback: Callback,
        error_delay: float,
        now: Callable[[], float],
        clock_set: Callable[[], float],
    ) -> None:
        self.at_work: dict[DeliveredMessage, Deferred[Any]] = {}
        self._given_up: set[DeliveredMessage] = set()
        self._callback = callback
        self._error_delay = error_delay
        self._now = now
        self._clock_set = clock_set

    def call(self, message: DeliveredMessage, decided: Decided) -> None:
        """
        Call the callback with a message; C{decided(message, outcome)} is called
        once it is clear what to do with it, which may be at once.  The outcome is
        C{None} if L{give_up} was called meanwhile.
        """
        # No coroutine, here and in what follows: every message comes this way.
        if message.may_have_past and not message.was_begun:
            early = self.early_by(message)
            errors = min(max(0.0, message.number_in(ERRORS)), _MOST_ERRORS)
            message.errors = int(errors)
            if early > 0:
                decided(message, Retry(after=early, attempted=False))
                return
        # It answers even where the callback ends the program: sys.exit() must
        # not leave the message hanging.
        answer: Any
        try:
            answer = self._callback(message)
        except BaseException:
            answer = fail()
        if not isinstance(answer, Deferred):
            answer = maybeDeferred(_same, answer)
        self.at_work[message] = answer
        told = (message, decided)
        answer.addCallbacks(self._answered, self._failed, told, {}, told, {})

    def requesting(self) -> list[DeliveredMessage]:
        """
        The messages whose callbacks make a request now, but for suspects, in the order
        in which these were called.
        """
        return [
            each
            for each in self.at_work
            if each.url and each.request_places is not None
        ]

    def early_by(self, message: DeliveredMessage) -> float:
        """
        In how many seconds a message is due; not more than 0 if it is due.
        """
        return due_in(message, self._now(), self._clock_set())

    def _answered(
        self, answer: CallbackResult, message: DeliveredMessage, decided: Decided
    ) -> CallbackResult:
        """
        @return: the answer itself, for where one Deferred answers for several
            messages.
        """
        try:
            outcome = answer if isinstance(answer, Done) else _as_outcome(answer)
        except Exception:  # it cannot be carried out
            self._failed(Failure(), message, decided)
        else:
            if message.errors and _was_attempted(outcome):
                message.errors = 0
            decided(message, outcome if self._end(message) else None)
        return answer

    def _failed(
        self, failure: Failure, message: DeliveredMessage, decided: Decided
    ) -> Retry:
        """
        @return: what is to be done with any other message that the same
            Deferred answers for.
        """
        is_wanted = self._end(message)
        if is_wanted or not failure.check(CancelledError):
            self.log.failure(
                "The callback of watch() failed for {message}", failure, message=message
            )
        retry = Retry(after=self._delay(message.errors))
        message.errors += 1
        decided(message, retry if is_wanted else None)
        return retry

    def _end(self, message: DeliveredMessage) -> bool:
        """
        @return: whether the outcome is wanted.
        """
        del self.at_work[message]
        is_wanted = message not in self._given_up
        self._given_up.discard(message)
        return is_wanted

    def give_up(self) -> list[DeliveredMessage]:
        """
        Nobody wants the outcomes of the messages that are with the callback now.

        @return: these messages.
        """
        self._given_up.update(self.at_work)
        return list(self.at_work)

    def cancel(self, message: DeliveredMessage) -> None:
        """
        Cancel the Deferred of the callback for a message.  A callback may have given
        the same Deferred for others, which end then, too.
        """
        answer = self.at_work.get(message)
        if answer is not None:  # else it ended with another
            answer.cancel()

    def _delay(self, errors: int) -> float:
        growth = exponential(errors, constant=2, maximum=ERROR_LIMIT)
        return min(self._error_delay * growth, max(ERROR_LIMIT, self._error_delay))


def _was_attempted(outcome: Outcome) -> bool:
    return not isinstance(outcome, Retry) or outcome.attempted


def _same(answer: object) -> object:
    return answer


def _as_outcome(answer: object) -> Outcome:
    if answer is None:
        return _DONE
    if isinstance(answer, str):
        return Retry(body=answer.encode("utf-8"))
    if isinstance(answer, bytes):
        return Retry(body=answer)
    if isinstance(answer, Retry):
        _check(answer)
    if isinstance(answer, Bury):
        _check_bury(answer)
    if isinstance(answer, (Retry, Discard, Bury)):
        return answer
    raise TypeError(
        "a callback of watch() must return None, bytes, str or an Outcome,"
        f" not {type(answer).__name__}"
    )


def _check_bury(bury: Bury) -> None:
    reason: object = bury.reason
    if not isinstance(reason, str):
        text = f"Bury(reason=...) must be a text, not {type(reason).__name__}"
        raise TypeError(text)


def _check(retry: Retry) -> None:
    body: object = retry.body
    after: object = retry.after
    if body is not None and not isinstance(body, bytes):
        raise TypeError(f"the body of a Retry must be bytes, not {type(body).__name__}")
    if not isinstance(after, (int, float)):
        raise TypeError(f"Retry(after=...) must be seconds, not {type(after).__name__}")
