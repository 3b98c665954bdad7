"""
RabbitMQ, for tasks that are created over HTTP: a L{TaskBroker
<quebert.created_tasks.TaskBroker>}.

Tasks are published over one connection, which is kept.  Those that are published
together are written at once, and wait together for their confirms.  Tasks of one queue
that come one by one in a turn of the reactor, as when their rows were written in one
transaction, are published together, too: alone, each would take 60 µs more.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from quebert._protocol.properties import encode_properties
from quebert._protocol.values import encode_shortstr
from quebert._turn import EndOfTurn
from quebert.amqp import TxAMQPClient
from quebert.amqp.queues import is_gone
from quebert.created_tasks import NewTask
from quebert.errors import BrokerError, BrokerUnreachable, ConfigError, NoSuchQueue
from quebert.operations import NOT_FOUND, BrokerAccess, Cancelled, Deletions, RunNow
from quebert.operations import run_now as run_task_now
from quebert.task_ends import ENDED, DeletionNote, encode_deletion_note

__all__ = ["PATIENCE", "PERSISTENT", "PublishedTasks", "properties_of"]

#: Seconds in which RabbitMQ must take a task, or nobody waits for its confirm.
PATIENCE = 15.0

Answers = list[BrokerError | None]

#: Properties of a message that is JSON, and outlives RabbitMQ.
PERSISTENT = encode_properties({"content-type": "application/json", "delivery-mode": 2})
_TIMESTAMP = struct.Struct(">Q")
# To encode all by encode_properties takes three times as long.
_SAME = encode_properties(
    {
        "content-type": "application/json",
        "delivery-mode": 2,
        "reply-to": ENDED,
        "message-id": "",
        "timestamp": 0,
    }
)[: -len(encode_shortstr("")) - _TIMESTAMP.size]


class PublishedTasks:
    """
    @param broker: where tasks go.
    """

    def __init__(self, broker: BrokerAccess) -> None:
        self._broker = broker
        self._client = TxAMQPClient.of_broker(
            broker.broker, reactor=broker.reactor, connectTimeout=PATIENCE
        )
        self._publisher = self._client.make_publisher()
        self._deletions = Deletions(self._client)
        self._single: dict[str, list[tuple[NewTask, Deferred[Answers]]]] = {}
        self._turn = EndOfTurn(broker.reactor, self._publish_single)

    @property
    def blocked(self) -> str | None:
        """
        Why RabbitMQ takes no tasks for now, as far as it has told; C{None} if it does.
        """
        return self._client.blocked

    async def publish(self, tasks: Sequence[NewTask]) -> Answers:
        """
        See L{TaskBroker.publish<quebert.created_tasks.TaskBroker.publish>}; returns
        within L{PATIENCE} seconds.
        """
        if len(tasks) != 1:
            return await self._publish(tasks)
        answer: Deferred[Answers] = Deferred()
        self._single.setdefault(tasks[0].queue, []).append((tasks[0], answer))
        self._turn.ask()
        return await answer

    def _publish_single(self) -> None:
        """
        Publish the tasks that came one by one, those of each queue together: another
        queue may take longer.
        """
        single, self._single = self._single, {}
        for some in single.values():
            tasks, waiting = zip(*some, strict=True)
            publishing = Deferred.fromCoroutine(self._publish(tasks))
            publishing.addCallbacks(
                _answer, _fail, callbackArgs=(waiting,), errbackArgs=(waiting,)
            )

    async def _publish(self, tasks: Sequence[NewTask]) -> Answers:
        return await self.publish_messages(
            [("", each.queue, each.body, properties_of(each)) for each in tasks]
        )

    async def publish_messages(
        self, messages: Sequence[tuple[str, str, bytes, bytes]]
    ) -> list[BrokerError | None]:
        """
        The same for any messages: exchange, routing key, body, encoded properties.
        """
        return await self._publisher.publish_group(messages, PATIENCE)

    async def has_queue(self, name: str) -> bool:
        """
        See L{TaskBroker.has_queue<quebert.created_tasks.TaskBroker.has_queue>}.
        """
        async with self._broker.client() as (_, wire):
            return not await is_gone(wire, name)

    async def cancel(self, task: NewTask, by: str) -> Cancelled:
        """
        See L{TaskBroker.cancel<quebert.created_tasks.TaskBroker.cancel>}.
        """
        cancelled = await self._cancel(task, by)
        note = encode_deletion_note(DeletionNote(task.uuid))
        [problem] = await self.publish_messages([("", ENDED, note, PERSISTENT)])
        if isinstance(problem, BrokerUnreachable):
            raise problem
        if problem is not None:  # such as that this queue, not the task's, is not there
            raise BrokerError(f"the deletion cannot be noted in {ENDED}: {problem}")
        return cancelled

    async def _cancel(self, task: NewTask, by: str) -> Cancelled:
        try:
            return await self._deletions.delete(
                task.queue, task.uuid, by, task.due, int(task.created)
            )
        except NoSuchQueue as e:
            return Cancelled(task.uuid, NOT_FOUND, None, str(e))
        except ConfigError as e:  # mediators keep too many cancelled tasks
            raise BrokerError(str(e)) from e

    async def run_now(self, queue: str, uuid: str) -> RunNow:
        """
        See L{TaskBroker.run_now<quebert.created_tasks.TaskBroker.run_now>}.
        """
        try:
            return await run_task_now(self._broker, queue, uuid)
        except NoSuchQueue as e:
            return RunNow(uuid, NOT_FOUND, str(e))

    async def stop(self) -> None:
        """
        Publish no more.
        """
        self._turn.now()
        self._publisher.shut()
        self._deletions.end()
        await self._client.stop(0)


def _answer(answers: Answers, waiting: Sequence[Deferred[Answers]]) -> None:
    for each, problem in zip(waiting, answers, strict=True):
        each.callback([problem])


def _fail(failure: Failure, waiting: Sequence[Deferred[Answers]]) -> None:
    for each in waiting:
        each.errback(failure)


def properties_of(task: NewTask) -> bytes:
    """
    The encoded properties of a task: those that are the same for all, and then, as AMQP
    has them in this order, its C{message-id} and its C{timestamp}.
    """
    return _SAME + encode_shortstr(task.uuid) + _TIMESTAMP.pack(int(task.created))
