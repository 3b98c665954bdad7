"""
Adding tasks from blocking code that is interrupted: by Ctrl-C, by a signal handler
that raises, by a C{gevent.Timeout}.

The calls are interrupted before and after each call of a built-in function, such as
those that wait for a socket, and the steps of the pool of connections.  Python reports
these to C{sys.setprofile}; what the profile function raises is raised there, as if a
signal handler had raised it.
"""

from __future__ import annotations

import gc
import itertools
import os
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred

from quebert import producer
from quebert.amqp import TxAMQPClient
from quebert.amqp.wire import Wire
from quebert.errors import ChannelLost, Unroutable
from quebert.producer import BlockingProducer, Producer
from quebert.test.conftest import AnyBroker, Names
from quebert.test.support import until
from quebert.test.test_producer_broker import uuids

# Python closes the sockets of an interrupted connection when it collects them.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

FOLDER = os.path.dirname(producer.__file__) + os.sep


class Interruption(BaseException):
    """
    Stands for C{KeyboardInterrupt} and C{gevent.Timeout}.
    """


def interrupted(
    n: int, interrupt: Callable[[], object], call: Callable[[], object]
) -> bool:
    """
    Call C{call}, and C{interrupt} at the C{n}-th of those points.

    @return: whether C{call} came to that point.
    """
    left = n

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal left
        if event in ("c_call", "c_return") and frame.f_code.co_filename.startswith(
            FOLDER
        ):
            left -= 1
            if not left:
                sys.setprofile(None)
                interrupt()

    sys.setprofile(profile)
    try:
        call()
    except (Exception, Interruption):
        assert left <= 0
    finally:
        sys.setprofile(None)
    return left <= 0


class Caller:
    """
    Adds tasks to a queue that takes those of the kind C{tasks} alone.

    @ivar added: the uuids that C{add_task} has returned.
    """

    def __init__(self, url: str, exchange: str) -> None:
        self.producer = BlockingProducer(url, exchange)
        self.added: Counter[str] = Counter()

    @property
    def free_slots(self) -> int:
        """
        For how many connections there is room.
        """
        slots = self.producer._publisher._pool._slots
        return len(slots._connected) + len(slots._empty)

    def add(self, uuid: str) -> None:
        """
        Add a task.
        """
        self.added[self.producer.add_task("/", uuid=uuid)] += 1

    def add_to_no_queue(self) -> None:
        """
        Add a task that no queue takes, and be told.
        """
        with pytest.raises(Unroutable):
            self.producer.add_task("/", kind="unknown")


def add_first(caller: Caller) -> Callable[[], object]:
    """
    The first task, which needs a connection.
    """
    return lambda: caller.add("interrupted")


def add_second(caller: Caller) -> Callable[[], object]:
    """
    The second task, for which there is one.
    """
    caller.add("before")
    return lambda: caller.add("interrupted")


def add_unroutable(caller: Caller) -> Callable[[], object]:
    """
    A task that no queue takes.
    """
    caller.add("before")
    return caller.add_to_no_queue


def close(caller: Caller) -> Callable[[], object]:
    """
    The end.
    """
    caller.add("before")
    return caller.producer.close


CALLS = [add_first, add_second, add_unroutable, close]


def raising(kind: type[BaseException]) -> Callable[[Caller], None]:
    """
    A signal handler that raises.
    """

    def interrupt(caller: Caller) -> None:
        raise kind("a signal handler")

    return interrupt


def adding(caller: Caller) -> None:
    """
    A signal handler that adds tasks.
    """
    caller.add("by the handler")
    caller.add_to_no_queue()


