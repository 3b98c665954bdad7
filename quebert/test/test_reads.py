"""
Tests for L{quebert.http._reads}.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, cast
from unittest import mock

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReactorTime
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from quebert.http import _reads
from quebert.http._reads import Reads
from quebert.test.support import PATIENCE

DONE = Failure(CONNECTION_DONE)
HTTP = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Recorder(Protocol):
    """
    Notes what it is told.
    """

    def __init__(self) -> None:
        self.data = b""
        self.why: Any = None

    def dataReceived(self, data: bytes) -> None:
        """
        Note it.
        """
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Note it.
        """
        self.why = reason.type


class Link(Connection):
    """
    A TCP connection over the loopback, both of whose ends are here.

    @ivar recorder: what is told of it.
    @ivar peer: the other end.
    """

    def __init__(self, reactor: MemoryReactorClock) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            ours = socket.create_connection(server.getsockname())
            self.peer, _ = server.accept()
        self.recorder = Recorder()
        super().__init__(ours, self.recorder, reactor)
        self.connected = 1
        self.recorder.makeConnection(self)
        self.startReading()

    def getPeer(self) -> None:
        """
        For the log.
        """

    def reset(self) -> None:
        """
        Have the peer reset it.
        """
        linger = struct.pack("ii", 1, 0)
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.peer.close()


def _end(how: Callable[[Link], object], link: Link, data: bytes) -> None:
    """
    End or pause one connection when something has come over another.
    """
    how(link)


