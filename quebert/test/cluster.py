"""
A cluster of RabbitMQ nodes on the loopback, whose nodes can be killed, frozen, and cut
off from each other.

Theory of operation.  A node finds another by asking Erlang's port mapper, epmd, for the
port of its name.  Here each node has a port mapper of its own, a L{_PortMapper}.  It
answers with the port of a L{_Line}, which forwards to the other node.  There is one
line for each ordered pair of nodes, so that each connection between two nodes can be
cut, whoever has made it.  No epmd is started, and none is left.

All of it runs in the reactor.  What blocks (RabbitMQ's own commands) runs in threads.
"""

from __future__ import annotations

import itertools
import os
import secrets
import signal
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet.defer import gatherResults, maybeDeferred
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThread
from twisted.protocols.basic import Int16StringReceiver
from twisted.protocols.portforward import (
    ProxyClient,
    ProxyClientFactory,
    ProxyFactory,
    ProxyServer,
)

from quebert.errors import QuebertError
from quebert.testing import RabbitMQNode

__all__ = ["Member", "RabbitMQCluster"]

#: Seconds after which a node takes another for lost that says nothing.
TICK = 4
#: Seconds in which nodes that were started, or cut off, must have joined again.
JOINING = 300.0

_CONFIGURATION = """\
net_ticktime = {tick}
cluster_partition_handling = {partitions}
cluster_formation.peer_discovery_backend = classic_config
"""
_ANOTHER_NODE = "cluster_formation.classic_config.nodes.{number} = {name}\n"

#: Requests to epmd, and answers: "Distribution Protocol" in Erlang's documentation.
_ALIVE, _ALIVE_ANSWER = ord("x"), ord("v")
_PORT_PLEASE, _PORT_ANSWER = ord("z"), ord("w")
_NAMES = ord("n")
_NORMAL_NODE, _TCP, _HIGHEST_VERSION, _LOWEST_VERSION = 77, 0, 6, 5


class Member(RabbitMQNode):
    """
    One node of a cluster.  Its calls block, so they belong into threads.

    @ivar name: as Erlang knows it, C{name@host}.
    """

    def __init__(self, cookie: str) -> None:
        super().__init__()
        self.name = self._environment["RABBITMQ_NODENAME"]
        self.epmd_port = self._epmd_port
        self.distribution_port = self._distribution_port
        secret = self._folder / ".erlang.cookie"
        secret.write_text(cookie)
        secret.chmod(0o400)
        # One scheduler, which sleeps where it has nothing to do: several nodes share
        # the machine with the tests.
        self._environment["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"] += (
            " +S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"
        )

    def configure(self, lines: str) -> None:
        """
        Write C{rabbitmq.conf}, for the next start.
        """
        (self._folder / "rabbitmq.conf").write_text(lines)

    def freeze(self, frozen: bool = True) -> None:
        """
        Have the node stand still, with all its connections open, or go on.
        """
        assert self._process is not None
        number = signal.SIGSTOP if frozen else signal.SIGCONT
        os.killpg(self._process.pid, number)


