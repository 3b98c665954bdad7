"""
Pausing and resuming queues with hundreds of tasks while something is in the way: a
limit of connections, a slow line, a kill, a broker that takes no messages.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.protocols.portforward import ProxyClient, ProxyClientFactory, ProxyServer

from quebert import operations
from quebert.amqp import TxAMQPClient, Watcher
from quebert.amqp.coordination import _pause_mark, _pause_sign, _pauses
from quebert.amqp.queues import _existing
from quebert.amqp.wire import call_in_one_write
from quebert.errors import BrokerError, ChannelLost
from quebert.operations import BrokerAccess
from quebert.test.conftest import AnyBroker, Names
from quebert.test.operating import add_user
from quebert.test.support import Program, Proxy, short_of, until
from quebert.testing import RabbitMQNode

reactor: Any = global_reactor
MakeClient = Callable[..., TxAMQPClient]

TASKS = 300
#: Tasks that run at once, in both mediators together.
AT_ONCE = 4


class Mediators:
    """
    Two mediators, in connections of their own, whose tasks take 20 milliseconds, and
    somebody who adds tasks all the while.

    @ivar done: the bodies of the tasks.
    """

    def __init__(self, make_client: MakeClient, url: str, names: Names) -> None:
        self.done: Counter[bytes] = Counter()
        self.watchers: list[Watcher] = []
        self.added: Counter[bytes] = Counter()
        self._full = False
        self._feeding: Deferred[None] = succeed(None)
        self._clients = [make_client(url) for _ in range(2)]
        self._names = names

    async def start(self) -> None:
        """
        Begin, with C{TASKS} tasks.
        """
        names = self._names
        for each in self._clients:
            watching = each.watch(
                names.exchange,
                names.queue,
                names.key,
                self._called,
                maxEvents=AT_ONCE // 2,
            )
            self.watchers.append(await watching)
        await self._add(TASKS)
        self._feeding = Deferred.fromCoroutine(self._feed())

    async def _add(self, number: int) -> None:
        first = len(self.added)
        bodies = [b"%d" % n for n in range(first, first + number)]
        self.added.update(bodies)
        queue, persistent = self._names.queue, {"delivery-mode": 2}
        await gatherResults(
            self._clients[0].publish("", queue, body, persistent) for body in bodies
        )

    async def _feed(self) -> None:
        while not self._full:
            await self._add(2)
            await deferLater(reactor, 0.05)

    def _called(self, message: Any) -> Deferred[None]:
        return deferLater(reactor, 0.02, self._end, message.body)

    def _end(self, body: bytes) -> None:
        self.done[body] += 1

    async def rest(self) -> None:
        """
        Check that nothing is done, but for what runs.
        """
        assert not any(each.consuming for each in self.watchers)
        before = self.done.total()
        await deferLater(reactor, 0.5)
        assert self.done.total() - before <= AT_ONCE

    async def finish(self) -> None:
        """
        Wait until each task is done once.
        """
        self._full = True
        await self._feeding
        await until(lambda: self.done.total() >= len(self.added))
        assert self.done == self.added


@ensureDeferred
async def test_announcement_is_lost(
    either: AnyBroker,
    make_client: MakeClient,
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    Mediators to whom nothing is said notice some seconds later, and the command waits
    for that.
    """
    # Of the time that the command waits, a busy machine needs a part.
    monkeypatch.setattr(_pauses, "CHECK", 1.0)

    async def say_nothing(*ignored: object) -> BrokerError:
        return BrokerError("it is lost")

    monkeypatch.setattr(_pause_sign, "_announce", say_nothing)
    mediators = Mediators(make_client, either.url, names)
    await mediators.start()
    asked = BrokerAccess(reactor, either.url)
    now = await operations.pause(asked, names.queue)
    assert (now.consumers, now.paused, now.problems) == (0, True, ())
    await mediators.rest()
    assert (await operations.resume(asked, names.queue)).problems == ()
    await mediators.finish()


