"""
Users of a RabbitMQ with the permissions that C{docs/operating.rst} names, and with all
of them but one.
"""

from __future__ import annotations

import csv
import itertools
import re
import time
import uuid
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import attrs
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from quebert import operations
from quebert.amqp import TxAMQPClient, Watcher, WatchOptions
from quebert.amqp.coordination import _pause_sign, _pauses
from quebert.amqp.queues import CLASSIC, declare_queue, find_exchange, find_queue
from quebert.amqp.watch._record import SUSPECT
from quebert.amqp.wire import ENDS, FLIGHT, call_in_one_write, version_of
from quebert.created_tasks import requested
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    ChannelLost,
    MayNotLook,
    Unroutable,
)
from quebert.operations import BrokerAccess, DeadLetter, Progress
from quebert.outcome import Bury, Outcome, Retry
from quebert.task_ends import ENDED, EndNote, encode_end_note
from quebert.test.conftest import Names
from quebert.test.operating import add_user, set_permissions
from quebert.test.support import logged, until
from quebert.testing import RabbitMQNode
from quebert.web.cluster._created import CreatedTaskKeeper

MakeClient = Callable[..., TxAMQPClient]
#: Names a permission: what it is, and on what.
Permission = tuple[str, str]

KINDS = ("configure", "write", "read")
PERSISTENT = {"delivery-mode": 2}
MEDIATOR = (
    "a mediator",
    "its dead letters",
    "its pauses",
    "its delays",
    "its shared rate",
)
_numbers = itertools.count(1)


def documented() -> dict[str, set[Permission]]:
    """
    The table in C{docs/operating.rst}: which permissions each job takes.
    """
    docs = Path(__file__).parents[2] / "docs" / "operating.rst"
    lines = [line.strip() for line in docs.read_text().splitlines()]
    table = csv.reader(
        (line for line in lines if line.startswith('"')), skipinitialspace=True
    )
    return {
        job: {
            (kind, pattern)
            for kind, cell in zip(KINDS, cells, strict=True)
            for pattern in re.findall("``(.+?)``", cell)
        }
        for job, *cells in table
    }


DOCUMENTED = documented()


@attrs.define(eq=False)
class User:
    """
    A user, and the queue and exchange that are its own.

    @ivar has: its permissions.
    @ivar lacks: the permission that it would need, too, if there is one.
    """

    has: set[Permission]
    lacks: Permission | None = None
    name: str = attrs.field(factory=lambda: f"user-{next(_numbers)}-")
    url: str = ""

    @property
    def names(self) -> Names:
        """
        Its exchange and queue.
        """
        return Names(f"{self.name}flow", f"{self.name}tasks", "key")

    @property
    def resource(self) -> str:
        """
        The beginning of the name that it may not use.
        """
        assert self.lacks is not None
        return re.sub(r"\\|\.\*$", "", self._own(self.lacks[1])).rstrip(".")

    def _own(self, pattern: str) -> str:
        return re.sub(r"^(tasks|flow)", rf"{self.name}\1", pattern)

    def allowed(self, kind: str) -> str:
        """
        What it may configure, write or read: a regular expression.
        """
        patterns = (self._own(pattern) for each, pattern in self.has if each == kind)
        return f"^({'|'.join(patterns)})$"


def all_but_one(*jobs: str) -> list[User]:
    """
    A user who may do these jobs, and one for each permission that is missing.
    """
    wanted: set[Permission] = set().union(*(DOCUMENTED[job] for job in jobs))
    lacking = [User(wanted - {each}, each) for each in sorted(wanted)]
    return [User(wanted), *lacking]


def permit(node: RabbitMQNode, *users: User) -> None:
    """
    Make users, or give them their permissions.
    """
    for user in users:
        configure, write, read = map(user.allowed, KINDS)
        if user.url:
            set_permissions(node, user.name, (configure, write, read))
        else:
            user.url = add_user(node, user.name, (configure, write, read))


async def asks_to_look(client: TxAMQPClient) -> bool:
    """
    Whether this RabbitMQ wants a permission of a user who asks what there is.
    """
    return (version_of(await client.connected()) or ()) >= (4, 2, 6)


# -- Mediators