class RabbitMQCluster:
    """
    Some RabbitMQ nodes that are one cluster::

        async with RabbitMQCluster.started() as cluster:
            client = TxAMQPClient.from_url(cluster.url)

    @param nodes: how many there are.
    @param partitions: RabbitMQ's setting C{cluster_partition_handling}.
    @ivar url: an AMQP URL of all nodes.
    """

    def __init__(self, nodes: int = 3, partitions: str = "pause_minority") -> None:
        cookie = secrets.token_hex(16)
        self.nodes = [Member(cookie) for _ in range(nodes)]
        lines = _CONFIGURATION.format(tick=TICK, partitions=partitions)
        for number, node in enumerate(self.nodes, 1):
            lines += _ANOTHER_NODE.format(number=number, name=node.name)
        for node in self.nodes:
            node.configure(lines)
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        self.url = f"amqp://guest:guest@{hosts}/"
        self._network = _Network(self.nodes)

    @classmethod
    @asynccontextmanager
    async def started(cls, **options: Any) -> AsyncIterator[RabbitMQCluster]:
        """
        A cluster whose nodes have all joined.
        """
        cluster = cls(**options)
        try:
            await cluster.start()
            yield cluster
        finally:
            await cluster.close()

    async def start(self, *nodes: Member) -> None:
        """
        Start these nodes, or all; returns when all that run know each other.
        """
        chosen = nodes or self.nodes
        await gatherResults([deferToThread(each.start) for each in chosen])
        await self.joined()

    async def joined(self) -> None:
        """
        Wait until all nodes that run know each other.

        @raise QuebertError: they do not, for long.
        """
        deadline = time.monotonic() + JOINING
        running = [each for each in self.nodes if each.running]
        count = str(len(running))
        for node in running:
            while True:
                try:
                    await deferToThread(node.ctl, "await_online_nodes", count)
                    break
                except QuebertError:  # such as where its application is stopped
                    if time.monotonic() > deadline:
                        raise

    async def kill(self, node: Member) -> None:
        """
        End a node at once (SIGKILL).
        """
        await deferToThread(node.kill)

    async def stop(self, node: Member) -> None:
        """
        Stop a node in good order.
        """
        await deferToThread(node.stop)

    def part(self, node: Member) -> None:
        """
        Cut a node off from the others, as if the network lost all packets: no side is
        told.  Clients still reach it.
        """
        self._network.cut(node.name)

    async def unite(self) -> None:
        """
        All nodes reach each other again; returns when they know each other.
        """
        self._network.mend()
        await self.joined()

    async def leader(self, queue: str, vhost: str = "/") -> Member:
        """
        The node on which the leader of a quorum queue is.

        @raise LookupError: there is none now.
        """
        running = next(each for each in self.nodes if each.running)
        listing = ("list_queues", "--no-table-headers", "--vhost", vhost)
        listed = await deferToThread(running.ctl, *listing, "name", "leader")
        leaders = dict(line.split("\t")[:2] for line in listed.splitlines())
        for node in self.nodes:
            if node.name == leaders.get(queue):
                return node
        raise LookupError(f"queue {queue!r} has no leader; those of others: {leaders}")

    async def close(self) -> None:
        """
        Kill all nodes, and remove all that they left.
        """
        for node in self.nodes:
            await deferToThread(node.kill)
            await deferToThread(node.close)
        await self._network.close()


# -- The network between the nodes


class _Network:
    """
    Where each node finds the others.

    @ivar ports: where those listen that run, by their names without host: nodes and
        the programs that command them.
    """

    def __init__(self, nodes: list[Member]) -> None:
        from twisted.internet import reactor

        tcp: Any = reactor
        self.ports: dict[str, int] = {}
        self.creations = itertools.count(1)
        pairs = itertools.permutations(nodes, 2)
        self._lines = {(a.name, b.name): _Line(b.distribution_port) for a, b in pairs}
        self._listening = [
            tcp.listenTCP(
                node.epmd_port,
                _PortMappers(self, node.name, node.epmd_port),
                interface="127.0.0.1",
            )
            for node in nodes
        ]

    def port(self, asking: str, name: str) -> int | None:
        """
        The port at which the node C{asking} reaches another.

        @param name: of the other, without its host.
        """
        host = asking.partition("@")[2]
        line = self._lines.get((asking, f"{name}@{host}"))
        if line is None or name not in self.ports:
            return self.ports.get(name)
        return line.entrance

    def cut(self, name: str) -> None:
        """
        Lose what is sent to a node, and by it.
        """
        for pair, line in self._lines.items():
            if name in pair:
                line.cut = True

    def mend(self) -> None:
        """
        Lose nothing any more.  Connections that have lost something end.
        """
        for line in self._lines.values():
            if line.cut:
                line.cut = False
                line.end_all()

    async def close(self) -> None:
        """
        Listen no more.
        """
        for line in self._lines.values():
            await line.close()
        for each in self._listening:
            await maybeDeferred(each.stopListening)