class ReadsTests(SynchronousTestCase):
    """
    Connections are read in one event, and all else is left to the reactor.
    """

    if _reads._EPOLL is None:
        skip = "there is no epoll"

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.reads = Reads(self.reactor)
        self.links: list[Link] = []
        self.addCleanup(self.close)

    def close(self) -> None:
        """
        Close all sockets.
        """
        for link in self.links:
            if link.connected:
                link.connectionLost(DONE)
            link.peer.close()

    def link(self, sent: bytes = b"") -> Link:
        """
        A connection that is read, with something to be read.
        """
        link = Link(self.reactor)
        self.links.append(link)
        self.reads.add(link)
        link.peer.sendall(sent)
        return link

    def readers(self) -> list[Any]:
        """
        What the reactor watches.
        """
        return cast("list[Any]", self.reactor.getReaders())

    def test_several(self) -> None:
        """
        What has come over several connections is read at once.
        """
        links = [self.link(bytes([65 + n])) for n in range(5)]
        self.assertEqual(self.readers(), [self.reads])
        self.reads.doRead()
        data = [link.recorder.data for link in links]
        self.assertEqual(data, [b"A", b"B", b"C", b"D", b"E"])

    def test_one_read_each(self) -> None:
        """
        Of a connection over which much has come, one piece is read in a turn.
        """
        link = self.link(b"abcdef")
        link.bufferSize = 4
        self.reads.doRead()
        self.assertEqual(link.recorder.data, b"abcd")
        self.reads.doRead()
        self.assertEqual(link.recorder.data, b"abcdef")

    def test_many(self) -> None:
        """
        In a turn, a part of very many is read; none is read twice before all others.
        """
        self.patch(_reads, "_AT_ONCE", 3)
        links = [self.link(b"ab") for _ in range(7)]
        for link in links:
            link.bufferSize = 1
        numbers = []
        for _ in range(3):
            self.reads.doRead()
            numbers.append(sum(len(link.recorder.data) for link in links))
        self.assertEqual(numbers, [3, 6, 9])
        self.assertEqual(min(len(link.recorder.data) for link in links), 1)

    def test_pause(self) -> None:
        """
        A connection that is paused is not read, until it is resumed.
        """
        link, other = self.link(b"a"), self.link()
        link.pauseProducing()
        self.reads.doRead()
        self.assertEqual(link.recorder.data, b"")
        link.resumeProducing()
        link.resumeProducing()  # it is already
        self.reads.doRead()
        self.assertEqual(link.recorder.data, b"a")
        self.assertEqual(other.recorder.data, b"")

    def test_paused_by_another(self) -> None:
        """
        A connection that is paused, or closed, while another one is read is not read.
        """
        for end in (Link.pauseProducing, Link.abortConnection):
            one, other = self.link(b"a"), self.link(b"a")
            with mock.patch.object(
                one.recorder, "dataReceived", side_effect=partial(_end, end, other)
            ):
                self.reads.doRead()
            self.assertEqual(other.recorder.data, b"")
            self.close()

    def test_closed(self) -> None:
        """
        A connection that its peer has closed ends, in the turn in which that is known,
        once all that came before has been read.
        """
        link, other = self.link(b"all"), self.link(b"b")
        link.peer.shutdown(socket.SHUT_WR)
        self.reads.doRead()
        self.assertEqual((link.recorder.data, link.recorder.why), (b"all", None))
        self.reads.doRead()
        self.assertIs(link.recorder.why, ConnectionDone)
        self.assertEqual((other.recorder.data, other.recorder.why), (b"b", None))

    def test_reset(self) -> None:
        """
        A connection that was reset is lost.
        """
        link = self.link(b"all")
        link.reset()
        for _ in range(2):  # a part may be there to be read
            self.reads.doRead()
        self.assertIs(link.recorder.why, ConnectionLost)

    def test_hung_up(self) -> None:
        """
        A connection that has hung up, and has nothing to be read, ends.
        """
        link = self.link(b"all")
        told = mock.Mock(wraps=self.reads._epoll)
        told.poll.return_value = [(link.fileno(), select.EPOLLHUP)]
        with mock.patch.object(self.reads, "_epoll", told):
            self.reads.doRead()
        self.assertEqual((link.recorder.data, link.recorder.why), (b"", ConnectionDone))

    def test_reset_meanwhile(self) -> None:
        """
        One that is reset just before it is read is lost, and not closed in order.
        """
        link, other = self.link(b"a"), self.link(b"b")
        reset = mock.Mock(wraps=link.socket)
        reset.recv.side_effect = OSError(errno.ECONNRESET, "reset")
        link.socket = reset
        self.reads.doRead()
        self.assertEqual((link.recorder.data, link.recorder.why), (b"", ConnectionLost))
        self.assertEqual(other.recorder.data, b"b")

    def test_nothing_there(self) -> None:
        """
        A connection of which epoll tells that it can be read, and that has nothing,
        stays open.
        """
        link = self.link(b"a")
        link.peer.close()
        nothing = mock.Mock(wraps=link.socket)
        nothing.recv.side_effect = BlockingIOError()
        whole, link.socket = link.socket, nothing
        self.reads.doRead()
        self.assertEqual((link.recorder.why, link.reactor), (None, self.reads))
        link.socket = whole

    def test_failure(self) -> None:
        """
        Where what came cannot be dealt with, that connection is lost, and no other.
        """
        for error in (ZeroDivisionError("no"), SystemExit()):
            link, other = self.link(b"a"), self.link(b"b")
            with mock.patch.object(link.recorder, "dataReceived", side_effect=error):
                self.reads.doRead()
            self.assertIs(link.recorder.why, type(error))
            self.assertEqual(len(self.flushLoggedErrors(type(error))), 1)
            self.assertEqual(other.recorder.data, b"b")
            self.close()

    def test_failure_after_its_end(self) -> None:
        """
        A connection that was lost already is lost once.
        """
        link = self.link(b"a")

        def lose_and_fail(data: bytes) -> None:
            link.connectionLost(DONE)
            raise ZeroDivisionError

        with mock.patch.object(link.recorder, "dataReceived", lose_and_fail):
            self.reads.doRead()
        self.assertIs(link.recorder.why, ConnectionDone)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_write(self) -> None:
        """
        A connection that waits until it can be written to is read by the reactor, too.
        """
        link, other = self.link(b"a"), self.link(b"b")
        link.write(b"c")
        self.assertEqual(self.reactor.getWriters(), [link])
        self.assertEqual(set(self.readers()), {self.reads, link})
        self.reads.doRead()
        self.assertEqual((link.recorder.data, other.recorder.data), (b"", b"b"))
        link.stopWriting()
        self.assertEqual(self.reactor.getWriters(), [])

    def test_write_paused(self) -> None:
        """
        If it is paused, it stays so.
        """
        link = self.link(b"a")
        link.pauseProducing()
        link.write(b"c")
        self.assertEqual((self.reactor.getWriters(), self.readers()), ([link], []))
        link.resumeProducing()
        self.assertEqual(self.readers(), [link])

    def test_abort(self) -> None:
        """
        A connection that is aborted is lost at the end of the turn.
        """
        link = self.link(b"a")
        link.stopWriting()
        link.abortConnection()
        self.assertEqual(self.readers(), [])
        self.assertIs(link.recorder.why, None)
        self.reactor.advance(0)
        self.assertIsNot(link.recorder.why, None)

    def test_none_left(self) -> None:
        """
        Without connections the reactor watches nothing; then there may be some again.
        """
        for _ in range(2):
            link = self.link(b"a")
            fd = self.reads.fileno()
            self.assertEqual(select.select([fd], [], [], PATIENCE)[0], [fd])
            link.connectionLost(DONE)
            self.assertEqual(self.readers(), [])

    def test_paused_alone(self) -> None:
        """
        The only connection is paused, and resumed where no file can be opened.
        """
        link = self.link(b"a")
        link.pauseProducing()
        self.assertEqual(self.readers(), [])
        with mock.patch.object(_reads, "_EPOLL", side_effect=OSError(errno.EMFILE)):
            link.resumeProducing()
        self.reads.doRead()
        self.assertEqual(link.recorder.data, b"a")

    def test_no_epoll_set(self) -> None:
        """
        Where no file can be opened for the set, the reactor reads a connection; the
        next one is in a set again, if that can be made then.
        """
        with mock.patch.object(_reads, "_EPOLL", side_effect=OSError(errno.EMFILE)):
            self.assertIs(self.link().reactor, self.reactor)
        self.assertEqual(self.reads.fileno(), -1)
        self.assertIs(self.link().reactor, self.reads)

    def test_no_room(self) -> None:
        """
        A connection that the system does not take into the set stays with the reactor.
        """
        other = self.link(b"b")
        full = mock.Mock(wraps=self.reads._epoll)
        full.register.side_effect = OSError(errno.ENOSPC)
        with mock.patch.object(self.reads, "_epoll", full):
            link = self.link(b"a")
        self.assertIs(link.reactor, self.reactor)
        self.assertEqual(set(self.readers()), {self.reads, link})
        self.reads.doRead()
        self.assertEqual(other.recorder.data, b"b")

    def test_not_watched(self) -> None:
        """
        The same where the reactor cannot watch the set; the next one is in it.
        """
        add = self.reactor.addReader

        def full(reader: object) -> None:
            if reader is self.reads:
                raise OSError(errno.ENOSPC, "full")
            add(reader)

        with mock.patch.object(self.reactor, "addReader", full):
            link = self.link(b"a")
        self.assertEqual((link.reactor, self.readers()), (self.reactor, [link]))
        other = self.link(b"b")
        self.assertEqual(set(self.readers()), {link, self.reads})
        self.reads.doRead()
        self.assertEqual((link.recorder.data, other.recorder.data), (b"", b"b"))

    def test_number_used_again(self) -> None:
        """
        A connection is read that has the number of one of which nobody has told that it
        is closed; what is done with that one later does not concern it.
        """
        old = self.link()
        old.socket.close()
        new = self.link(b"a")
        self.assertEqual(new.fileno(), self.reads_number(new))
        with mock.patch.object(old, "fileno", new.fileno):
            old.stopReading()
        self.reads.doRead()
        self.assertEqual(new.recorder.data, b"a")
        old.connected = False

    def reads_number(self, link: Link) -> int:
        """
        The file descriptor by which a connection is known.
        """
        [number] = [n for n, each in self.reads._reading.items() if each is link]
        return number

    def test_failing_end(self) -> None:
        """
        What is done at the end of a connection fails: the others are read, and so is
        one that comes later.
        """
        one, two, other = self.link(b"a"), self.link(b"b"), self.link(b"c")
        failing = mock.Mock(side_effect=ZeroDivisionError)
        for link in one, two:
            self.patch(link.recorder, "dataReceived", failing)
            self.patch(link.recorder, "connectionLost", failing)
        self.reads.doRead()
        self.assertEqual(other.recorder.data, b"c")
        self.assertEqual(self.readers(), [self.reads])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 4)
        self.reads.connectionLost(Failure(CONNECTION_LOST))
        self.reactor.removeAll()
        later = self.link(b"d")
        self.assertEqual(self.readers(), [self.reads])
        self.reads.doRead()
        self.assertEqual(
            (other.recorder.why, later.recorder.data), (ConnectionLost, b"d")
        )

    def test_removed_twice(self) -> None:
        """
        A connection that is not read need not be removed.
        """
        link, other = self.link(), self.link(b"b")
        for _ in range(2):
            link.stopReading()
        self.reads.doRead()
        self.assertEqual(other.recorder.data, b"b")

    def test_reactor_ends(self) -> None:
        """
        When the reactor ends, all connections are lost.
        """
        links = [self.link(b"a") for _ in range(3)]
        self.reads.connectionLost(Failure(CONNECTION_LOST))
        self.assertEqual([each.recorder.why for each in links], [ConnectionLost] * 3)
        self.assertEqual(self.readers(), [])

    def test_impossible(self) -> None:
        """
        Where there is no epoll, or the reactor watches no file descriptors, all is left
        to the reactor.
        """
        self.reads = Reads(cast(IReactorTime, Clock()))
        self.assertIs(self.link().reactor, self.reactor)
        with mock.patch.object(_reads, "_EPOLL", None):
            self.reads = Reads(self.reactor)
        self.assertIs(self.link().reactor, self.reactor)