@ensureDeferred
async def test_one_connection(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    A user who may have one connection can pause and resume.
    """
    mediators = Mediators(make_client, rabbitmq.url, names)
    await mediators.start()
    user = f"operator-of-{names.queue}"
    url = await deferToThread(add_user, rabbitmq, user)
    limits = ("set_user_limits", user, '{"max-connections": 1}')
    await deferToThread(rabbitmq.ctl, *limits)
    asked = BrokerAccess(reactor, url)
    now = await operations.pause(asked, names.queue)
    assert (now.consumers, now.paused, now.problems) == (0, True, ())
    await mediators.rest()
    assert (await operations.resume(asked, names.queue)).problems == ()
    await mediators.finish()


class SlowEnd:
    """
    An end of a L{Proxy} that passes on what it receives some time later.
    """

    seconds = 0.7

    def dataReceived(self, data: bytes) -> None:
        """
        Pass it on, later.
        """
        reactor.callLater(self.seconds, self._pass_on, data)

    def _pass_on(self, data: bytes) -> None:
        peer: Any = self.peer  # type: ignore[attr-defined]
        if peer is not None:
            peer.transport.write(data)


class SlowClient(SlowEnd, ProxyClient):
    """
    That at the broker.
    """


class SlowServer(SlowEnd, ProxyServer):
    """
    That at the client.
    """

    class clientProtocolFactory(ProxyClientFactory):  # noqa: N801
        """
        Makes the other.
        """

        noisy = False
        protocol = SlowClient


@pytest.mark.long
@ensureDeferred
async def test_slow_line(
    either: AnyBroker, make_client: MakeClient, names: Names
) -> None:
    """
    So can one whose packets take 0.7 seconds each.
    """
    mediators = Mediators(make_client, either.url, names)
    await mediators.start()
    proxy = Proxy(either.port)
    proxy.protocol = SlowServer
    asked = BrokerAccess(reactor, proxy.url)
    now = await operations.pause(asked, names.queue)
    assert (now.consumers, now.paused, now.problems) == (0, True, ())
    await mediators.rest()
    assert (await operations.resume(asked, names.queue)).problems == ()
    await mediators.finish()
    await proxy.cut()


@ensureDeferred
async def test_killed(
    either: AnyBroker,
    start: Callable[..., Program],
    make_client: MakeClient,
    names: Names,
) -> None:
    """
    A command that is killed as soon as it has done something, before it can tell
    anybody, has done it.
    """
    mediators = Mediators(make_client, either.url, names)
    await mediators.start()
    wire = await make_client(either.url).connected()

    async def kill(command: str) -> None:
        program = start(
            *("-m", "quebert", command, names.queue, f"--amqp-url={either.url}")
        )
        wanted, running = command == "pause", True
        while await _pause_sign.is_paused(wire, names.queue) is not wanted:
            assert running  # when it had ended, it had done it
            running = program.running
        program.signal(signal.SIGKILL)
        await program.ended()

    await kill("pause")
    await until(lambda: not any(each.consuming for each in mediators.watchers))
    await mediators.rest()
    await kill("resume")
    await mediators.finish()


@ensureDeferred
@pytest.mark.parametrize("done", [1, 2, 3])
async def test_half_done(
    either: AnyBroker,
    make_client: MakeClient,
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
    done: int,
) -> None:
    """
    However many of its calls RabbitMQ has done when the connection of a command ends,
    watches do as the sign says.
    """

    async def end_after_some(wire: Any, calls: Any) -> None:
        await call_in_one_write(wire, calls[:done])
        raise ChannelLost("the connection ended")

    monkeypatch.setattr(_pause_sign, "call_in_one_write", end_after_some)
    client = make_client(either.url)
    watcher = await client.watch("", names.queue, "", lambda message: None)
    wire = await make_client(either.url).connected()
    for paused in (True, False):
        with pytest.raises(ChannelLost):
            await _pause_sign.set_paused(wire, names.queue, paused)
        is_set = await _pause_sign.is_paused(wire, names.queue)
        assert is_set is (paused and done > 1)
        await until(lambda: watcher.consuming is not is_set)  # noqa: B023


@ensureDeferred
async def test_resumed_meanwhile(
    either: AnyBroker, make_client: MakeClient, names: Names
) -> None:
    """
    A pause that waits for a consumer tells that the queue has been resumed.
    """
    mediators = Mediators(make_client, either.url, names)
    await mediators.start()
    wire = await make_client(either.url).connected()
    channel = await wire.open_channel(confirms=False)
    channel.on_message = lambda message: None  # which it holds
    await channel.call("basic_qos", prefetch_count=1)
    await channel.call("basic_consume", queue=names.queue)
    asked = BrokerAccess(reactor, either.url)
    pausing = Deferred.fromCoroutine(operations.pause(asked, names.queue))
    await until(lambda: not any(each.consuming for each in mediators.watchers))
    await operations.resume(asked, names.queue)
    assert (await pausing).paused is False
    await channel.shut()
    await mediators.finish()


@ensureDeferred
async def test_short_of_memory(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    A RabbitMQ that takes no messages pauses and resumes queues.
    """
    mediators = Mediators(make_client, rabbitmq.url, names)
    await mediators.start()
    asked = BrokerAccess(reactor, rabbitmq.url)
    with short_of("memory", rabbitmq):
        now = await operations.pause(asked, names.queue)
        assert (now.consumers, now.paused, now.problems) == (0, True, ())
        await mediators.rest()
        assert (await operations.resume(asked, names.queue)).problems == ()
        await until(lambda: all(each.consuming for each in mediators.watchers))
    await mediators.finish()


@ensureDeferred
async def test_mark_is_refused(
    rabbitmq: RabbitMQNode,
    make_client: MakeClient,
    names: Names,
) -> None:
    """
    A user who may not delete the mark can pause, since mediators are told; one who may
    not tell them either is told so.
    """
    mediators = Mediators(make_client, rabbitmq.url, names)
    await mediators.start()
    for write, problems in ((r"quebert\.control", 0), ("", 1)):
        user = f"operator-{problems}-of-{names.queue}"
        allowed = (r"quebert\.paused\..*", write, ".*")
        url = await deferToThread(add_user, rabbitmq, user, allowed)
        now = await operations.pause(BrokerAccess(reactor, url), names.queue)
        assert (now.paused, len(now.problems)) == (True, problems)
        assert not now.consumers or problems
        await operations.resume(BrokerAccess(reactor, rabbitmq.url), names.queue)
        await until(lambda: all(each.consuming for each in mediators.watchers))
    await mediators.finish()


@ensureDeferred
async def test_stopped(
    either: AnyBroker, make_client: MakeClient, names: Names
) -> None:
    """
    A client that is stopped leaves no exchange behind.
    """
    client = make_client(either.url)
    await client.watch("", names.queue, "", lambda message: None)
    wire, mark = await make_client(either.url).connected(), client.pauses._mark.name
    assert await _existing.find_exchange(wire, mark) is not None
    await client.stop()
    assert await _existing.find_exchange(wire, mark) is None


@ensureDeferred
async def test_no_question_for_each_queue(
    either: AnyBroker,
    make_client: MakeClient,
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    A client with many queues asks one question every few seconds, and for each of them
    after a pause of any.
    """
    found: list[str] = []
    find = _existing.find_exchange

    async def find_and_note(wire: Any, exchange: str) -> Any:
        found.append(exchange)
        return await find(wire, exchange)

    monkeypatch.setattr(_pause_mark, "find_exchange", find_and_note)
    asked: Counter[str] = Counter()
    is_paused = _pause_sign.is_paused

    async def ask_and_note(wire: Any, queue: str) -> bool:
        asked[queue] += 1
        return await is_paused(wire, queue)

    monkeypatch.setattr(_pauses, "is_paused", ask_and_note)
    client = make_client(either.url)
    queues = [f"{names.queue}-{n}" for n in range(20)]
    for each in queues:
        await client.watch("", each, "", lambda message: None)
    found.clear()
    # Not before: a look that comes before the mark is made has all asked again.
    monkeypatch.setattr(_pauses, "CHECK", 0.1)
    await until(lambda: len(found) >= 10)
    assert len(set(found)) == 1
    assert asked == Counter(queues)
    wire = await make_client(either.url).connected()
    await _pause_sign.set_paused(wire, f"{names.queue}-other", True)
    await until(lambda: asked == Counter(queues * 2))