class _LineClient(ProxyClient):
    peer: Any
    transport: Any

    def connectionMade(self) -> None:
        if self.peer.transport.disconnected:
            self.transport.abortConnection()
        else:
            super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        if not self.peer.factory.cut:
            super().dataReceived(data)


class _LineClientFactory(ProxyClientFactory):
    protocol = _LineClient
    noisy = False


class _LineServer(ProxyServer):
    clientProtocolFactory = _LineClientFactory
    factory: Any

    def dataReceived(self, data: bytes) -> None:
        if not self.factory.cut:
            super().dataReceived(data)


class _Line(ProxyFactory):
    """
    Forwards connections to a port.

    @ivar entrance: the port at which it listens.
    @ivar cut: whether it loses all that is sent.
    """

    noisy = False
    protocol = _LineServer

    def __init__(self, target: int) -> None:
        from twisted.internet import reactor

        super().__init__("127.0.0.1", target)
        tcp: Any = reactor
        self.cut = False
        self._servers: list[Any] = []
        self._listening = tcp.listenTCP(0, self, interface="127.0.0.1")
        self.entrance: int = self._listening.getHost().port

    def buildProtocol(self, address: Any) -> Any:
        """
        Another connection.
        """
        self._servers.append(super().buildProtocol(address))
        return self._servers[-1]

    def end_all(self) -> None:
        """
        End all connections.
        """
        servers, self._servers = self._servers, []
        for server in servers:
            for each in (server, server.peer):
                if each is not None and each.transport is not None:
                    each.transport.abortConnection()

    async def close(self) -> None:
        """
        End all connections, and accept no others.
        """
        await maybeDeferred(self._listening.stopListening)
        self.end_all()


class _PortMapper(Int16StringReceiver):
    """
    Erlang's port mapper, as far as RabbitMQ and its commands need it.
    """

    transport: Any
    _registered = ""

    def __init__(self, network: _Network, node: str, port: int) -> None:
        self._network = network
        self._node = node
        self._port = port

    def stringReceived(self, request: bytes) -> None:
        """
        Answer.  A name is registered as long as its connection lasts.
        """
        answers: dict[int, Callable[[bytes], None]] = {
            _ALIVE: self._register,
            _PORT_PLEASE: self._tell_port,
            _NAMES: self._tell_names,
        }
        answer = answers.get(request[0])
        if answer is None:
            self.transport.loseConnection()
        else:
            answer(request[1:])

    def _register(self, request: bytes) -> None:
        port, size = struct.unpack_from(">H6xH", request)
        self._registered = request[10 : 10 + size].decode()
        self._network.ports[self._registered] = port
        creation = next(self._network.creations)
        self.transport.write(struct.pack(">BBI", _ALIVE_ANSWER, 0, creation))

    def _tell_port(self, request: bytes) -> None:
        port = self._network.port(self._node, request.decode())
        if port is None:
            answer = struct.pack(">BB", _PORT_ANSWER, 1)
        else:
            found = (0, port, _NORMAL_NODE, _TCP, _HIGHEST_VERSION, _LOWEST_VERSION)
            answer = struct.pack(">BBHBBHH", _PORT_ANSWER, *found)
            answer += struct.pack(">H", len(request)) + request + struct.pack(">H", 0)
        self.transport.write(answer)
        self.transport.loseConnection()

    def _tell_names(self, request: bytes) -> None:
        self.transport.write(struct.pack(">I", self._port))
        for name, port in self._network.ports.items():
            self.transport.write(f"name {name} at port {port}\n".encode())
        self.transport.loseConnection()

    def connectionLost(self, reason: object = None) -> None:
        """
        The name is gone.
        """
        self._network.ports.pop(self._registered, None)


class _PortMappers(Factory):
    noisy = False

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments

    def buildProtocol(self, address: Any) -> _PortMapper:
        """
        Another connection.
        """
        return _PortMapper(*self._arguments)