# What a mediator cannot do that lacks a permission.
STOPS_IT_AT = {
    ("configure", "tasks"): "start",
    ("configure", "flow"): "start",
    ("configure", r"quebert\.rate\..*"): "start",
    ("write", "tasks"): "start",
    ("read", "flow"): "start",
    ("read", r"quebert\.rate\..*"): "start",
    ("read", "tasks"): "consume",
    ("read", r"quebert\.paused\..*"): "look",
    ("configure", r"quebert\.control.*"): "listen",
    ("write", r"quebert\.control.*"): "listen",
    ("read", r"quebert\.control.*"): "listen",
    ("configure", r"quebert\.delay\..*"): "delay",
    ("write", r"quebert\.delay\..*"): "delay",
    ("read", r"quebert\.delay\..*"): "delay",
    ("configure", r"tasks\.dead"): "bury",
    ("write", r"amq\.default"): "publish",
}
# Which tasks it does not get done then, if it begins.
LEFT = {
    "consume": {b"at once", b"later", b"never"},
    "look": {b"at once", b"later", b"never"},
    "listen": set(),
    "delay": {b"later"},
    "bury": {b"never"},
    # The one that is refused closes the channel before the other is taken, perhaps.
    "publish": {b"later", b"never"},
}


@attrs.define(eq=False)
class Mediator:
    """
    A mediator of a user, with a task to be done at once, one to be done later, and
    one to be given up.
    """

    user: User
    lines: list[str]
    stops_at: str
    watcher: Watcher | None = None
    began: list[bytes] = attrs.field(factory=list)

    def called(self, message: Any) -> Outcome | None:
        """
        One of them.
        """
        self.began.append(message.body)
        if message.body == b"never":
            return Bury("it is the one")
        if message.body == b"later" and self.began.count(b"later") == 1:
            return Retry(after=1)
        return None

    async def start(self, client: TxAMQPClient, guest: TxAMQPClient) -> None:
        """
        Begin to watch a paused queue.
        """
        names = self.user.names
        wire = await guest.connected()
        channel = await wire.open_channel(confirms=False)
        await channel.call("queue_declare", queue=names.queue, durable=True)
        await _pause_sign.set_paused(wire, names.queue, True)
        for body in (b"at once", b"later", b"never"):
            await guest.publish("", names.queue, body, PERSISTENT)
        watching = client.watch(
            names.exchange,
            names.queue,
            names.key,
            self.called,
            options=WatchOptions(hold_up_to=0, rate="99/s"),
        )
        if self.stops_at == "start":
            with pytest.raises(BrokerRefused, match=re.escape(self.user.resource)):
                await watching
        else:
            self.watcher = await watching

    def is_told(self) -> bool:
        """
        Whether a line of the log names the user and the resource.
        """
        wanted = (self.user.resource, f"'{self.user.name}'")
        return any(all(part in line for part in wanted) for line in self.lines)

    async def goes_on(self) -> None:
        """
        Wait until nothing is left that it can do.
        """
        left = LEFT.get(self.stops_at, set())
        if self.watcher is not None and self.stops_at:
            await until(self.is_told)
        if b"at once" not in left:
            await self.has_done(left)

    @property
    def counts(self) -> Any:
        """
        What became of its tasks.
        """
        assert self.watcher is not None
        return self.watcher.counts

    async def has_done(self, left: Collection[bytes] = ()) -> None:
        """
        Wait until all but these tasks are done.

        A refusal closes the channel over which others are published, so that nobody
        knows of them, and a task may be put back twice.
        """
        done, buried = 2 - (b"later" in left), 1 - (b"never" in left)
        if self.watcher is not None:
            await until(
                lambda: self.counts.done >= done and self.counts.buried == buried,
                shown=lambda: (self.user, self.counts, self.began),
            )
            assert self.began.count(b"at once") == 1


def test_all_permissions() -> None:
    """
    It is known of each permission of a mediator what it is for.
    """
    wanted = set().union(*(DOCUMENTED[job] for job in MEDIATOR))
    assert wanted == STOPS_IT_AT.keys()


