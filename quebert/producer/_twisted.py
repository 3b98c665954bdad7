"""
Adding tasks from Twisted, through a publisher that is there already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from quebert import task as tasks
from quebert.producer._add_many import Items, WindowOfTasks
from quebert.producer._intercept import taken
from quebert.producer._items import WINDOW, OnResult
from quebert.producer._letter import EXCHANGE, MEDIUM, Letter, letter, new_letter
from quebert.producer._sending import OutgoingLetter

if TYPE_CHECKING:
    from quebert.boundaries import Publisher

__all__ = ["Producer"]

T = TypeVar("T")


class Producer:
    """
    Adds tasks through a L{TxAMQPClient<quebert.amqp.TxAMQPClient>}.  The word is
    AMQP's, not Twisted's C{IProducer}.

    @param publisher: the client, or anything else that can publish.
    @param exchange: where tasks are published to.
    @param routing_key: with which key they are; by default C{kind} and C{priority} of a
        task say it.
    """

    def __init__(
        self,
        publisher: Publisher,
        exchange: str = EXCHANGE,
        *,
        routing_key: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._publisher = publisher
        self._exchange = exchange
        self._routing_key = routing_key
        self._now = now

    def add_task(
        self,
        url: str,
        params: Any = None,
        *,
        kind: str = "tasks",
        priority: str = MEDIUM,
        ttl: float = 0,
        run_at: datetime | str | float | None = None,
        delay: float | None = None,
        timeout: float | None = None,
        uuid: str | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
        payload: bytes | None = None,
        retry: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
        callback_url: str | None = None,
        max_url_length: int = tasks.BOUNDS.url,
        max_body: int = tasks.BOUNDS.body,
        **fields: Any,
    ) -> Deferred[str]:
        """
        Add a task: a request of C{url}, whole or partial, which gets the task
        as JSON.

        @param params: anything JSON can hold.
        @param kind: with C{priority} the routing key, C{kind.priority}.
        @param ttl: seconds after which it is not worth doing; 0 for never.
        @param run_at: when to do it, not before: a datetime or an ISO 8601
            text, UTC unless it says otherwise, or seconds since the epoch.
        @param delay: the same in seconds from now.
        @param timeout: seconds an execution may take.
        @param headers: of the request.
        @param payload: the body of the request, in place of the task as JSON.
        @param retry: how this task is retried, where its mediator has a policy: any of
            C{max_attempts}, C{max_retry_duration}, C{min_backoff}, C{max_backoff},
            C{max_doublings} and C{jitter}.
        @param extra: fields of your own, which the executor gets to see.
        @param callback_url: requested, by a task of its own, when the task has ended.
        @param max_url_length: characters that each URL may have at most; a mediator has
            the same limit.
        @param max_body: bytes that the message may have at most; a mediator has the
            same limit.
        @param fields: the fields C{timestamp}, C{filter}, C{failures} and
            C{traceback} of the task, as the original's C{add_task} took them.
        @raise TypeError: one of C{fields} is no field of a task.
        @return: fires with the task's uuid when the broker has confirmed it.
            Fails with L{BadTask<quebert.errors.BadTask>} or with a
            L{BrokerError<quebert.errors.BrokerError>}, such as
            L{Unroutable<quebert.errors.Unroutable>}.
        """
        tasks.check_keywords(fields)
        fields |= {
            "kind": kind,
            "priority": priority,
            "max_body": max_body,
            "ttl": ttl,
            "run_at": run_at,
            "delay": delay,
            "timeout": timeout,
            "uuid": uuid,
            "headers": headers,
            "method": method,
            "payload": payload,
            "retry": retry,
            "extra": extra,
            "callback_url": callback_url,
            "max_url_length": max_url_length,
        }
        return Deferred.fromCoroutine(self._add(url, params, fields))

    async def _add(self, url: str, params: Any, fields: dict[str, Any]) -> str:
        uuid, letter = new_letter(self._now(), url, params, **fields)
        await self._publish(letter)
        return uuid

    def add_tasks(
        self, items: Items, on_result: OnResult, *, window: int = WINDOW
    ) -> Deferred[int]:
        """
        Add many tasks.  Those that are wrong or refused do not keep the others from
        being added.

        An item is read only when fewer than C{window} tasks are unconfirmed, so that
        memory is bounded, and a slow broker slows down the source of the items.  They
        are confirmed in any order.  To cancel the Deferred ends it: no more items are
        read.

        @param items: an iterable, or an asynchronous one, of mappings, each with the
            keywords of L{add_task}, and with C{url}.
        @param on_result: called with a L{TaskResult<quebert.producer.TaskResult>} for
            each item that was read: once the broker has confirmed its task, or with
            what is wrong.  Where the connection is lost, each task that may be there
            has one with L{ChannelLost<quebert.errors.ChannelLost>}: add it again with
            the uuid in the result.
        @param window: how many tasks may be unconfirmed.
        @raise ConfigError: C{window} is no number from 1 on.
        @return: fires with how many tasks were added, when all results are told.  Fails
            then with what ended it: a L{BrokerError<quebert.errors.BrokerError>}, where
            the broker is out of reach or refuses the login, or what C{items} or
            C{on_result} raised.
        """
        tasks = WindowOfTasks(self._publish, on_result, self._now, window)
        return Deferred.fromCoroutine(tasks.add_all(items))

    def add_raw_task(
        self,
        body: bytes,
        kind: str = "tasks",
        priority: str = MEDIUM,
        *,
        max_body: int = tasks.BOUNDS.body,
    ) -> Deferred[None]:
        """
        Add a task whose C{body} is sent as it is.

        @param max_body: bytes that the body may have at most.
        @return: fires when the broker has confirmed it.
        """
        return Deferred.fromCoroutine(self._add_raw(body, kind, priority, max_body))

    async def _add_raw(
        self, body: bytes, kind: str, priority: str, max_body: int
    ) -> None:
        await self._publish(letter(body, kind, priority, self._now(), None, max_body))

    def _publish(self, letter: Letter) -> Deferred[None]:
        if self._routing_key is not None:
            letter = attrs.evolve(letter, routing_key=self._routing_key)
        if taken(self._exchange, letter):
            return succeed(None)
        sending = OutgoingLetter(self._exchange, letter)
        letter = sending.letter
        confirmed = self._publisher.publish(
            self._exchange, letter.routing_key, letter.body, letter.properties
        )
        if sending.is_traced:
            told = (sending,)
            confirmed.addCallbacks(_told, _told, told, errbackArgs=told)
        return confirmed


def _told(result: T, sending: OutgoingLetter) -> T:
    sending.ended(result.value if isinstance(result, Failure) else None)
    return result
