"""
Tests for L{quebert._listening}.
"""

from __future__ import annotations

import errno
import select
import socket
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Port
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from quebert._listening import REST, listen
from quebert.test.contract.patience import PATIENCE


class Reactor(MemoryReactorClock):
    """
    A reactor whose ports are real ones, which nobody reads.
    """

    def listenTCP(
        self, port: int, factory: Any, backlog: int = 50, interface: str = ""
    ) -> Any:
        """
        A port that listens.
        """
        listening: Any = Port(port, factory, backlog, interface, self)
        listening.startListening()
        return listening


class Brief(Protocol):
    """
    Has nothing to say.
    """

    def connectionMade(self) -> None:
        """
        Hang up.
        """
        transport: Any = self.transport
        transport.abortConnection()


class FullSocket:
    """
    A socket of a process, or a system, that can have no more.
    """

    def accept(self) -> Any:
        """
        Fail, and leave the connection where it is.
        """
        raise OSError(errno.ENOBUFS, "No buffer space available")


class ListenTests(SynchronousTestCase):
    """
    Tests for L{listen}.
    """

    def setUp(self) -> None:
        """
        Listen, and have somebody connect.
        """
        self.reactor: Any = Reactor()
        factory = Factory.forProtocol(Brief)
        factory.noisy = False
        self.port = listen(self.reactor, 0, factory, "127.0.0.1")
        self.addCleanup(self.stop)
        self.enterContext(
            socket.create_connection(("127.0.0.1", self.port.getHost().port))
        )
        select.select([self.port], [], [], PATIENCE)  # it may come a moment later

    def stop(self) -> None:
        """
        Listen no more.
        """
        self.port.stopListening()
        self.reactor.advance(0)

    @property
    def reads(self) -> bool:
        """
        Whether the reactor calls the port when there is a connection.
        """
        return self.port in self.reactor.getReaders()

    def test_accepts(self) -> None:
        """
        A port that accepts what comes goes on.
        """
        self.port.doRead()
        self.assertEqual(self.port.sessionno, 1)
        self.assertTrue(self.reads)

    def test_rests(self) -> None:
        """
        A port that can accept nothing rests before it tries again.
        """
        port_socket, self.port.socket = self.port.socket, FullSocket()
        for _ in range(3):
            self.port.doRead()
            self.assertFalse(self.reads)
            self.reactor.advance(REST)
            self.assertTrue(self.reads)
        self.port.socket = port_socket
        self.test_accepts()

    def test_stops(self) -> None:
        """
        A port that rests can be stopped.
        """
        port_socket, self.port.socket = self.port.socket, FullSocket()
        self.port.doRead()
        self.port.socket = port_socket
        self.port.stopListening()
        self.reactor.advance(REST)
        self.assertFalse(self.reads)
