"""
Adding tasks from blocking code over real sockets, to a broker that does as it is told.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest

from quebert._protocol.frames import FRAME_HEARTBEAT, FRAME_METHOD, HEARTBEAT_FRAME
from quebert.errors import (
    BadTask,
    BrokerError,
    BrokerRefused,
    BrokerUnreachable,
    ChannelLost,
    ConfigError,
    MessageRefused,
    PublishRefused,
    Unroutable,
)
from quebert.producer import (
    BlockingProducer,
    TaskResult,
    _blocking_many,
    _stream,
    add_task,
    add_tasks,
)
from quebert.producer._deadline import Deadline, StreamEnded
from quebert.producer._frame_stream import FrameStream
from quebert.test.contract.patience import PATIENCE, until
from quebert.test.scripted_broker import (
    Publication,
    ScriptedBroker,
    closing,
    confirm,
    refuse,
    returned,
)
from quebert.testing import free_port

#: Bytes of a confirm.
CONFIRM = len(confirm(Publication(1, "", "", b"", b"")))


def handshake_size() -> int:
    """
    How many bytes a broker sends before anything is published.
    """
    sizes: list[int] = []

    def note(publication: Publication) -> None:
        sizes.append(broker.sent)

    with ScriptedBroker(note) as broker, pytest.raises(ChannelLost):
        BlockingProducer(broker.url).add_task("/")
    return sizes[0]


def failure(url: str, **options: Any) -> BrokerError:
    """
    With what a task fails.
    """
    producer = BlockingProducer(url, **options)
    with producer, pytest.raises(BrokerError) as caught:
        producer.add_task("/")
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    return caught.value


# -- Connecting


def test_cut_at_each_byte() -> None:
    """
    Where a broker closes the connection after any number of bytes, that is told, and
    not that it does not speak AMQP.  Before the task is sent, the task is not there;
    after that, nobody knows.
    """
    size = handshake_size()
    assert size > 80
    for most in range(size):
        with ScriptedBroker(most=most) as broker:
            error = failure(broker.url)
        assert type(error) is BrokerUnreachable, (most, error)
        assert error.added is False
        assert ", during the login" in str(error)
    for most in range(size, size + CONFIRM):
        with ScriptedBroker(most=most) as broker:
            error = failure(broker.url)
        # It closes the connection before or after the task is sent.
        assert isinstance(error, ChannelLost), (most, error)
        assert error.added is None or "was not sent" in str(error)


@pytest.mark.parametrize(
    "greeting",
    [
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x03\x00\x02\x02\x46",  # an alert of TLS: seven bytes
        b"AMQP\x00\x01\x00\x00",  # another version
        b"+OK\r\n",
    ],
)
def test_not_amqp(greeting: bytes) -> None:
    """
    What speaks something else is told so.
    """
    with ScriptedBroker(greeting=greeting) as broker:
        error = failure(broker.url)
    assert type(error) is BrokerUnreachable
    assert "does not speak AMQP" in str(error)
    assert error.added is False


# The socket that Python's ssl has made by then is its own, and it does not close it.
@pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning")
def test_reset_before_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A server that resets the connection at once, as a proxy without a backend does, is
    out of reach.
    """

    class SlowContext(ssl.SSLContext):
        """
        Begins when the reset has come.
        """

        def wrap_socket(self, *arguments: Any, **keywords: Any) -> ssl.SSLSocket:
            accepted, _ = server.accept()
            at_once = struct.pack("ii", 1, 0)
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            accepted.close()
            return super().wrap_socket(*arguments, **keywords)

    context = SlowContext(ssl.PROTOCOL_TLS_CLIENT)
    monkeypatch.setattr(_stream, "_context", lambda tls: context)
    with socket.create_server(("127.0.0.1", 0)) as server:
        error = failure(f"amqps://127.0.0.1:{server.getsockname()[1]}")
    assert type(error) is BrokerUnreachable
    assert "reset by peer" in str(error)