@ensureDeferred
async def test_mediators(
    own_rabbitmq: RabbitMQNode, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    With the documented permissions a mediator can do all that it is for.  With one of
    them taken away it does nothing while its queue is paused, and later what it can;
    its log names the missing one, and it goes on by itself when it is given it.
    """
    monkeypatch.setattr(_pauses, "AGAIN", 0.5)
    users = all_but_one(*MEDIATOR)
    await deferToThread(permit, own_rabbitmq, *users)
    guest = make_client(own_rabbitmq.url)
    looking = await asks_to_look(guest)
    with logged() as lines:
        mediators = []
        for user in users:
            stops_at = STOPS_IT_AT[user.lacks] if user.lacks else ""
            if stops_at == "look" and not looking:
                stops_at = ""
            mediators.append(Mediator(user, lines, stops_at))
        await gatherResults(
            Deferred.fromCoroutine(each.start(make_client(each.user.url), guest))
            for each in mediators
        )
        await deferLater(reactor, 1.0)  # time enough for what must not happen
        assert [each.began for each in mediators] == [[]] * len(mediators)
        wire = await guest.connected()
        for each in mediators:
            await _pause_sign.set_paused(wire, each.user.names.queue, False)
        await gatherResults(
            Deferred.fromCoroutine(each.goes_on()) for each in mediators
        )
        for user in users:
            user.has = users[0].has
        await deferToThread(permit, own_rabbitmq, *users)
        await gatherResults(
            Deferred.fromCoroutine(each.has_done()) for each in mediators
        )


# -- Suspects


class Suspicious:
    """
    A mediator of a user.
    """

    def __init__(self, user: User, client: TxAMQPClient) -> None:
        self.user = user
        self.began: list[bytes] = []
        self._client = client

    def called(self, message: Any) -> Deferred[None] | None:
        """
        Attempt a message.
        """
        self.began.append(message.body)
        return Deferred() if message.body == b"hangs" else None

    async def does_all(self, guest: TxAMQPClient) -> None:
        """
        Attempt a suspect, and what was given back; then stop with a task in flight.
        """
        names, channel = self.user.names, await (await guest.connected()).open_channel()
        await channel.call("queue_declare", queue=names.queue, durable=True)
        await guest.publish("", names.queue, b"again", PERSISTENT)
        message = await channel.get(names.queue)
        assert message is not None
        channel.give_back(message.delivery_tag)
        headers = {ENDS: SUSPECT, FLIGHT: uuid.uuid4().hex}
        await guest.publish(
            "", names.queue, b"suspect", {**PERSISTENT, "headers": headers}
        )
        watcher = await self._client.watch(
            names.exchange, names.queue, names.key, self.called
        )
        await until(lambda: {b"again", b"suspect"} <= set(self.began))
        await guest.publish("", names.queue, b"hangs", PERSISTENT)
        await until(lambda: b"hangs" in self.began)
        await watcher.stop(grace=0)


@ensureDeferred
async def test_suspects(rabbitmq: RabbitMQNode, make_client: MakeClient) -> None:
    """
    A mediator that may not declare the queues for its suspects does its tasks all the
    same, and its log names the permission.
    """
    wanted = set().union(*(DOCUMENTED[job] for job in (*MEDIATOR, "its suspects")))
    lacking = [User(wanted - {each}, each) for each in DOCUMENTED["its suspects"]]
    users = [User(wanted), *lacking]
    await deferToThread(permit, rabbitmq, *users)
    guest = make_client(rabbitmq.url)
    with logged() as lines:
        for user in users:
            await Suspicious(user, make_client(user.url)).does_all(guest)
    told = [line for line in lines if "RabbitMQ does not let this mediator" in line]
    assert not any(f"'{users[0].name}'" in line for line in told), told
    for user in lacking:
        assert any(
            f"'{user.name}'" in line and user.resource in line for line in told
        ), told


@ensureDeferred
async def test_producer(rabbitmq: RabbitMQNode, make_client: MakeClient) -> None:
    """
    A producer needs to write to the exchange, and nothing else.
    """
    users = all_but_one("a producer")
    permit(rabbitmq, *users)
    wire = await make_client(rabbitmq.url).connected()
    channel = await wire.open_channel(confirms=False)
    for user in users:
        exchange = user.names.exchange
        await channel.call(
            "exchange_declare", exchange=exchange, exchange_type="topic", durable=True
        )
        with pytest.raises(ChannelLost if user.lacks else Unroutable, match=exchange):
            await make_client(user.url).publish(exchange, "key", b"task")


# -- Operators


async def bury(client: TxAMQPClient, *queues: str) -> None:
    """
    Have two tasks wait and two be dead of each queue.
    """
    wire = await client.connected()
    channel = await wire.open_channel(confirms=False)
    for queue in itertools.chain(*((queue, f"{queue}.dead") for queue in queues)):
        await channel.call("queue_declare", queue=queue, durable=True)
        for _ in range(2):
            await client.publish("", queue, b"{}", PERSISTENT)


@ensureDeferred
async def test_pause_and_resume(
    rabbitmq: RabbitMQNode, make_client: MakeClient
) -> None:
    """
    Who may pause and resume, but cannot tell the mediators, or see how they are, is
    told so; who may not pause does not.
    """
    users = all_but_one("``pause``, ``resume``")
    permit(rabbitmq, *users)
    client = make_client(rabbitmq.url)
    looking = await asks_to_look(client)
    guest = BrokerAccess(reactor, rabbitmq.url)
    for user in users:
        queue, asked = user.names.queue, BrokerAccess(reactor, user.url)
        await bury(client, queue)
        watcher = await client.watch("", queue, "", lambda _: Deferred(), maxEvents=1)
        steps = ((operations.pause, True), (operations.resume, False))
        for act, paused in steps:
            if user.lacks and user.resource.startswith("quebert.paused"):
                with pytest.raises(BrokerRefused, match=re.escape(user.resource)):
                    await act(asked, queue)
                assert not watcher.paused
                continue
            now = await act(asked, queue)
            assert (await operations.status(guest, queue)).paused is paused
            # Of the two ways to tell mediators, one is enough.
            may_tell = user.lacks is None or user.lacks[0] != "read"
            if may_tell or not looking:
                assert (now.ready, now.paused, now.problems) == (1, True, ())
            else:
                (problem,) = now.problems
                assert user.resource in problem
                assert now.ready is None
        await watcher.stop(0)


@ensureDeferred
async def test_looking(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    Any of the three permissions lets a user see what there is; a user that has none is
    told which RabbitMQ wants, where it wants any.
    """
    nothing, name = "^$", names.queue
    looking = await asks_to_look(make_client(rabbitmq.url))
    for given in (None, *range(3)):
        patterns = tuple(".*" if n == given else nothing for n in range(3))
        user = f"looks-with-{given}-{name}"
        wire = await make_client(add_user(rabbitmq, user, patterns)).connected()
        for find in (find_queue, find_exchange):
            if looking and given is None:
                with pytest.raises(MayNotLook, match="to configure, write or read"):
                    await find(wire, name)
            else:
                assert await find(wire, name) is None


@ensureDeferred
async def test_status(rabbitmq: RabbitMQNode, make_client: MakeClient) -> None:
    """
    What the user may not see is unknown, and not "no".
    """
    users = all_but_one("``status``")
    permit(rabbitmq, *users)
    client = make_client(rabbitmq.url)
    await bury(client, *(user.names.queue for user in users))
    looking = await asks_to_look(client)
    for user in users:
        now = await operations.status(BrokerAccess(reactor, user.url), user.names.queue)
        known = {"ready": 2, "consumers": 0, "dead": 2, "paused": False}
        if user.lacks is not None and looking:
            for name in HIDDEN[user.lacks[1]]:
                known[name] = None  # type: ignore[assignment]
            needed = "the user needs to configure, write or read"
            assert all(needed in problem for problem in now.problems)
            assert any(user.resource in problem for problem in now.problems)
            # The ladder has several queues, and each of them is missed.
            assert len(now.problems) == 1 or "delay" in user.lacks[1]
        else:
            assert now.problems == ()
        assert {name: getattr(now, name) for name in known} == known


HIDDEN = {
    "tasks": ("ready", "consumers"),
    r"tasks\.dead": ("dead",),
    r"quebert\.paused\..*": ("paused",),
    r"quebert\.delay\..*": (),
}


@ensureDeferred
async def test_purge(rabbitmq: RabbitMQNode, make_client: MakeClient) -> None:
    """
    Who may not read a queue may not purge it.
    """
    permitted, lacking = users = all_but_one("``purge``")
    permit(rabbitmq, *users)
    await bury(make_client(rabbitmq.url), *(user.names.queue for user in users))
    asked = BrokerAccess(reactor, permitted.url)
    progress = Progress()
    assert await operations.purge(asked, permitted.names.queue, progress, None)
    assert progress.done == 2
    queue = lacking.names.queue
    with pytest.raises(BrokerRefused, match=queue):
        await operations.purge(
            BrokerAccess(reactor, lacking.url), queue, Progress(), None
        )
    now = await operations.status(BrokerAccess(reactor, rabbitmq.url), queue)
    assert now.ready == 2


@ensureDeferred
async def test_dead_letters(rabbitmq: RabbitMQNode, make_client: MakeClient) -> None:
    """
    Who may read dead letters may list, show and discard them; who may publish, too,
    may redrive them; nothing is moved or dropped by anybody else.
    """
    reader, nobody = all_but_one("``dead list``, ``show``, ``discard``")
    redriver, *others = all_but_one("``dead redrive``")
    users = (reader, nobody, redriver, *others)
    permit(rabbitmq, *users)
    await bury(make_client(rabbitmq.url), *(user.names.queue for user in users))

    async def look(user: User) -> None:
        asked, queue = BrokerAccess(reactor, user.url), user.names.queue
        seen: list[DeadLetter] = []
        await operations.browse(asked, queue, [], seen.append)
        assert len(seen) == 2
        assert await operations.find(asked, queue, [], Progress())

    async def discard(user: User) -> None:
        asked, queue = BrokerAccess(reactor, user.url), user.names.queue
        assert await operations.discard(asked, queue, [], Progress(), None)

    async def redrive(user: User) -> None:
        asked, queue = BrokerAccess(reactor, user.url), user.names.queue
        await operations.redrive(asked, queue, [], Progress())

    guest = BrokerAccess(reactor, rabbitmq.url)

    async def depths(user: User) -> tuple[int | None, int | None]:
        now = await operations.status(guest, user.names.queue)
        return now.ready, now.dead

    await look(reader)
    await discard(reader)
    assert await depths(reader) == (2, 0)
    await redrive(redriver)
    assert await depths(redriver) == (4, 0)
    refused = [(nobody, look), (nobody, discard), *((each, redrive) for each in others)]
    for user, act in refused:
        with pytest.raises(BrokerError, match=re.escape(user.resource)):
            await act(user)
        assert await depths(user) == (2, 2)


@ensureDeferred
async def test_cancel(rabbitmq: RabbitMQNode, make_client: MakeClient) -> None:
    """
    The permissions in the table are enough to cancel a task and to have one run now;
    without one of them it is not said that a task is cancelled that is not.
    """
    users = all_but_one("``cancel``, ``run-now``")
    permit(rabbitmq, *users)
    guest = make_client(rabbitmq.url)
    for user in users:
        queue, access = user.names.queue, BrokerAccess(reactor, user.url)
        watching = guest.watch("", queue, "", lambda message: Retry(after=600))
        watcher: Watcher = await watching
        for uuid_ in ("a", "b"):
            body = b'{"url": "/", "uuid": "%s"}' % uuid_.encode()
            await guest.publish("", queue, body, PERSISTENT)
        await until(lambda: watcher.counts.retried == 2)  # noqa: B023
        await watcher.stop()
        try:
            told = await operations.cancel(access, queue, "a")
            ran = await operations.run_now(access, queue, "b")
        except BrokerError:
            assert user.lacks is not None
            continue
        if user.lacks is None:
            assert (told.result, ran.result) == ("cancelled", "running"), (told, ran)
        now = await operations.status(BrokerAccess(reactor, rabbitmq.url), queue)
        assert (now.ready or 0) == (ran.result == "running"), (user, told, ran)


@ensureDeferred
async def test_created_tasks(
    rabbitmq: RabbitMQNode, make_client: MakeClient, tmp_path: Path
) -> None:
    """
    The permissions in the table are enough to create tasks over HTTP, and to read their
    ends; without one of them, a problem names it.
    """
    users = all_but_one("tasks created `over HTTP <web.rst#adding-tasks-over-http>`_")
    permit(rabbitmq, *users)
    guest = make_client(rabbitmq.url)
    for user in users:
        queue, access = user.names.queue, BrokerAccess(reactor, user.url)
        wire = await guest.connected()
        await declare_queue(wire, queue, CLASSIC)
        await call_in_one_write(wire, [("queue_delete", {"queue": ENDED})])
        where = str(tmp_path / f"{user.name}.sqlite")
        keeper = await CreatedTaskKeeper.open(access, where, time.time)
        keeper.start()
        task = requested(time.time(), queue, "http://localhost/", name="n")
        [result] = await keeper.tasks.create([task])
        if isinstance(result, BrokerError):
            assert user.resource in str(result)
        elif user.lacks is None:
            await until(lambda: not keeper.problems)  # noqa: B023
            note = EndNote(uuid=task.uuid, queue=queue, outcome="done", ended=1.0)
            await guest.publish("", ENDED, encode_end_note(note), PERSISTENT)
            while (await keeper.tasks.find(task.uuid)).end is None:
                await deferLater(reactor, 0.05)
        else:
            await until(lambda: user.resource in str(keeper.problems))  # noqa: B023
        await keeper.stop()
