"""
The Cloud Tasks API of C{quebert web}: over the tasks that it keeps, and the queues that
stand in RabbitMQ.
"""

from __future__ import annotations

from collections.abc import Callable

from quebert.amqp import TxAMQPClient
from quebert.config import TLS, CloudTasksAPI
from quebert.created_tasks import CreatedTasks
from quebert.operations import BrokerAccess
from quebert.web import Audit
from quebert.web._exchange import APIRequest
from quebert.web._tokens import Grant
from quebert.web.cloud_tasks import (
    CloudNames,
    CloudTasks,
    CloudTasksLimits,
    CloudTasksREST,
    Location,
    MadeCloudQueues,
    TriesOfTasks,
)
from quebert.web.cluster._grpc import GRPCFace

__all__ = ["CloudTasksFaces"]


class CloudTasksFaces:
    """
    Cloud Tasks over REST, and over gRPC where that is asked for.

    @param now: gives the seconds since the epoch.
    @param admit: gives the rights of a request over gRPC; called in threads.
    @param tls: the certificate for gRPC, and its key; C{None} for none.
    @param history: tells of the attempts at tasks.
    @raise ConfigError: gRPC is asked for, and a package is missing, or the files cannot
        be used.
    @ivar rest: the API over REST.
    """

    def __init__(
        self,
        broker: BrokerAccess,
        tasks: CreatedTasks,
        asked: CloudTasksAPI,
        now: Callable[[], float],
        admit: Callable[[APIRequest], Grant],
        audit: Audit,
        tls: TLS | None,
        history: TriesOfTasks,
    ) -> None:
        self._asked = asked
        self._client = TxAMQPClient.of_broker(broker.broker, reactor=broker.reactor)
        self._queues = MadeCloudQueues(broker, self._client, asked.queue_type)
        cloud_tasks = CloudTasks(
            tasks, self._queues, now, _names(asked), _limits(asked), audit, history
        )
        self.rest = CloudTasksREST(cloud_tasks)
        self._grpc: GRPCFace | None = None
        if asked.grpc is not None:
            self._grpc = GRPCFace(broker.reactor, cloud_tasks.call, admit, tls)

    def start(self) -> None:
        """
        Begin to read which queues there are, and to listen for gRPC.

        @raise PortTaken: it cannot listen.
        """
        if self._grpc is not None and self._asked.grpc is not None:
            self._grpc.listen(self._asked.grpc)
        self._queues.start()

    def renew(self) -> None:
        """
        Read the certificate again.

        @raise ConfigError: it cannot be used.
        """
        if self._grpc is not None:
            self._grpc.renew()

    async def stop(self) -> None:
        """
        End.
        """
        if self._grpc is not None:
            await self._grpc.stop()
        self._queues.stop()
        await self._client.stop(0)


def _names(asked: CloudTasksAPI) -> CloudNames:
    project, _, location = asked.home.partition("/")
    home = Location(project, location) if asked.home else None
    return CloudNames(home, asked.projects)


def _limits(asked: CloudTasksAPI) -> CloudTasksLimits:
    return CloudTasksLimits(
        schedule=int(asked.longest_schedule // 3_600),
        task=asked.largest_task,
        rate=asked.most_rate,
        concurrency=asked.most_concurrency,
    )
