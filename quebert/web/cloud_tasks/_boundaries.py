"""
The register of queues and the history that the Cloud Tasks API needs, as Protocols;
their doubles are in C{quebert.test.web.cloud_tasks.doubles}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

import attrs

from quebert.errors import QuebertError
from quebert.history import TaskTries
from quebert.policy import RetryPolicy

__all__ = [
    "CloudQueue",
    "CloudQueueChanged",
    "CloudQueueExists",
    "CloudQueueUnknown",
    "CloudQueues",
    "NameTooRecent",
    "TriesOfTasks",
]


class CloudQueueExists(QuebertError):
    """
    There is a queue of this name.
    """


class NameTooRecent(QuebertError):
    """
    There was a queue of this name not long ago, and mediators drop its tasks still.
    """


class CloudQueueUnknown(QuebertError):
    """
    There is no queue of this name.
    """


class CloudQueueChanged(QuebertError):
    """
    Somebody else has changed the queue meanwhile.
    """


@attrs.frozen(kw_only=True)
class CloudQueue:
    """
    A queue.

    @ivar name: in RabbitMQ.
    @ivar rate: how many tasks begin in a second; C{None} for no limit.
    @ivar burst: how many may begin at once; C{None} for what follows from the rate.
    @ivar concurrency: how many may be at work at once; C{None} for no limit.
    @ivar retry: when a task that failed is tried again.
    @ivar http_target: C{HttpTarget} as proto JSON, with its enums as names; empty for
        none.
    @ivar paused: whether no task begins.
    @ivar purge_time: tasks that were created before are dropped; seconds since the
        epoch, 0 for none.
    @ivar version: grows with each change.
    """

    name: str
    rate: float | None = None
    burst: int | None = None
    concurrency: int | None = None
    retry: RetryPolicy = attrs.field(factory=RetryPolicy)
    http_target: Mapping[str, Any] = attrs.field(factory=dict)
    paused: bool = False
    purge_time: float = 0.0
    version: int = 1


class CloudQueues(Protocol):
    """
    The queues that there are.  Each method but C{get} and C{list} raises L{BrokerError
    <quebert.errors.BrokerError>} if RabbitMQ is away.
    """

    def get(self, name: str) -> Awaitable[CloudQueue | None]:
        """
        A queue by its name in RabbitMQ.  It is asked for each task that is created.
        """

    def list(self) -> Awaitable[Sequence[CloudQueue]]:
        """
        All queues, by their names.
        """

    def create(self, queue: CloudQueue) -> Awaitable[CloudQueue]:
        """
        Make a queue, as it is then; once this returns, a task can be published to it.

        @raise CloudQueueExists: there is one.
        @raise NameTooRecent: there was one.
        @raise ConfigError: a value is not possible.
        """

    def update(self, queue: CloudQueue) -> Awaitable[CloudQueue]:
        """
        Have a queue be so: its rates, retries and target.

        @param queue: with the version that is to be changed.
        @raise CloudQueueUnknown: there is none.
        @raise CloudQueueChanged: its version is another one.
        @raise ConfigError: a value is not possible.
        """

    def delete(self, name: str) -> Awaitable[None]:
        """
        Delete a queue with all its tasks.

        @raise CloudQueueUnknown: there is none.
        """

    def pause(self, name: str, by: str) -> Awaitable[CloudQueue]:
        """
        Have no task of a queue begin.

        @param by: the name of the user.
        @raise CloudQueueUnknown: there is none.
        """

    def resume(self, name: str) -> Awaitable[CloudQueue]:
        """
        Have its tasks begin again.

        @raise CloudQueueUnknown: there is none.
        """

    def purge(self, name: str) -> Awaitable[CloudQueue]:
        """
        Drop the tasks that were created before now.

        @raise CloudQueueUnknown: there is none.
        """


class TriesOfTasks(Protocol):
    """
    A L{HistoryLedger<quebert.history.HistoryLedger>}.
    """

    def tries(self, uuids: Sequence[str]) -> Awaitable[Mapping[str, TaskTries]]:
        """
        The requests that were made for tasks, in sum, by their uuids.

        @raise HistoryError: the history does not answer.
        """