SCRIPT = """
import sys
from twisted.application.reactors import installReactor
reactor = installReactor(sys.argv[1])
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react
from quebert.http import Agent
from quebert.guard import Guard

class Server(Protocol):
    def dataReceived(self, data):
        self.transport.write(sys.argv[2].encode("latin-1"))

async def main(reactor):
    factory = Factory.forProtocol(Server)
    factory.noisy = False
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    agent = Agent(reactor, guard=Guard())
    url = f"http://127.0.0.1:{port.getHost().port}/"
    for _ in range(3):
        answers = await gatherResults([agent.send("POST", url) for _ in range(20)])
        bodies = await gatherResults([answer.content() for answer in answers])
        print(len(bodies), set(bodies), len(agent._pool.reads._reading))

react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""


class ReactorTests(SynchronousTestCase):
    """
    Requests are made with each reactor that there is.
    """

    if _reads._EPOLL is None:
        skip = "there is no epoll"

    def test_reactors(self) -> None:
        """
        Each of them tells of an epoll set that it can be read.
        """
        for name in ("epoll", "poll", "select", "asyncio"):
            command = [sys.executable, "-c", SCRIPT, name, HTTP.decode()]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=PATIENCE
            )
            told = "20 {b'ok'} 20\n" * 3
            self.assertEqual((name, done.stdout, done.stderr), (name, told, ""))
