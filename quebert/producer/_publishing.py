"""
Publishing over the connections of a pool, each call within its limit of time.

A call takes a connection, or makes one, and gives it back only when the broker has
answered.  A call that is interrupted, wherever that is, leaves nothing behind that a
later call could use.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import attrs

from quebert.config import Broker
from quebert.errors import (
    BrokerError,
    ConfigError,
    PublishRefused,
    Unroutable,
)
from quebert.producer._connection import PublishingConnection
from quebert.producer._deadline import Deadline, StreamEnded, TimeIsUp
from quebert.producer._letter import Letter
from quebert.producer._pool import ConnectionPool, Slot
from quebert.producer._problems import (
    after_loss,
    no_slot,
    not_confirmed,
    not_connected,
)

__all__ = ["CONNECTIONS", "PATIENCE", "BlockingPublisher", "Limit"]

#: Seconds that a call may take.
PATIENCE = 20.0
#: Connections that a producer has at most.
CONNECTIONS = 16


@attrs.frozen
class Limit:
    """
    How long a call may take.

    @ivar patience: seconds in all.
    @ivar deadline: when they have passed.
    """

    patience: float
    deadline: Deadline

    @classmethod
    def of(cls, patience: float) -> Limit:
        """
        A limit for a call that begins now.

        @raise ConfigError: it is no number of seconds.
        """
        if not 0 < patience < math.inf:
            raise ConfigError(f"patience must be a number of seconds, not {patience!r}")
        return cls(patience, Deadline.after(patience))


class _PublishAttempt(NamedTuple):
    """
    What became of a letter.

    @ivar connection: to be kept, since the broker has answered on it.
    @ivar lost: whether another connection is worth an attempt.
    """

    problem: BrokerError | None = None
    connection: PublishingConnection | None = None
    lost: bool = False


class BlockingPublisher:
    """
    Publishes to one exchange.

    @param most: how many connections there may be.
    @raise ConfigError: that is no number from 1 on.
    """

    def __init__(self, broker: Broker, exchange: str, most: int) -> None:
        if most < 1:
            raise ConfigError(f"max_connections must be 1 or more, not {most!r}")
        self.exchange = exchange
        self._broker = broker
        self._most = most
        self._pool = ConnectionPool(most)
        self.close = self._pool.close
        self.leave = self._pool.leave

    def publish(self, letter: Letter, limit: Limit) -> None:
        """
        Publish over a connection that was kept.  If it is lost, publish a second time,
        over a new one.

        @raise BrokerError: the broker has not confirmed it.
        """
        slot = self.take(limit)
        try:
            attempt = self._attempt(slot, letter, limit)
        except BaseException:
            slot.give_back()
            raise
        slot.give_back(attempt.connection)
        problem = attempt.problem
        del attempt
        try:
            if problem is not None:
                raise problem
        finally:
            del problem  # its traceback would keep the producer from being freed

    def take(self, limit: Limit) -> Slot:
        """
        A slot for a call.

        @raise BrokerError: there is none in time.
        """
        try:
            return self._pool.take(limit.deadline)
        except TimeIsUp:
            raise no_slot(limit.patience, self._most) from None

    def kept(self, slot: Slot) -> PublishingConnection | None:
        """
        Take the connection that was kept in a slot.
        """
        connection, slot.connection = slot.connection, None
        if connection is None or not connection.is_old:
            return connection
        self.leave(connection)
        return None

    def connect(self, limit: Limit) -> PublishingConnection:
        """
        A new connection.

        @raise StreamEnded: there is none in time.
        """
        return PublishingConnection.open(self._broker, limit.deadline)

    def _attempt(self, slot: Slot, letter: Letter, limit: Limit) -> _PublishAttempt:
        connection = self.kept(slot)
        if connection is None:
            return self._over_new(letter, limit, None)
        attempt = self._over(connection, letter, limit)
        if attempt.lost:
            attempt = self._over_new(letter, limit, attempt.problem)
        return attempt

    def _over_new(
        self, letter: Letter, limit: Limit, before: BrokerError | None
    ) -> _PublishAttempt:
        """
        @param before: why an attempt over another connection failed.
        """
        try:
            connection = self.connect(limit)
        except StreamEnded as e:
            attempt = _PublishAttempt(self.not_connected(e))
        else:
            attempt = self._over(connection, letter, limit)
        if before is None or attempt.problem is None:
            return attempt
        return attempt._replace(problem=after_loss(before, attempt.problem))

    def _over(
        self, connection: PublishingConnection, letter: Letter, limit: Limit
    ) -> _PublishAttempt:
        """
        RabbitMQ 3 may refuse all that is published on a channel to a quorum queue that
        was full once, although it takes messages on other channels: after a refusal
        the connection is not kept.
        """
        sent = False
        try:
            connection.when_unblocked(limit.deadline)
            connection.publish(self.exchange, letter, limit.deadline)
            sent = True
            [(_, problem)] = connection.answers(limit.deadline)
        except StreamEnded as e:
            problem = self.not_confirmed(e, connection, letter, limit, sent=sent)
            connection.close()
            lost = not sent or not _is_about_task(problem)
            return _PublishAttempt(problem, lost=lost and not isinstance(e, TimeIsUp))
        except BaseException:
            connection.close()
            raise
        if isinstance(problem, PublishRefused):
            self.leave(connection)
            return _PublishAttempt(problem)
        return _PublishAttempt(problem, connection)

    def not_connected(self, ended: StreamEnded) -> BrokerError:
        """
        What is told when there is no connection.
        """
        return not_connected(ended, self._broker)

    def not_confirmed(
        self,
        ended: StreamEnded,
        connection: PublishingConnection,
        letter: Letter,
        limit: Limit,
        *,
        sent: bool = True,
    ) -> BrokerError:
        """
        What is told when C{connection} has ended, or was given up.
        """
        return not_confirmed(
            ended,
            f"exchange {self.exchange!r}, key {letter.routing_key!r}",
            limit.patience,
            sent=sent,
            blocked=connection.blocked,
        )


def _is_about_task(problem: BrokerError) -> bool:
    """
    Whether the task would be refused again.
    """
    return isinstance(problem, Unroutable) or problem.final