def test_second_node() -> None:
    """
    Where the first node is not there, or is silent, the second one gets the task, in
    the same limit of time.
    """
    with ScriptedBroker() as silent, ScriptedBroker() as broker:
        silent.silent.set()
        for first in (f"127.0.0.1:{free_port()}", silent.url.split("@")[1].strip("/")):
            nodes = f"{first},{broker.url.split('@')[1]}"
            with BlockingProducer(f"amqp://{nodes}", patience=8.0) as producer:
                producer.add_task("/")
        assert len(broker.published) == 2


def test_unknown_host() -> None:
    """
    A host without an address is told.
    """
    error = failure("amqp://nowhere.invalid/", patience=PATIENCE)
    assert type(error) is BrokerUnreachable
    assert "nowhere.invalid:5672 cannot be reached: " in str(error)


def test_odd_urls() -> None:
    """
    What no broker can be asked for is told.
    """
    error = failure("amqp://a%00b/")
    assert type(error) is BrokerUnreachable
    with ScriptedBroker() as broker:
        producer = BlockingProducer(f"{broker.url}{'v' * 256}")
        with pytest.raises(ConfigError, match="255"):
            producer.add_task("/")


def test_no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A process that has no room for another socket is told.
    """

    def no_room(*_: object) -> None:
        raise OSError(24, "Too many open files")

    with ScriptedBroker() as broker:
        monkeypatch.setattr("socket.socket", no_room)
        error = failure(broker.url)
        monkeypatch.undo()
    assert type(error) is BrokerUnreachable
    assert "Too many open files" in str(error)


def test_heartbeats() -> None:
    """
    While a confirm is waited for, heartbeats are sent; a broker that is silent for two
    intervals is given up, and the task sent over another connection.
    """

    def script(publication: Publication) -> bytes:
        return (
            b""
            if broker.connections == 1 and publication.tag > 1
            else confirm(publication)
        )

    with ScriptedBroker(script, heartbeat=1) as broker:
        with BlockingProducer(broker.url, patience=PATIENCE) as producer:
            producer.add_task("/")
            producer.add_task("/", uuid="again")
        assert broker.connections == 2
        assert [each.uuid for each in broker.published[1:]] == ["again"] * 2
        assert broker.heartbeats >= 2


def test_slow_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A resolver that does not answer is given up.
    """
    ending = threading.Event()

    def look_up(*arguments: Any) -> Any:
        if not arguments[5]:  # else it is asked whether it is an address
            assert ending.wait(PATIENCE)
        raise socket.gaierror("nothing")

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    error = failure("amqp://slow.example/", patience=0.1)
    ending.set()
    assert type(error) is BrokerUnreachable
    assert "no answer in time" in str(error)


# -- The limit of time


def test_silent_broker() -> None:
    """
    A broker that falls silent is given up when the time is over, with what is known.
    """
    with ScriptedBroker() as broker:
        broker.silent.set()
        error = failure(broker.url, patience=0.1)
        assert type(error) is BrokerUnreachable
        assert "no answer in time" in str(error)
        broker.silent.clear()
        with BlockingProducer(broker.url, patience=PATIENCE) as producer:
            producer.add_task("/")
            broker.silent.set()
            producer._patience = 1.5
            with pytest.raises(ChannelLost, match=r"no confirm .* 1\.5 s") as caught:
                producer.add_task("/")
            assert caught.value.added is None
            # The connection is not used again, and there is no other one.
            with pytest.raises(BrokerUnreachable) as again:
                producer.add_task("/")
            assert again.value.added is False
            broker.silent.clear()
            producer._patience = PATIENCE
            producer.add_task("/")


def test_trickle() -> None:
    """
    A broker that sends a byte now and then does not stretch the limit.
    """
    ending = threading.Event()

    def trickle(publication: Publication) -> bytes | None:
        if publication.tag == 1:
            return confirm(publication)
        for byte in b"\x08\0\0\0\0\0\0\xce" * 1_000:
            broker.send(bytes((byte,)))
            if ending.wait(0.01):
                break
        return None

    with ScriptedBroker(trickle) as broker:
        producer = BlockingProducer(broker.url, patience=PATIENCE)
        producer.add_task("/")
        producer._patience = 1.5
        with pytest.raises(ChannelLost, match=r"no confirm came within 1\.5 s"):
            producer.add_task("/")
        ending.set()
        producer.close()


