"""
L{TxAMQPClient}: the object with which users watch queues and publish.

Its watches share a connection that consumes, and another connection publishes.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred, fail, gatherResults

from quebert import _tls
from quebert._bounds import AT_WORK
from quebert._protocol.properties import encode_properties
from quebert._reactor import given_or_global
from quebert._waiters import Once
from quebert.amqp.coordination import (
    Pauses,
    PauseSwitch,
    Questions,
    throttles_of,
)
from quebert.amqp.delays import Forwarder, Ladder, OldLadder
from quebert.amqp.link import (
    SPARE_HEARTBEAT,
    BrokerConnection,
    Publisher,
    SpareConnection,
)
from quebert.amqp.queues import Bindings, QueueBinding
from quebert.amqp.watch import (
    DEFAULT_GRACE,
    Budget,
    OneSuspect,
    Suspects,
    Watcher,
    WatchOptions,
)
from quebert.config import TLS, Address, Broker
from quebert.errors import ConfigError

if TYPE_CHECKING:
    from twisted.internet.base import ReactorBase

    from quebert.amqp.watch import Callback, OnDisconnect, Step, Switch, Throttle
    from quebert.amqp.wire import Wire
    from quebert.errors import BrokerError

__all__ = ["TxAMQPClient"]

_DEFAULTS = WatchOptions()


class TxAMQPClient:
    """
    Two connections to a RabbitMQ, one that consumes and one that publishes, made when
    they are first needed and made again whenever they are lost; and a third one where
    tasks wait in quorum queues (L{SpareConnection<quebert.amqp.link.SpareConnection>}).

    @param host: a host, as C{name} or C{name:port}, or several, with commas
        between or in a list, which are tried in turn.
    @param port: of each host that does not say.
    @param heartbeat: seconds; 0 for none.
    @param tls: C{True} for TLS with the platform's authorities, a
        L{TLS<quebert.config.TLS>} for others or a certificate of ours, or an
        C{IOpenSSLClientConnectionCreator} of C{twisted.internet.interfaces}.
    @param watcherFactory: called like L{Watcher} for each watch.
    @param quorumDelays: whether what waits in the broker does so in quorum queues;
        with C{None}, where it has them (RabbitMQ 3.10 or later).
    @param connectTimeout: seconds in which L{watch} and L{publish} want a
        connection; C{None} for no limit.
    @param source: what names the broker, for errors, such as C{"--amqp-url"}.
    @param maxMemory: bytes of memory that all messages take together which are with
        their callbacks, as they came and decoded from JSON.  Others wait until some
        have ended.
    @param patient: whether to try again, for C{connectTimeout} seconds, where no host
        accepts a connection.  Where a connection was lost, it is made again anyway, if
        any was ever made.
    @ivar broker: where the broker is, and who we are there.
    @ivar watchers: the watches that have not ended.
    @ivar ladder: where delayed messages wait.
    @ivar spare: the connection over which rungs of the ladder are used.
    @ivar old_ladder: where delayed messages of earlier versions wait.
    @ivar suspects: messages that may have ended a mediator.
    @ivar one_suspect: lets one of them run, alone.
    @ivar budget: shares out C{maxMemory}.
    @ivar pauses: tells watches to look whether their queues are paused.
    @ivar questions: answers questions about the tasks of watches, and knows which of
        them are cancelled.
    @ivar bindings: how each queue gets its messages.
    @raise ConfigError: a host, or a file for TLS, is wrong.
    """

    def __init__(
        self,
        host: str | Sequence[str],
        username: str,
        password: str,
        *,
        port: int = 5672,
        vhost: str = "/",
        heartbeat: int = 30,
        reactor: ReactorBase | None = None,
        tls: Any = None,
        watcherFactory: Callable[..., Watcher] = Watcher,
        connectTimeout: float | None = 30.0,
        quorumDelays: bool | None = None,
        maxMemory: int = AT_WORK,
        patient: bool = True,
        source: str = "",
    ) -> None:
        tls = TLS() if tls is True else tls
        hosts = host.split(",") if isinstance(host, str) else host
        if not hosts:
            raise ConfigError(
                f"TxAMQPClient: host={host!r} must name at least one host"
            )
        self.broker = Broker(
            tuple(Address.parse(each, port) for each in hosts),
            username,
            password,
            vhost,
            heartbeat,
            tls if isinstance(tls, TLS) else None,
            source,
        )
        if tls:
            _tls.creator(tls, self.broker.addresses[0].host)  # or tell at once
        self.connectTimeout = connectTimeout
        self.watchers: list[Watcher] = []
        self._patient = patient
        self._consuming = self._connection(tls, "consuming", on_lost=self._lost)
        self._publishing = self._connection(tls, "publishing", sibling=self._consuming)
        self.spare = SpareConnection(
            self._connection(
                tls,
                "looking after delayed tasks",
                heartbeat=SPARE_HEARTBEAT,
                sibling=self._consuming,
                optional=True,
            )
        )
        self.ladder = Ladder(quorum=quorumDelays, spare=self.spare)
        self.old_ladder = OldLadder()
        self.suspects = Suspects(lambda: self.reactor)
        self.one_suspect = OneSuspect(self.suspects, lambda: self.reactor)
        self.budget = Budget(maxMemory)
        self.questions = Questions(
            _own_name(), self.make_publisher, lambda: self.reactor, self.now
        )
        self.pauses = Pauses(lambda: self.reactor, self.questions)
        self.bindings = Bindings(lambda: self.reactor)
        self._reactor = reactor
        self._watcherFactory = watcherFactory
        self._stop_once = Once(self._stop, again=True)
        self._publisher = self.make_publisher()

    @staticmethod
    def now() -> float:
        """
        The time of day, in seconds since the epoch.
        """
        return time.time()

    @classmethod
    def from_url(cls, url: str, **options: Any) -> TxAMQPClient:
        """
        A client for C{amqp://user:password@host:port/vhost?heartbeat=30}.

        @param options: further keyword arguments of L{TxAMQPClient}.
        @raise ConfigError: C{url} cannot be read.
        """
        return cls.of_broker(Broker.from_url(url), **options)

    @classmethod
    def of_broker(cls, broker: Broker, **options: Any) -> TxAMQPClient:
        """
        A client for a broker as a configuration has it.

        @param options: further keyword arguments of L{TxAMQPClient}.
        @raise ConfigError: a file for TLS is wrong.
        """
        settings = {
            "vhost": broker.vhost,
            "heartbeat": broker.heartbeat,
            "tls": broker.tls,
            "source": broker.source,
            **options,
        }
        hosts = [str(each) for each in broker.addresses]
        return cls(hosts, broker.username, broker.password, **settings)

    def __repr__(self) -> str:
        return f"<TxAMQPClient of {self._consuming}>"

    @cached_property
    def reactor(self) -> Any:
        """
        The reactor, the global one unless another was given.
        """
        return given_or_global(self._reactor)

    # -- Watching

    def watch(
        self,
        exchange: str,
        queue: str,
        routingKey: str,
        callback: Callback,
        onDisconnect: OnDisconnect | None = None,
        maxEvents: int | None = None,
        options: WatchOptions = _DEFAULTS,
    ) -> Deferred[Watcher]:
        """
        Declare C{exchange} and C{queue}, durable, bind them with
        C{routingKey}, and call C{callback} with each message of the queue,
        now and after every reconnection.

        @param callback: C{f(message)}; what it returns, or what its Deferred
            or coroutine returns, decides: C{None} acknowledges, C{bytes} or
            C{str} puts the task back with that body, an
            L{Outcome<quebert.outcome>} says what to do.  It may be a method of an
            object with another method C{memory_of(body)}, which says how many bytes
            of memory the message takes, as that of L{Mediator
            <quebert.mediator.Mediator>} does.
        @param onDisconnect: called with a C{Failure}, once for each lost
            connection.
        @param maxEvents: how many messages may be with C{callback} at once;
            C{options.prefetch} unless it is given, 0 for no limit.
        @param options: what else the watch is told.
        @return: fires with the L{Watcher} once the broker delivers.  Fails
            with L{BrokerRefused} when the broker refuses the login or has
            the exchange or queue otherwise, with L{CertificateRefused}, with
            L{BrokerUnreachable} when there is no connection in time, and with
            L{ConfigError}.
        """
        if maxEvents is not None:
            try:
                options = attrs.evolve(options, prefetch=maxEvents)
            except ConfigError as e:
                text = str(e).replace("prefetch", "maxEvents", 1)
                return fail(ConfigError(text))
        binding = QueueBinding(
            queue, exchange, options.exchange_type, routingKey, options.key_arguments
        )
        make_watcher = partial(
            self._watcherFactory, self, binding, callback, options, onDisconnect
        )
        return Deferred.fromCoroutine(self._watch(make_watcher))

    async def _watch(self, make_watcher: Callable[[], Watcher]) -> Watcher:
        watcher = make_watcher()
        self.watchers.append(watcher)
        try:
            await watcher.start()
        except BaseException:
            if watcher in self.watchers:  # else it was stopped
                self.watchers.remove(watcher)
            raise
        return watcher

    def watch_ended(self, watcher: Watcher) -> None:
        """
        Called by a watch that has ended.
        """
        if watcher in self.watchers:
            self.watchers.remove(watcher)
        if all(each.queue != watcher.queue for each in self.watchers):
            self.ladder.leave(watcher.queue)

    # -- Publishing

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Mapping[str, Any] | None = None,
    ) -> Deferred[None]:
        """
        Publish a message, mandatory.

        @param properties: by their AMQP names.
        @return: fires when the broker has confirmed it.  Fails with
            L{Unroutable <quebert.errors.Unroutable>} when no queue gets it,
            L{PublishRefused <quebert.errors.PublishRefused>} when the broker
            does not take it, and with another
            L{BrokerError <quebert.errors.BrokerError>} when nobody knows.
        """
        coroutine = self._publish(exchange, routing_key, body, properties or {})
        return Deferred.fromCoroutine(coroutine)

    async def _publish(
        self, exchange: str, key: str, body: bytes, properties: Mapping[str, Any]
    ) -> None:
        encoded = encode_properties(properties)
        await self._publisher.publish(exchange, key, body, encoded, self.connectTimeout)

    def make_publisher(self) -> Publisher:
        """
        A publisher with a channel of its own, so that what closes the channel
        of one does not disturb the others.
        """
        return Publisher(self._publishing)

    def make_forwarder(self, queue: str, publisher: Publisher) -> Forwarder:
        """
        The forwarder that brings delayed messages to C{queue} when they are due.
        """
        return Forwarder(self.ladder, self.old_ladder, self, queue, publisher)

    def make_throttles(self, queue: str, options: WatchOptions) -> Iterable[Throttle]:
        """
        The throttles of a watch of C{queue}.
        """
        return throttles_of(self, queue, options)

    def make_switch(self, queue: str, halt: Step, go_on: Step) -> Switch:
        """
        What pauses a watch of C{queue}, and has it go on.
        """
        return PauseSwitch(self.pauses, queue, halt, go_on)

    @property
    def is_connected(self) -> bool:
        """
        Whether there is a connection that consumes.
        """
        return self._consuming.is_connected

    @property
    def blocked(self) -> str | None:
        """
        Why the broker takes no messages for now, such as C{"low on memory"},
        or C{None}; what is published meanwhile waits.  As far as it has told:
        it tells those who publish.
        """
        return self._publishing.blocked

    @property
    def reconnects(self) -> int:
        """
        How often connections were made again.
        """
        both = self._consuming, self._publishing
        return sum(max(0, each.times_made - 1) for each in both)

    @property
    def unconfirmed(self) -> int:
        """
        How many publications wait for a confirm.
        """
        return self._publishing.unconfirmed

    # -- The connections

    def _connection(
        self, tls: Any, purpose: str, *, heartbeat: int | None = None, **options: Any
    ) -> BrokerConnection:
        broker = self.broker
        if heartbeat is not None:
            broker = attrs.evolve(broker, heartbeat=min(broker.heartbeat, heartbeat))
        name = f"quebert, {purpose}"
        return BrokerConnection(
            broker, tls, lambda: self.reactor, name, patient=self._patient, **options
        )

    def _lost(self, why: BrokerError) -> None:
        for watcher in list(self.watchers):
            watcher.disconnected(why)

    async def connected(self, timeout: float | None = None) -> Wire:
        """
        The connection that consumes, as soon as there is one.

        @param timeout: seconds; C{None} to wait for ever.
        @raise BrokerRefused: there never was one, and the broker said no.
        @raise CertificateRefused: the same, of a certificate.
        @raise BrokerUnreachable: there was none in time.
        """
        return await self._consuming.connected(timeout)

    def stop(self, grace: float = DEFAULT_GRACE) -> Deferred[None]:
        """
        End all watches, then the connections.

        @param grace: seconds that running callbacks get to finish; what is
            not finished then goes back to its queue.
        """
        return self._stop_once(grace)

    async def _stop(self, grace: float) -> None:
        await gatherResults([each.stop(grace) for each in list(self.watchers)])
        self.suspects.warn_no_more()
        self.ladder.end()
        self.questions.end()
        self._publisher.shut()
        self._publisher = self.make_publisher()
        connections = self._consuming, self._publishing, self.spare
        ending = [Deferred.fromCoroutine(each.stop()) for each in connections]
        await gatherResults(ending)


def _own_name() -> str:
    """
    Names this client, and no other, in its answers to questions about tasks.
    """
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