class Broker:
    """
    The broker, with the callers that are interrupted.
    """

    def __init__(self, broker: AnyBroker, names: Names, channel: Any) -> None:
        self.url = broker.url
        self.names = names
        self.channel = channel
        channel.exchange_declare(names.exchange, "topic", durable=True)
        channel.queue_declare(names.queue, durable=True)
        channel.queue_bind(names.queue, names.exchange, "tasks.*")

    def interrupt(
        self,
        call: Callable[[Caller], Callable[[], object]],
        interrupt: Callable[[Caller], None],
    ) -> list[tuple[Counter[str], Counter[str]]]:
        """
        Interrupt C{call} at each point in turn.  After each, a task that no queue
        takes must be told, and another is added.

        @return: how often each task was added, and was in the queue.
        """
        outcomes: list[tuple[Counter[str], Counter[str]]] = []
        reached = True
        # The end of an earlier producer must not be what is interrupted.
        gc.disable()
        try:
            while reached:
                caller = Caller(self.url, self.names.exchange)
                n = len(outcomes) + 1
                reached = interrupted(n, lambda: interrupt(caller), call(caller))  # noqa: B023
                caller.add_to_no_queue()
                caller.add("after")
                caller.producer.close()
                assert caller.free_slots == 16
                outcomes.append((caller.added, uuids(self.channel, self.names.queue)))
        finally:
            gc.enable()
        return outcomes


@pytest.fixture
def calls(broker: AnyBroker, names: Names, pika_channel: Any) -> Broker:
    """
    A broker with an exchange and a queue.
    """
    return Broker(broker, names, pika_channel)


def descriptors() -> int:
    """
    How many files and sockets this process has open.
    """
    return len(os.listdir("/dev/fd"))


@pytest.mark.parametrize("call", CALLS)
@ensureDeferred
async def test_interrupted(
    calls: Broker, call: Callable[[Caller], Callable[[], object]]
) -> None:
    """
    C{add_task} never returns a uuid of a task that no queue took, wherever an
    earlier call was interrupted, and no socket is left.
    """
    before = descriptors()
    outcomes = calls.interrupt(call, raising(Interruption))
    assert len(outcomes) > 10
    for added, found in outcomes:
        assert not added - found
        assert added["after"] == 1
    gc.collect()
    await until(lambda: descriptors() <= before)


@pytest.mark.parametrize(
    "kind", [TimeoutError, Unroutable, ChannelLost, RecursionError]
)
def test_interrupted_by_a_common_error(calls: Broker, kind: type[Exception]) -> None:
    """
    The same goes for errors that a socket, or a broker's answer, may raise as well: a
    signal handler that adds tasks has the same errors.
    """
    for call in (add_second, add_unroutable):
        for added, found in calls.interrupt(call, raising(kind)):
            assert not added - found
            assert added["after"] == 1
    gc.collect()


@pytest.mark.parametrize("call", CALLS)
def test_reentered(
    calls: Broker, call: Callable[[Caller], Callable[[], object]]
) -> None:
    """
    A signal handler may add tasks within a call: both are added, once each.
    """
    outcomes = calls.interrupt(call, adding)
    for added, found in outcomes:
        assert added == found
    assert all(added["by the handler"] for added, _ in outcomes[:-1])


@pytest.mark.parametrize("alone", [True, False])
@ensureDeferred
async def test_cancelled(
    calls: Broker,
    make_client: Callable[..., TxAMQPClient],
    monkeypatch: pytest.MonkeyPatch,
    alone: bool,
) -> None:
    """
    A Deferred of L{Producer} may be cancelled before and after anything that comes
    from the broker: no other task is disturbed, and no channel is left.
    """
    received = Wire.dataReceived
    left = 0
    adding: Deferred[str] = Deferred()

    def step() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            adding.cancel()

    def data_received(wire: Wire, data: bytes) -> None:
        step()
        received(wire, data)
        step()

    monkeypatch.setattr(Wire, "dataReceived", data_received)
    for n in itertools.count():
        client = make_client(calls.url)
        producer = Producer(client, calls.names.exchange)
        left = n
        adding = producer.add_task("/", uuid="cancelled")
        others = [] if alone else [producer.add_task("/", uuid="another")]
        if not n:
            adding.cancel()
        with suppress(CancelledError):
            await adding
        cancelled, left = left <= 0, 0
        for each in others:
            await each
        with pytest.raises(Unroutable):
            await producer.add_task("/", kind="unknown")
        await producer.add_task("/", uuid="after")
        found = uuids(calls.channel, calls.names.queue)
        assert found["after"] == 1
        assert found["another"] == len(others)
        wire = await client._publishing.connected()
        await until(lambda: len(wire.channels) == 2)  # noqa: B023
        await client.stop(grace=0)
        if not cancelled:
            break
    assert n > 6