def test_flood() -> None:
    """
    Nor does one that sends more than can be read.
    """
    ending = threading.Event()

    def flood(publication: Publication) -> bytes:
        if publication.tag > 1:
            while not ending.is_set():
                broker.send(HEARTBEAT_FRAME * 8_192)
        return confirm(publication)

    with ScriptedBroker(flood) as broker:
        producer = BlockingProducer(broker.url, patience=PATIENCE)
        producer.add_task("/")
        producer._patience = 0.5
        with pytest.raises(ChannelLost):
            producer.add_task("/")
        ending.set()
        producer.close()


def test_large_task_that_nobody_reads() -> None:
    """
    Of a task that could not be sent whole, it is certain that the broker does not have
    it.
    """
    with ScriptedBroker() as broker:
        producer = BlockingProducer(broker.url, patience=PATIENCE)
        producer.add_task("/")
        broker.reading.clear()
        producer._patience = 0.5
        with pytest.raises(ChannelLost, match="was not sent") as caught:
            producer.add_raw_task(bytes(2**24))
        producer.close()
    assert caught.value.added is False


def test_limit_includes_waiting() -> None:
    """
    The time counts in which all connections are in use.
    """
    entered, ending = threading.Event(), threading.Event()

    def wait(publication: Publication) -> bytes:
        entered.set()
        assert ending.wait(PATIENCE)
        return confirm(publication)

    with ScriptedBroker(wait) as broker:
        options: dict[str, Any] = {"max_connections": 1}
        with BlockingProducer(broker.url, patience=PATIENCE, **options) as producer:
            thread = threading.Thread(target=producer.add_task, args=("/",))
            thread.start()
            assert entered.wait(PATIENCE)
            producer._patience = 0.1
            with pytest.raises(BrokerUnreachable, match="1 connections") as caught:
                producer.add_task("/")
            ending.set()
            thread.join(PATIENCE)
            assert caught.value.added is False
            producer._patience = PATIENCE
            producer.add_task("/")
        assert broker.connections == 1


def test_calls_wait_for_connections() -> None:
    """
    Many threads share few connections.
    """
    with ScriptedBroker() as broker:
        with BlockingProducer(broker.url, max_connections=3) as producer:
            threads = [
                threading.Thread(target=producer.add_task, args=("/",))
                for _ in range(50)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE)
        assert len(broker.published) == 50
        assert broker.connections <= 3


# -- The caller's own limits


@contextmanager
def alarm(seconds: float, error: BaseException) -> Iterator[None]:
    """
    A signal handler raises C{error} after some time.
    """

    def interrupt(*_: object) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", [TimeoutError, KeyboardInterrupt, ValueError])
def test_alarm(kind: type[BaseException]) -> None:
    """
    What a signal handler raises is what the call raises, wherever it waits.
    """
    mine = kind("the caller's own")
    with ScriptedBroker() as broker:
        broker.silent.set()
        with BlockingProducer(broker.url, patience=PATIENCE) as producer:
            with pytest.raises(kind) as caught, alarm(0.05, mine):
                producer.add_task("/")
            assert caught.value is mine
            broker.silent.clear()
            producer.add_task("/")
            broker.silent.set()
            with pytest.raises(kind) as caught, alarm(0.05, mine):
                producer.add_task("/")
            assert caught.value is mine


#: Calls that an alarm interrupts at any moment.  A process of its own: an alarm may
#: come where Python ignores it, or before a socket has an owner.
ALARMS = """
import signal, sys
from collections import Counter
from quebert.producer import BlockingProducer

class Mine(Exception):
    pass

def interrupt(*_):
    raise Mine

signal.signal(signal.SIGALRM, interrupt)
producer = BlockingProducer(sys.argv[1])
outcomes = Counter()
for kind in (Mine, TimeoutError):
    Mine = kind
    for n in range(300):
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-6 * (n * 7 % 700 + 1))
                producer.add_task("/")
                outcome = "added"
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except Exception as e:
            outcome = type(e).__name__
        outcomes[outcome] += 1
outcomes["added"] += bool(producer.add_task("/"))
print(*sorted(outcomes))
"""


