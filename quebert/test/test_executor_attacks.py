"""
Attacks on an executor that is a process of its own, with real sockets: what each of
them can do at most, and that other clients get their answers meanwhile.
"""

from __future__ import annotations

import http.client
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import quebert
from quebert._twistd import allow_many_connections
from quebert.executor import ExecutorLimits
from quebert.test.contract.patience import until
from quebert.testing import free_port

#: Seconds: far more than anything takes, for what is waited for.
PATIENCE = 60.0
MIB = 2**20
ROOT = Path(quebert.__file__).parents[1]
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SMALL = HEAD + b"Content-Length: 2\r\n\r\n{}"
CHUNK = b"100000\r\n" + b" " * MIB + b"\r\n"

# An executor with limits of the test's.
PROGRAM = """
import sys
from twisted.internet import reactor
from twisted.logger import globalLogBeginner, textFileLogObserver
from quebert._twistd import allow_many_connections
from quebert.executor import ExecutorLimits, ExecutorService

def execute(task):
    return "x" * task["answer"] if "answer" in task else task

allow_many_connections()
globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)])
limits = ExecutorLimits(**eval(sys.argv[2]))
service = ExecutorService(execute, int(sys.argv[1]), limits=limits)
service.startService()
reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
reactor.run()
"""


class Process:
    """
    An executor as a process.
    """

    def __init__(self, folder: Path, limits: dict[str, Any]) -> None:
        self.port = free_port()
        self._output = folder / "output"
        self._sockets: list[socket.socket] = []
        with open(self._output, "wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(self.port), repr(limits)],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        until(self._answers)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.output
        try:
            return self.ask(b"{}") == (200, b"{}")
        except OSError:
            return False

    @property
    def output(self) -> str:
        """
        What it has logged.
        """
        return self._output.read_text()

    def memory(self, what: str) -> float:
        """
        How much memory it has (C{VmRSS}), or had at most (C{VmHWM}), in MiB.
        """
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        (line,) = (each for each in status.splitlines() if each.startswith(what))
        return int(line.split()[1]) / 1024

    def connect(self, address: str = "127.0.0.1") -> socket.socket:
        """
        A connection from an address of the loopback.
        """
        made = socket.create_connection(
            ("127.0.0.1", self.port), PATIENCE, (address, 0)
        )
        self._sockets.append(made)
        return made

    def ask(self, body: bytes) -> tuple[int, bytes]:
        """
        The answer to a well-behaved client.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, PATIENCE)
        headers = {"Content-Type": "application/json"}
        try:
            connection.request("POST", "/", body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def end(self) -> None:
        """
        End it, and see that it ends well.
        """
        for each in self._sockets:
            each.close()
        self._process.send_signal(signal.SIGTERM)
        try:
            assert self._process.wait(PATIENCE) == 0, self.output
        finally:
            self._process.kill()
            self._process.wait(PATIENCE)
        assert "Traceback" not in self.output
        assert self.output.count("\n") < 40


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """
    Starts executors, to which a well-behaved client makes requests all the time, each
    of which must be answered.
    """
    allow_many_connections()
    started: list[tuple[Process, Good]] = []

    def start(**limits: Any) -> Process:
        process = Process(tmp_path, limits)
        started.append((process, Good(process)))
        return process

    yield start
    for process, good in started:
        answers = good.end()
        process.end()
        assert answers
        assert set(answers) == {(200, b'{"n":1}')}


class Good(threading.Thread):
    """
    A well-behaved client, which makes one request after the other, and again if it is
    told to come later, as a mediator does.
    """

    def __init__(self, executor: Process) -> None:
        super().__init__(daemon=True)
        self._executor = executor
        self._over = False
        self.answers: list[object] = []
        self.start()

    def run(self) -> None:
        """
        Ask until told to end.
        """
        while not self._over:
            try:
                answer = self._executor.ask(b'{"n":1}')
                if answer[0] != 503:
                    self.answers.append(answer)
            except OSError as e:
                self.answers.append(repr(e))
            time.sleep(0.01)  # it is no flood

    def end(self) -> list[object]:
        """
        All answers.
        """
        before = len(self.answers)
        until(lambda: len(self.answers) > before)
        self._over = True
        self.join(PATIENCE)
        return self.answers


def events(of: socket.socket, wanted: int, milliseconds: int = 0) -> int:
    """
    What may be done with a connection.
    """
    poll = select.poll()
    poll.register(of, wanted)
    return sum(event for _, event in poll.poll(milliseconds))


def send(to: socket.socket, data: bytes, most: float = PATIENCE) -> int:
    """
    Send, as long as somebody reads, and nothing comes.

    @return: how much was sent.
    """
    sent, end = 0, time.monotonic() + most
    view = memoryview(data)
    to.setblocking(False)
    try:
        while sent < len(data) and time.monotonic() < end:
            ready = events(to, select.POLLIN | select.POLLOUT, 100)
            if ready & ~select.POLLOUT:
                break
            if ready:
                sent += to.send(view[sent : sent + 65_536])
    except OSError:
        pass
    to.settimeout(PATIENCE)
    return sent


def status_of(connection: socket.socket) -> int:
    """
    The status of what a connection is answered with; 0 if it is closed.
    """
    try:
        line = connection.recv(65_536).split(b"\r\n")[0]
    except OSError:
        return 0
    return int(line.split()[1]) if line else 0


def is_answered(connection: socket.socket) -> bool:
    """
    Whether something has come, or the connection is closed.
    """
    return bool(events(connection, select.POLLIN))


def count_open(connections: list[socket.socket]) -> int:
    """
    How many connections have neither been answered nor closed.
    """
    return sum(not is_answered(each) for each in connections)


def test_endless_bodies(start: Start) -> None:
    """
    Thirty bodies of 15 MiB that do not end take no more memory than there may be; what
    does not fit is answered with 503.
    """
    executor = start(memory=32 * MIB)
    before = executor.memory("VmHWM")
    connections = [executor.connect() for _ in range(30)]
    for each in connections:
        each.sendall(CHUNKED)
        send(each, CHUNK * 15)
    # A little more than 2 bodies: the limit, what is being read, and room to grow.
    assert executor.memory("VmHWM") - before < 32 * 1.5 + 16
    refused = [each for each in connections if is_answered(each)]
    assert len(refused) >= 27
    assert {status_of(each) for each in refused} == {503}


def test_body_without_end(start: Start) -> None:
    """
    Bodies whose length is announced, chunks, chunk extensions and trailers without end
    are refused, and the connection is closed however much comes.
    """
    executor = start(body=MIB, grace=1.0, slowest=0)
    before = executor.memory("VmHWM")
    for begin, again, status in (
        (HEAD + b"Content-Length: 999999999999\r\n\r\n", b" " * MIB, 413),
        (CHUNKED, CHUNK, 413),
        (CHUNKED, b"1\r\nx\r\n" * 10_000, 413),
        (CHUNKED, (b"1;" + b"e" * 1_000 + b"\r\nx\r\n") * 100, 413),
        (CHUNKED + b"1;", b"e" * MIB, 400),
        (CHUNKED + b"0\r\n", b"X: y\r\n" * 10_000, 400),
    ):
        connection = executor.connect()
        connection.sendall(begin)
        while not is_answered(connection):
            send(connection, again)
        assert status_of(connection) in (status, 0)
        try:
            while True:
                connection.sendall(again)
        except OSError:
            pass
    assert executor.memory("VmHWM") - before < 20


def test_head_without_end(start: Start) -> None:
    """
    So are heads: in many fields, in long ones, in one line, and before it.
    """
    executor = start(grace=1.0)
    for begin, again, status in (
        (HEAD, b"X: y\r\n" * 1_000, 431),
        (HEAD, b"X: " + b"y" * 9_000 + b"\r\n", 431),
        (HEAD + b"X: ", b"y" * 100_000, 431),
        (b"POST /", b"y" * 100_000, 414),
        (b"\r\n", b"\r\n" * 100_000, 400),
    ):
        connection = executor.connect()
        connection.sendall(begin)
        while not is_answered(connection):
            send(connection, again)
        assert status_of(connection) in (status, 0)


def test_byte_by_byte(start: Start) -> None:
    """
    A head and a body that come a byte at a time are answered with 408.
    """
    # The good client has the same limits.
    executor = start(head_time=4.0, grace=4.0)
    for begin in (HEAD + b"X: ", HEAD + b"Content-Length: 100000\r\n\r\n"):
        connection = executor.connect()
        connection.sendall(begin)

        def refused(connection: socket.socket = connection) -> bool:
            send(connection, b"x")
            return is_answered(connection)

        until(refused)
        assert status_of(connection) == 408


def test_a_thousand_connections(start: Start) -> None:
    """
    A thousand connections from one address that send nothing, half a head, or half a
    body, leave room for others, and are closed in the end.
    """
    executor = start(
        connections=600, connections_per_address=300, head_time=3.0, grace=3.0
    )
    connections = [executor.connect("127.0.0.2") for _ in range(1000)]
    for number, each in enumerate(connections):
        send(each, (b"", HEAD, HEAD + b"Content-Length: 9\r\n\r\n{")[number % 3])
    until(lambda: count_open(connections) <= 300)
    assert executor.ask(b'{"n":2}') == (200, b'{"n":2}')
    until(lambda: not count_open(connections))


def test_all_connections_at_once(start: Start) -> None:
    """
    With the limits that there are without settings, a mediator may make a thousand
    requests at once, and a hundred of 1 MiB.
    """
    executor = start()
    connections = [executor.connect() for _ in range(1000)]
    for _ in range(2):
        for each in connections:
            each.sendall(SMALL)
        assert {status_of(each) for each in connections} == {200}
    large = connections[:100]
    for each in large:
        each.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % MIB)
    for piece in (*[b" " * (MIB // 16)] * 15, b" " * (MIB // 16 - 2) + b"{}"):
        for each in large:
            each.sendall(piece)
    assert [status_of(each) for each in large] == [200] * 100


def test_bombs(start: Start) -> None:
    """
    JSON that would take gigabytes is refused before it is decoded; what may be decoded
    takes its turn.
    """
    executor = start()
    before = executor.memory("VmHWM")
    bomb = b'{"a":[' + b"[]," * (5 * MIB) + b"0]}"
    for _ in range(4):
        assert executor.ask(bomb)[0] == 400
    assert executor.memory("VmHWM") - before < 4 * 16
    heavy = b'{"answer":1,"a":[' + b'{"":1.5},' * 190_000 + b"0]}"
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(heavy) + heavy
    connections = [executor.connect() for _ in range(10)]
    for each in connections:
        each.sendall(request)
    assert [status_of(each) for each in connections] == [200] * 10
    # One at a time, as each has ended before another is decoded: 100 MiB.
    assert executor.memory("VmHWM") - before < 200


def test_answers_that_nobody_takes(start: Start) -> None:
    """
    Answers of 4 MiB that nobody takes are limited in their memory and their time.
    """
    executor = start(memory=32 * MIB, grace=1.0, slowest=4.0 * MIB)
    before = executor.memory("VmHWM")
    body = b'{"answer":%d}' % (4 * MIB)
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    for _ in range(3):
        connections = [executor.connect() for _ in range(30)]
        for each in connections:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            send(each, request * 3)
        until(lambda: executor.output.count("answer was not taken") >= 1)
    assert executor.memory("VmHWM") - before < 32 * 2 + 16


def test_pipelined_flood(start: Start) -> None:
    """
    Requests that come by the thousand on one connection do not keep others waiting, and
    a client that takes no answers gets no further.
    """
    executor = start()
    before = executor.memory("VmHWM")
    connections = [executor.connect() for _ in range(10)]
    for each in connections:
        assert send(each, SMALL * 2_000_000, 1.0) < len(SMALL) * 2_000_000
    for each in connections:
        assert b"HTTP/1.1 200 OK" in each.recv(65_536)
    assert executor.memory("VmHWM") - before < 30


def test_defaults() -> None:
    """
    The limits without settings are those that are documented.
    """
    text = (ROOT / "docs" / "executors.rst").read_text()
    limits = ExecutorLimits()
    for name in ("head", "fields", "head_time", "slowest", "grace", "idle", "patience"):
        shown = f"{getattr(limits, name):,}".removesuffix(".0")
        assert f"``{name}``" in text
        assert shown in text, name
