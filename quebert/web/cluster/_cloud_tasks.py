"""
The Cloud Tasks API of C{quebert web}: over REST beside our own API, and over gRPC.
"""

from __future__ import annotations

from collections.abc import Callable

from quebert.amqp import TxAMQPClient
from quebert.config import TLS, CloudTasksAPI
from quebert.created_tasks import CreatedTasks
from quebert.operations import BrokerAccess
from quebert.web import Audit
from quebert.web._access_rules import AccessRules
from quebert.web.cloud_tasks import (
    CloudNames,
    CloudTasks,
    CloudTasksLimits,
    CloudTasksREST,
    Location,
    MadeCloudQueues,
)
from quebert.web.cluster._grpc import GRPCFace

__all__ = ["CloudTasksFaces"]


class CloudTasksFaces:
    """
    Both faces, over the tasks and the queues that there are.

    @ivar rest: answers requests over REST.
    """

    def __init__(
        self,
        broker: BrokerAccess,
        asked: CloudTasksAPI,
        created: CreatedTasks,
        audit: Audit,
        now: Callable[[], float],
    ) -> None:
        self._reactor = broker.reactor
        self._asked = asked
        self._client = TxAMQPClient.of_broker(broker.broker, reactor=broker.reactor)
        self._queues = MadeCloudQueues(broker, self._client, asked.queue_type)
        self._cloud_tasks = CloudTasks(
            created,
            self._queues,
            now,
            CloudNames(home=_location(asked.home), projects=asked.projects),
            CloudTasksLimits(**asked.limits),
            audit,
        )
        self.rest = CloudTasksREST(self._cloud_tasks)
        self._grpc: GRPCFace | None = None

    def start(self, rules: Callable[[], AccessRules], tls: TLS | None) -> None:
        """
        Begin to read which queues there are, and listen for gRPC.

        @param rules: gives the access rules in force; called in threads.
        @param tls: the certificate of the web server.
        @raise ConfigError: packages are missing, or the port or the certificate cannot
            be used.
        """
        if self._asked.grpc is not None:
            grpc = GRPCFace(self._reactor, self._cloud_tasks.call, rules, tls)
            grpc.listen(self._asked.grpc)
            self._grpc = grpc
        self._queues.start()

    @property
    def grpc_port(self) -> int:
        """
        Where it listens for gRPC; 0 if it does not.
        """
        return 0 if self._grpc is None else self._grpc.port

    def renew(self) -> None:
        """
        Read the certificate again.

        @raise ConfigError: it cannot be used; the old one goes on to be.
        """
        if self._grpc is not None:
            self._grpc.renew()

    async def stop(self) -> None:
        """
        End.
        """
        grpc, self._grpc = self._grpc, None
        if grpc is not None:
            await grpc.stop()
        self._queues.stop()
        await self._client.stop(0)


def _location(home: str | None) -> Location | None:
    if home is None:
        return None
    _, project, _, location = home.split("/")
    return Location(project, location)