def test_many_alarms() -> None:
    """
    Whenever the alarm comes, the call ends with it, or the task is added.
    """
    with ScriptedBroker() as broker:
        ended = subprocess.run(
            [sys.executable, "-c", ALARMS, broker.url],
            stdout=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
        )
    assert ended.returncode == 0
    assert ended.stdout == "Mine TimeoutError added\n"


@pytest.mark.parametrize("silent", [False, True])
def test_exit(silent: bool) -> None:
    """
    At its end a program takes leave of the broker, and does not wait for an answer.
    """
    script = (
        "import sys\n"
        "from quebert.producer import add_task\n"
        "add_task('/', amqp_url=sys.argv[1], patience=600)\n"
        "print('added', flush=True)\n"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-W", "error", "-c", script]
    with ScriptedBroker() as broker:
        program = subprocess.Popen(
            [*command, broker.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert program.stdout is not None
        assert program.stdout.readline() == "added\n"
        if silent:
            broker.silent.set()
        said, _ = program.communicate(timeout=PATIENCE)
        assert (program.returncode, said) == (0, "")
        until(lambda: broker.farewells)


def test_signal_handler_adds() -> None:
    """
    A signal handler may add tasks while the call that it interrupts waits, even if
    there is no other connection for it.
    """
    added: list[str] = []

    def handle(*_: object) -> None:
        added.append(producer.add_task("/", uuid="handler"))

    def interrupt(publication: Publication) -> bytes:
        if publication.uuid == "interrupted":
            os.kill(os.getpid(), signal.SIGUSR1)
            until(lambda: added)
        return confirm(publication)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with ScriptedBroker(interrupt) as broker:
            producer = BlockingProducer(broker.url, max_connections=1)
            added.append(producer.add_task("/", uuid="interrupted"))
            producer.close()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert added == ["handler", "interrupted"]


# -- Answers


def test_answers() -> None:
    """
    The broker's answers, and what each says of the task.
    """
    for script, kind, added in (
        (returned, Unroutable, False),
        (refuse, PublishRefused, None),
        (closing(404, "NOT_FOUND - no exchange 'flow'"), Unroutable, False),
        (closing(403, "ACCESS_REFUSED - write access"), BrokerRefused, False),
        (closing(406, "PRECONDITION_FAILED - size"), MessageRefused, False),
        (closing(541, "INTERNAL_ERROR"), BrokerRefused, None),
    ):
        with ScriptedBroker(script) as broker:
            error = failure(broker.url)
        assert type(error) is kind
        assert error.added is added
        assert "exchange 'flow', key 'tasks.medium'" in str(error)


def test_closed_meanwhile() -> None:
    """
    A broker that has closed the connection since gets the task once, over another one.
    """
    with ScriptedBroker() as broker, BlockingProducer(broker.url) as producer:
        producer.add_task("/")
        broker.cut()
        producer.add_task("/")
        assert len(broker.published) == 2


def test_last_words() -> None:
    """
    What a broker has said before it closed the connection is heard.
    """

    class Ending:
        """
        Has something to say, and then ends.
        """

        said = [confirm(Publication(1, "", "", b"", b"")), HEARTBEAT_FRAME]

        def peek(self) -> bytes:
            """
            What has come.
            """
            if not self.said:
                raise StreamEnded
            return self.said.pop(0)

    stream: Any = Ending()
    frames = FrameStream(stream)
    said = [*frames.peek(), *frames.peek()]
    assert [kind for kind, _, _ in said] == [FRAME_METHOD, FRAME_HEARTBEAT]
    with pytest.raises(StreamEnded):
        frames.peek()


def test_malformed() -> None:
    """
    A broker that sends what is no AMQP after the login is given up.
    """
    for answer in (
        b"no frame",
        b"\1\0\1\0\0\0\4\0\x63\0\x63\xce",
        b"\1\0\1\0\0\0\0\xce",
    ):
        with ScriptedBroker(lambda _: answer) as broker:  # noqa: B023
            error = failure(broker.url)
        assert type(error) is ChannelLost
        assert error.added is None


# -- Many


class Results:
    """
    What C{add_tasks} tells.
    """

    def __init__(self) -> None:
        self.all: list[TaskResult] = []

    def __call__(self, result: TaskResult) -> None:
        self.all.append(result)

    @property
    def kinds(self) -> Counter[str]:
        """
        How often each kind of error was told, C{NoneType} for none.
        """
        return Counter(type(each.error).__name__ for each in self.all)


def items(many: int) -> Iterator[dict[str, Any]]:
    """
    So many of them.
    """
    return ({"url": "/", "params": n, "uuid": str(n)} for n in range(many))


def test_many() -> None:
    """
    All are added, over one connection that is kept, and each is told once.
    """
    results = Results()
    with ScriptedBroker() as broker, BlockingProducer(broker.url) as producer:
        assert producer.add_tasks(items(3_000), results, window=100) == 3_000
        producer.add_task("/")
        assert broker.connections == 1
    assert sorted(each.index for each in results.all) == list(range(3_000))
    assert all(each.uuid == str(each.index) and each.added for each in results.all)


def test_many_answers() -> None:
    """
    Each item has the answer to its task, and the others go on.
    """

    def script(publication: Publication) -> bytes:
        n = int(publication.uuid)
        return (confirm, returned, refuse)[n % 3](publication)

    mixed = [*items(300), {"uuid": "no url"}, None, {"url": "/", "countdown": 1}]
    results = Results()
    with ScriptedBroker(script) as broker, BlockingProducer(broker.url) as producer:
        assert producer.add_tasks(mixed, results) == 100  # type: ignore[arg-type]
    for each in results.all[:-3]:
        kind = (type(None), Unroutable, PublishRefused)[each.index % 3]
        assert isinstance(each.error, kind) or each.index >= 300
    wrong = [each for each in results.all if isinstance(each.error, BadTask)]
    assert [each.index for each in wrong] == [300, 301, 302]


def test_many_returned_bodies() -> None:
    """
    A broker that returns all does not come to a halt.
    """
    results = Results()
    large = ({"url": "/", "params": "x" * 100_000, "uuid": str(n)} for n in range(200))
    with ScriptedBroker(returned) as broker, BlockingProducer(broker.url) as producer:
        assert producer.add_tasks(large, results) == 0
    assert results.kinds == {"Unroutable": 200}


def test_many_from_a_slow_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Results are told while the source goes on, and a connection that the broker has
    closed in the meantime is made again.
    """
    monkeypatch.setattr(_blocking_many, "_LOOKING", 0.0)
    told: list[int] = []

    def source() -> Iterator[dict[str, Any]]:
        for each in items(20):
            yield each
            until(lambda: len(broker.published) > each["params"])  # noqa: B023
            told.append(len(results.all))
            if each["params"] == 10:
                broker.cut()

    results = Results()
    with ScriptedBroker() as broker, BlockingProducer(broker.url) as producer:
        producer.add_tasks(source(), results)
        assert broker.connections == 2
    assert told[9] > 0
    assert len(results.all) == 20


def test_many_with_a_loss() -> None:
    """
    Where the connection is lost, those without an answer are told, and the others are
    added over another connection.
    """

    def script(publication: Publication) -> bytes | None:
        return None if publication.uuid == "150" else confirm(publication)

    results = Results()
    with ScriptedBroker(script) as broker, BlockingProducer(broker.url) as producer:
        producer.add_tasks(items(500), results, window=10)
    lost = [each for each in results.all if not each.added]
    assert "150" in [each.uuid for each in lost]
    assert len(lost) <= 10
    assert len(results.all) == 500
    for each in lost:
        assert isinstance(each.error, ChannelLost)


def test_many_to_nobody() -> None:
    """
    Where there is no broker, that ends it.
    """
    results = Results()
    producer = BlockingProducer(f"amqp://127.0.0.1:{free_port()}")
    with pytest.raises(BrokerUnreachable):
        producer.add_tasks(items(500), results)
    assert results.kinds == {"BrokerUnreachable": 1}


def test_many_to_a_silent_broker() -> None:
    """
    A broker that does not answer in time ends it, and which tasks may be there is told.
    """
    results = Results()
    with ScriptedBroker() as broker:
        add_task("/", amqp_url=broker.url)
        broker.silent.set()
        options: dict[str, Any] = {"amqp_url": broker.url, "patience": 2.0}
        with pytest.raises(ChannelLost, match="no confirm"):
            add_tasks(items(500), results, window=10, **options)
    assert results.kinds == {"ChannelLost": 10}


def test_many_from_a_source_that_fails() -> None:
    """
    An error of the source, or of who is told, ends it, once those before are told.
    """

    def source() -> Iterator[dict[str, Any]]:
        yield from items(5)
        raise ZeroDivisionError

    results = Results()
    with ScriptedBroker() as broker, BlockingProducer(broker.url) as producer:
        with pytest.raises(ZeroDivisionError):
            producer.add_tasks(source(), results)
        assert results.kinds == {"NoneType": 5}
        with pytest.raises(ZeroDivisionError):
            producer.add_tasks(items(5), lambda result: 1 // 0)
        with pytest.raises(KeyboardInterrupt), alarm(0.05, KeyboardInterrupt()):
            producer.add_tasks(iter(lambda: {"url": "/"}, None), results)
        producer.add_task("/")
    with pytest.raises(ConfigError):
        producer.add_tasks(items(1), results, window=0)


def test_many_with_a_value_that_fails() -> None:
    """
    So it is with an error of a value in an item.
    """

    @attrs.frozen
    class Lazy:
        """
        Has no value.
        """

        value: int = 1

        def __getattribute__(self, name: str) -> Any:
            return 1 // 0 if name == "value" else super().__getattribute__(name)

    results = Results()
    with ScriptedBroker() as broker, BlockingProducer(broker.url) as producer:
        with pytest.raises(ZeroDivisionError):
            producer.add_tasks([*items(5), {"url": "/", "params": Lazy()}], results)
        assert broker.connections == 1
    assert results.kinds == {"NoneType": 5, "ZeroDivisionError": 1}


def test_large_ones_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A task that the broker may find too large has the window for itself: none beside it
    is in doubt.
    """

    def script(publication: Publication) -> bytes:
        large = len(publication.body) > 2**18
        return (closing(406, "size") if large else confirm)(publication) or b""

    def source() -> Iterator[dict[str, Any]]:
        for each in items(100):
            large = each["params"] % 20 == 10
            yield {**each, "params": "x" * 2**18 if large else 1}

    results = Results()
    with ScriptedBroker(script) as broker, BlockingProducer(broker.url) as producer:
        assert producer.add_tasks(source(), results) == 95
    assert results.kinds == {"NoneType": 95, "MessageRefused": 5}
    assert all(each.error is None or each.error.added is False for each in results.all)  # type: ignore[attr-defined]


def test_other_channel_after_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    After a refusal another connection is used, since RabbitMQ may refuse all on the
    channel; but not at once.
    """
    monkeypatch.setattr(_blocking_many, "_LASTING", 0.0)
    full = [True]

    def script(publication: Publication) -> bytes:
        return (refuse if full.pop() else confirm)(publication)

    results = Results()
    with ScriptedBroker(script) as broker, BlockingProducer(broker.url) as producer:
        full[:] = [False] * 99 + [True]
        producer.add_tasks(items(100), results, window=10)
        assert broker.connections == 2
    assert results.kinds == {"PublishRefused": 1, "NoneType": 99}


def test_not_kept_after_a_refusal() -> None:
    """
    A connection on which a task was refused is not kept for further calls.
    """
    results = Results()
    with ScriptedBroker(refuse) as broker, BlockingProducer(broker.url) as producer:
        producer.add_tasks(items(1), results)
        producer.add_tasks(items(1), results)
        assert broker.connections == 2
    assert results.kinds == {"PublishRefused": 2}


def test_deadline() -> None:
    """
    A part of the time is no later than the whole.
    """
    deadline = Deadline.after(1e9)
    assert deadline.share(1).at == pytest.approx(deadline.at)
    assert deadline.share(4).at < deadline.at
