"""
C{quebert doctor} on a real RabbitMQ: all green where all is sound, and each prepared
fault named, with what to do.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pika
import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from quebert._protocol.extensions import QUEUE_TYPE
from quebert.amqp import TxAMQPClient
from quebert.amqp.delays import (
    ARRIVALS,
    UNCLAIMED,
    WAITS,
    Ladder,
    Rungs,
    arrivals_of,
)
from quebert.amqp.queues import QUORUM, declared, depth
from quebert.amqp.wire import Channel, call_in_one_write, version_of
from quebert.config import (
    Broker,
    CloudTasksAPI,
    ClusterWeb,
    LeaseSettings,
    MadeQueues,
    QueueSettings,
    Settings,
)
from quebert.doctor import Finding, Level, examine
from quebert.doctor._broker import check_broker_clock, check_confirm_timeout
from quebert.doctor._dead import check_dead_policies
from quebert.doctor._delays import check_delays
from quebert.doctor._permissions import check_permissions
from quebert.doctor._queues import check_queue
from quebert.doctor._subject import PROBE, Subject
from quebert.doctor._urls import check_urls
from quebert.doctor._web_queues import check_web_queue, web_queues
from quebert.guard import Guard
from quebert.limits import Rate
from quebert.operations import BrokerAccess, pause
from quebert.test.conftest import Names
from quebert.test.contract.patience import until
from quebert.test.operating import add_user, add_vhost
from quebert.test.support import Executor, Program, short_of
from quebert.testing import RabbitMQNode, free_port

pytestmark = pytest.mark.long

_numbers = itertools.count(1)
#: Changes settings to those that quebert web does not have.
NO_WEB: dict[str, Any] = {"leases": None, "cluster_web": ClusterWeb()}


@pytest.fixture(scope="module")
def vhosts(rabbitmq: RabbitMQNode) -> Iterator[str]:
    """
    Virtual hosts of RabbitMQ, each for one test.
    """
    names = [f"doctor-{next(_numbers)}" for _ in range(18)]
    for name in names:
        add_vhost(rabbitmq, name)
    return iter(names)


@pytest_twisted.async_yield_fixture
async def make_subject(
    rabbitmq: RabbitMQNode, make_client: Callable[..., TxAMQPClient]
) -> AsyncIterator[Any]:
    """
    Makes what the checks are given.
    """

    async def make(
        vhost: str = "", user: str = "guest:guest", **settings: Any
    ) -> Subject:
        url = rabbitmq.url.replace("guest:guest", user) + vhost
        client = make_client(url)
        given = Settings(broker=client.broker, **settings)
        return Subject(client, await client.connected(), given)

    yield make


def told(found: list[Finding], level: Level, *texts: str) -> Finding:
    """
    The one finding that has these texts; there must be a remedy.
    """
    having = [each for each in found if all(t in each.text for t in texts)]
    assert len(having) == 1, found
    assert having[0].level is level, having[0]
    assert having[0].remedy, having[0]
    return having[0]


@contextmanager
def pika_channel(rabbitmq: RabbitMQNode, vhost: str = "%2f") -> Iterator[Any]:
    """
    A channel of another client.
    """
    parameters = pika.URLParameters(rabbitmq.url + vhost)
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel


async def make_ladder(subject: Subject) -> None:
    """
    Have all of the ladder be there, as mediators make it.
    """
    rungs = Ladder(quorum=subject.quorum_delays).rungs_of(subject.wire)
    await call_in_one_write(subject.wire, rungs.exits())
    for wait in WAITS:
        await call_in_one_write(subject.wire, rungs.rung(wait))


def check_nothing_left(rabbitmq: RabbitMQNode, vhost: str) -> None:
    """
    The doctor has left nothing in RabbitMQ: no probes that wait, no queues for them.
    RabbitMQ 4 counts the messages of quorum queues every few seconds.
    """
    left: list[str] = []

    def nothing() -> bool:
        depths = rabbitmq.depths(vhost)
        left[:] = [name for name, count in depths.items() if count or PROBE in name]
        return not left

    until(nothing, lambda: f"nothing is left of {left}")


# -- What is sound


@pytest.mark.parametrize("quorum", [True, False])
@ensureDeferred
async def test_sound(
    rabbitmq: RabbitMQNode,
    vhosts: Iterator[str],
    make_subject: Any,
    executor: Executor,
    start: Callable[..., Program],
    tmp_path: Path,
    quorum: bool,
) -> None:
    """
    Where all is sound, all is green, and nothing is left behind.  What AMQP does not
    tell is told to be unknown, and does not count.
    """
    vhost = next(vhosts)
    subject = await make_subject(vhost, quorum_delays=quorum)
    await make_ladder(subject)
    await subject.client.watch("flow", "tasks", "#", print)
    file = tmp_path / "sound.toml"
    kind = str(quorum).lower()
    url = f"amqp://127.0.0.1:{rabbitmq.port}/{vhost}"
    file.write_text(
        f'[broker]\nurl = "{url}"\nquorum_delays = {kind}\n'
        f'[queues.tasks]\nkey = "#"\ndefault_url = "{executor.url}"\nrate = "5/s"\n'
    )
    program = start("-m", "quebert", "doctor", str(file), "--json")
    status = await program.ended()
    findings = json.loads(program.output)["findings"]
    assert status == 0, findings
    assert {each["level"] for each in findings} == {"ok", "unknown"}
    [unknown] = [each for each in findings if each["level"] == "unknown"]
    assert unknown["about"] == "policies"
    assert f"{len(WAITS)} of them passed a probe" in program.output
    check_nothing_left(rabbitmq, vhost)


@ensureDeferred
async def test_embedded(broker: Any, executor: Executor) -> None:
    """
    Where nothing was ever done, and on the embedded broker, all is green, too.
    """
    queue = QueueSettings(name="never-watched", key="#", default_url=executor.url)
    settings = Settings(broker=Broker.from_url(broker.url), queues={"q": queue})
    found = await examine(reactor, settings.broker, settings)
    assert {each.level for each in found} <= {Level.OK, Level.UNKNOWN}, found


# -- No connection


@ensureDeferred
async def test_wrong_password(rabbitmq: RabbitMQNode) -> None:
    """
    A wrong password is named, and no password is told.
    """
    url = rabbitmq.url.replace("guest:guest", "guest:s3cret")
    found = await examine(reactor, Broker.from_url(url))
    finding = told(found, Level.FAIL, "ACCESS_REFUSED")
    assert "change_password guest" in finding.remedy
    assert "s3cret" not in str(found)


@ensureDeferred
async def test_unknown_vhost(rabbitmq: RabbitMQNode) -> None:
    """
    So is a virtual host that is not there.
    """
    found = await examine(reactor, Broker.from_url(f"{rabbitmq.url}nowhere"))
    finding = told(found, Level.FAIL, "vhost nowhere not found")
    assert "add_vhost nowhere" in finding.remedy


@ensureDeferred
async def test_no_broker() -> None:
    """
    So is a broker that does not answer.
    """
    broker = Broker.from_url(f"amqp://127.0.0.1:{free_port()}")
    found = await examine(reactor, broker, patience=0.5)
    told(found, Level.FAIL, "was not reached")


# -- The broker


@pytest.mark.parametrize("resource", ["memory", "disk"])
@ensureDeferred
async def test_alarm(rabbitmq: RabbitMQNode, make_subject: Any, resource: str) -> None:
    """
    RabbitMQ is short of memory, or of disk: that is named, and no probe is waited for.
    """
    broker = Broker.from_url(rabbitmq.url)
    queue = QueueSettings(name=f"short-of-{resource}", exchange="")
    settings = Settings(broker=broker, queues={queue.name: queue})
    with short_of(resource, rabbitmq):
        found = await examine(reactor, broker, settings, patience=1.0)
    told(found, Level.FAIL, "takes no messages", resource)
    others = [each.about for each in found if each.level is not Level.OK]
    assert [each for each in others if "URL" not in each] == ["alarms", "policies"]


@ensureDeferred
async def test_confirm_timeout(rabbitmq: RabbitMQNode, make_subject: Any) -> None:
    """
    RabbitMQ's default is named, and how to set what docs/watching.rst advises.
    """
    subject = await make_subject()
    [finding] = await check_confirm_timeout(subject)
    assert finding.level is Level.OK, finding
    setting = "rabbit, dead_letter_worker_publisher_confirm_timeout"
    rabbitmq.eval(f"application:set_env({setting}, 180000)")
    try:
        found = await check_confirm_timeout(subject)
    finally:
        rabbitmq.eval(f"application:set_env({setting}, 2000)")
    finding = told(found, Level.WARN, "longer than 10 s")
    assert "advanced.config" in finding.remedy


# -- Permissions


@pytest.mark.parametrize("verb", ["configure", "write", "read"])
@ensureDeferred
async def test_permission(
    rabbitmq: RabbitMQNode, make_subject: Any, names: Names, verb: str
) -> None:
    """
    Each permission that is taken away is named, with the command that gives it.
    """
    queue = QueueSettings(
        name=names.queue, exchange=names.exchange, rate=Rate.parse("5/s")
    )
    verbs = ("configure", "write", "read")
    user = f"without-{verb}"
    patterns = tuple("^$" if each == verb else ".*" for each in verbs)
    add_user(rabbitmq, user, patterns)
    subject = await make_subject(user=f"{user}:secret", queues={queue.name: queue})
    found = await check_permissions(subject)
    for each in found:
        told([each], Level.FAIL, f"user {user} may not ", verb)
        assert f"set_permissions -p / {user}" in each.remedy
    for name in (names.queue, "quebert.delay.quorum.wait.1s"):
        told(found, Level.FAIL, f"may not {verb} queue {name},")
    for sign in ("flight", "in-order"):
        if verb == "configure":
            told(found, Level.FAIL, f"may not configure queue quebert.{sign}.")
    for name in (UNCLAIMED, arrivals_of(names.queue)):
        told(found, Level.FAIL, f"may not {verb} queue {name},")
    exchanges = ["quebert.control", "quebert.delay.quorum.wait.1s"]
    exchanges += [ARRIVALS, UNCLAIMED]
    exchanges.append("amq.default" if verb == "write" else names.exchange)
    for name in exchanges:
        told(found, Level.FAIL, f"may not {verb} exchange {name},")


@ensureDeferred
async def test_may_not_look(
    rabbitmq: RabbitMQNode, make_subject: Any, names: Names
) -> None:
    """
    What the doctor may not look at is unknown, never fine.
    """
    with pika_channel(rabbitmq) as channel:
        channel.queue_declare(names.queue, durable=True)
    user = "who-may-nothing"
    queue = QueueSettings(name=names.queue)
    broker = Broker.from_url(add_user(rabbitmq, user, ("^$", "^$", "^$")))
    settings = Settings(broker=broker, queues={names.queue: queue})
    found = await examine(reactor, broker, settings)
    by = {each.about: each.level for each in found}
    for about in (f"queue {names.queue}", "clock", "policies"):
        assert by[about] is Level.UNKNOWN, found
    assert by["permissions"] is Level.FAIL


@ensureDeferred
async def test_permitted(
    rabbitmq: RabbitMQNode, make_subject: Any, names: Names, executor: Executor
) -> None:
    """
    With the permissions of a mediator that docs/operating.rst names, and those for its
    probes, the doctor finds out all.
    """
    watching = await make_subject()
    await watching.client.watch(names.exchange, names.queue, names.key, print)
    await make_ladder(watching)
    queue, exchange = names.queue, names.exchange
    all_ = r"quebert\.(control.*|delay\..*|doctor\..*|cancel(led|ling)\..*|ended)"
    suspects = r"quebert\.flight\..*|quebert\.in-order\..*"
    rate = r"quebert\.rate\..*"
    user = "mediator-and-doctor"
    patterns = (
        rf"^({queue}|{exchange}|{queue}\.dead|{rate}|{suspects}|{all_})$",
        rf"^({queue}|amq\.default|{all_})$",
        rf"^({queue}|{exchange}|quebert\.paused\..*|{rate}|{all_})$",
    )
    broker = Broker.from_url(add_user(rabbitmq, user, patterns))
    url = executor.url
    given = QueueSettings(
        name=queue, exchange=exchange, default_url=url, rate=Rate.parse("5/s")
    )
    settings = Settings(broker=broker, queues={queue: given})
    found = await examine(reactor, broker, settings)
    others = [each.about for each in found if each.level is not Level.OK]
    assert others == ["policies"], found


def with_web(**more: Any) -> dict[str, Any]:
    """
    Settings that C{quebert web} has, too, with leases and the API of Cloud Tasks.
    """
    leases = LeaseSettings("http://localhost:8080", "secrets", (b"s" * 24,))
    web = ClusterWeb(leases=leases, cloud_tasks=CloudTasksAPI())
    return {"leases": leases, "cluster_web": web, **more}


@ensureDeferred
async def test_web_permissions(rabbitmq: RabbitMQNode, make_subject: Any) -> None:
    """
    The permissions on the queues between mediators and quebert web are named where
    these are used, and which of the two needs them.
    """
    user = "without-web"
    others = r"^(?!quebert\.(ended|leases|queues)).*$"
    add_user(rabbitmq, user, (others, ".*", others))
    subject = await make_subject(
        user=f"{user}:secret", **with_web(made_queues=MadeQueues(serve=("*",)))
    )
    found = await check_permissions(subject)
    mediators = "configure queue quebert.ended", "configure queue quebert.leases"
    for each in (*mediators, "read queue quebert.queues"):
        told(found, Level.FAIL, f"may not {each}, as mediators do")
    for each in ("read queue quebert.ended", "read queue quebert.leases"):
        finding = told(found, Level.WARN, f"may not {each}, as quebert web does")
        assert "rabbitmqctl set_permissions" in finding.remedy
    told(found, Level.WARN, "may not configure queue quebert.queues, as quebert web")
    told(found, Level.FAIL, "may not configure queue quebert.queues.changing")
    assert len(found) == 7
    plain = await make_subject(user=f"{user}:secret")
    told(await check_permissions(plain), Level.FAIL, "configure queue quebert.ended")


# -- Queues


@ensureDeferred
async def test_web_queues(
    rabbitmq: RabbitMQNode, vhosts: Iterator[str], make_subject: Any
) -> None:
    """
    The queues between mediators and quebert web are looked at where they are used:
    whether they are there, whether somebody reads them, and whether they drop anything.
    """
    subject = await make_subject(next(vhosts), **with_web())
    names = [*web_queues(subject.settings)]
    assert names == ["quebert.ended", "quebert.leases", "quebert.queues"]
    assert [*web_queues(attrs.evolve(subject.settings, **NO_WEB))] == []
    for name in names:
        [finding] = await check_web_queue(subject, name)
        assert finding.about == f"queue {name}"
        if name == "quebert.leases":
            told(
                [finding], Level.WARN, "executors may lease tasks, and nobody reads it"
            )
        else:
            assert (finding.level, "not there yet" in finding.text) == (Level.OK, True)
    with pika_channel(rabbitmq, subject.vhost) as channel:
        for name in names:
            arguments = {"x-message-ttl": 60_000} if name == "quebert.ended" else {}
            channel.queue_declare(name, durable=True, arguments=arguments)
            channel.basic_publish("", name, b"one")
    found = await check_web_queue(subject, "quebert.ended")
    told(found, Level.FAIL, "x-message-ttl")
    finding = told(found, Level.WARN, "nobody reads it, and 1 end notes wait in it")
    assert "start a quebert web" in finding.remedy
    [finding] = await check_web_queue(subject, "quebert.leases")
    told([finding], Level.FAIL, "nobody reads it, and 1 leased tasks wait in it")
    [finding] = await check_web_queue(subject, "quebert.queues")
    assert (finding.level, finding.text) == (Level.OK, "it is there")
    examined = await examine(reactor, subject.settings.broker, subject.settings)
    told(examined, Level.FAIL, "leased tasks wait in it")


@pytest.mark.parametrize(
    ("rule", "told_of"),
    [
        ({"message-ttl": 300}, "drops definitions within 1 s (message-ttl)"),
        ({"expires": 300}, "with all definitions (expires)"),
        ({"max-length": 5}, "drops the oldest definitions beyond 5 (max-length)"),
        (None, "drops definitions that wait for 60000 ms (x-message-ttl)"),
    ],
)
@ensureDeferred
async def test_register_of_queues(
    rabbitmq: RabbitMQNode,
    vhosts: Iterator[str],
    make_subject: Any,
    rule: dict[str, int] | None,
    told_of: str,
) -> None:
    """
    What has RabbitMQ drop the definitions of queues is found, before there are any, and
    nobody is told to empty their queue.
    """
    subject = attrs.evolve(await make_subject(next(vhosts), **with_web()), wait=1.0)
    if rule is None:
        with pika_channel(rabbitmq, subject.vhost) as channel:
            short = {"x-message-ttl": 60_000}
            channel.queue_declare("quebert.queues", durable=True, arguments=short)
    else:
        given = ("lossy", "^quebert.queues", json.dumps(rule))
        rabbitmq.ctl("set_policy", "-p", subject.vhost, *given)
    found = await check_web_queue(subject, "quebert.queues")
    finding = told(found, Level.FAIL, told_of)
    assert "let the queue run empty" not in finding.remedy


@ensureDeferred
async def test_other_type(
    rabbitmq: RabbitMQNode, make_subject: Any, names: Names
) -> None:
    """
    A queue of another type than the configuration wants is named.
    """
    subject = await make_subject()
    with pika_channel(rabbitmq) as channel:
        channel.queue_declare(names.queue, durable=True)
        channel.exchange_declare(names.exchange, "direct", durable=True)
    queue = QueueSettings(
        name=names.queue, exchange=names.exchange, queue_type="quorum"
    )
    found = await check_queue(subject, queue)
    told(found, Level.FAIL, "type is classic", "wants quorum")
    told(found, Level.FAIL, "declared otherwise", "received 'topic'")
    told(found, Level.WARN, "nobody consumes it")


@pytest.mark.parametrize("queue_type", [None, "quorum"])
@ensureDeferred
async def test_stream(
    rabbitmq: RabbitMQNode, make_subject: Any, names: Names, queue_type: str | None
) -> None:
    """
    A stream in the place of a queue of tasks is named, with what can be done.
    """
    subject = await make_subject()
    with pika_channel(rabbitmq) as channel:
        channel.queue_declare(
            names.queue, durable=True, arguments={QUEUE_TYPE: "stream"}
        )
    queue = QueueSettings(name=names.queue, exchange="", queue_type=queue_type)
    found = await check_queue(subject, queue)
    told(found, Level.FAIL, "it is a stream", "its mediators are refused")
    (failing,) = (each for each in found if each.level is Level.FAIL)
    assert "read it with a client of streams" in failing.remedy


@ensureDeferred
async def test_delivery_limit(
    rabbitmq: RabbitMQNode, make_subject: Any, names: Names
) -> None:
    """
    A delivery limit is named, of the queue of tasks and of its dead letters.
    """
    subject = await make_subject()
    limited = {"x-queue-type": "quorum", "x-delivery-limit": 20}
    with pika_channel(rabbitmq) as channel:
        for name in (names.queue, f"{names.queue}.dead"):
            channel.queue_declare(name, durable=True, arguments=limited)
    found = await check_queue(
        subject, QueueSettings(name=names.queue, queue_type="quorum")
    )
    for about in (f"queue {names.queue}", f"queue {names.queue}.dead"):
        own = [each for each in found if each.about == about]
        told(own, Level.WARN, "more than 20 times")


@pytest.mark.parametrize("default", ["quorum", "stream"])
@ensureDeferred
async def test_types_of_probes(
    rabbitmq: RabbitMQNode,
    make_subject: Any,
    monkeypatch: pytest.MonkeyPatch,
    default: str,
) -> None:
    """
    The default type of a virtual host is that of no queue which the doctor declares.
    """
    vhost = f"doctor-probes-{default}"
    add_vhost(rabbitmq, vhost, default)
    subject = await make_subject(vhost)
    call, types = Channel.call, {}

    async def noting(channel: Channel, method: str, **how: Any) -> Any:
        if method == "queue_declare" and not how.get("passive"):
            types[how["queue"]] = how.get("arguments", {}).get(QUEUE_TYPE)
        return await call(channel, method, **how)

    monkeypatch.setattr(Channel, "call", noting)
    found = [
        *await check_broker_clock(subject),
        *await check_confirm_timeout(subject),
        *await check_dead_policies(subject, "tasks", "quorum"),
    ]
    assert [each for each in found if each.level is Level.FAIL] == []
    assert sorted(types.values()) == [*["classic"] * 4, *["quorum"] * 2]


@ensureDeferred
async def test_other_default(rabbitmq: RabbitMQNode, make_subject: Any) -> None:
    """
    In a virtual host with another default type, the type of a queue is found out.
    """
    vhost = "doctor-quorum"
    add_vhost(rabbitmq, vhost, "quorum")
    subject = await make_subject(vhost)
    with pika_channel(rabbitmq, vhost) as channel:
        channel.queue_declare("tasks", durable=True)
        channel.queue_declare("old", durable=True, arguments={QUEUE_TYPE: "classic"})
    how = await declared(subject.wire, "tasks")
    assert how is not None
    assert how.kind == "quorum"
    how = await declared(subject.wire, "old")
    assert how is not None
    assert how.kind == "classic"
    found = await check_queue(
        subject, QueueSettings(name="tasks", queue_type="classic")
    )
    told(found, Level.FAIL, "its type is quorum")
    found = await check_queue(subject, QueueSettings(name="old"))
    told(found, Level.FAIL, "mediators are refused")


@ensureDeferred
async def test_arguments(
    rabbitmq: RabbitMQNode, make_subject: Any, names: Names
) -> None:
    """
    A queue is declared with the arguments of the configuration: where it has them, all
    is well, and where it has others, its mediators are refused.
    """
    subject = await make_subject()
    with pika_channel(rabbitmq) as channel:
        channel.queue_declare(
            names.queue, durable=True, arguments={"x-max-priority": 5}
        )
    for arguments, is_refused in (
        ({"x-max-priority": 5}, False),
        ({"x-max-priority": 6}, True),
        ({}, True),
    ):
        queue = QueueSettings(name=names.queue, arguments=arguments)
        found = await check_queue(subject, queue)
        texts = [each.text for each in found if each.level is Level.FAIL]
        assert any("mediators are refused" in each for each in texts) is is_refused


@ensureDeferred
async def test_drops(rabbitmq: RabbitMQNode, make_subject: Any, names: Names) -> None:
    """
    What makes RabbitMQ drop tasks is named: all of it at once.
    """
    subject = await make_subject()
    drops = {"x-message-ttl": 60_000, "x-expires": 70_000, "x-max-length": 80_000}
    others = {"x-dead-letter-exchange": "", "x-single-active-consumer": True}
    with pika_channel(rabbitmq) as channel:
        arguments = {**drops, **others}
        channel.queue_declare(names.queue, durable=True, arguments=arguments)
        channel.queue_declare(f"{names.queue}.dead", durable=False)
    found = await check_queue(subject, QueueSettings(name=names.queue))
    for name, value in drops.items():
        told(found, Level.FAIL, name, str(value))
    told(found, Level.FAIL, "not durable")


@ensureDeferred
async def test_paused_and_dead(
    rabbitmq: RabbitMQNode, make_subject: Any, names: Names
) -> None:
    """
    A paused queue is named, and dead letters are, with the commands for them.
    """
    subject = await make_subject()
    with pika_channel(rabbitmq) as channel:
        for name in (names.queue, f"{names.queue}.dead"):
            channel.queue_declare(name, durable=True)
            channel.basic_publish("", name, b"{}")
    await pause(BrokerAccess(reactor, rabbitmq.url), names.queue)
    found = await check_queue(subject, QueueSettings(name=names.queue))
    finding = told(found, Level.WARN, "is paused")
    assert finding.remedy == f"quebert resume {names.queue}"
    finding = told(found, Level.WARN, "1 tasks were given up")
    assert "quebert dead list" in finding.remedy
    assert len(found) == 2


# -- The ladder


async def ladder(
    make_subject: Any, vhosts: Iterator[str], quorum: bool = False
) -> Subject:
    """
    A subject in a virtual host of its own, with a whole ladder.
    """
    vhost = next(vhosts)
    subject: Subject = await make_subject(vhost, quorum_delays=quorum)
    await make_ladder(subject)
    return subject


@ensureDeferred
async def test_rung_otherwise(
    rabbitmq: RabbitMQNode, vhosts: Iterator[str], make_subject: Any
) -> None:
    """
    A queue of the ladder that somebody declared otherwise is named, and how.
    """
    subject = await ladder(make_subject, vhosts)
    name = "quebert.delay.wait.4s"
    with pika_channel(rabbitmq, subject.vhost) as channel:
        channel.queue_delete(name)
        channel.queue_declare(name, durable=True, arguments={"x-message-ttl": 4})
    found = await check_delays(subject)
    told(found, Level.FAIL, name, "x-message-ttl")


@ensureDeferred
async def test_made_by_rabbitmq_3(
    rabbitmq: RabbitMQNode, vhosts: Iterator[str], make_subject: Any
) -> None:
    """
    The queues that mediators made in RabbitMQ 3, which had no delivery limit, do not
    fail in RabbitMQ 4; a queue that differs in something else does.
    """
    subject = await make_subject(next(vhosts), quorum_delays=True)
    rungs = Rungs(quorum=True)
    parts = rungs.exits(), rungs.arrivals("tasks"), *map(rungs.rung, WAITS)
    await call_in_one_write(subject.wire, (call for part in parts for call in part))
    with pika_channel(rabbitmq, subject.vhost) as channel:
        for name in ("tasks", "tasks.dead"):
            channel.queue_declare(name, durable=True, arguments=dict(QUORUM))
    queue = QueueSettings(name="tasks", queue_type="quorum")
    found = [*await check_delays(subject), *await check_queue(subject, queue)]
    assert Level.FAIL not in {each.level for each in found}, found
    assert f"{len(WAITS)} of them passed a probe" in found[0].text
    name = rungs.name(4)
    how = {"x-message-ttl": 4, "x-dead-letter-exchange": ARRIVALS}
    with pika_channel(rabbitmq, subject.vhost) as channel:
        channel.queue_delete(name)
        channel.queue_declare(name, durable=True, arguments={**QUORUM, **how})
    told(await check_delays(subject), Level.FAIL, name, "declared otherwise")


@ensureDeferred
async def test_rung_not_bound(
    rabbitmq: RabbitMQNode, vhosts: Iterator[str], make_subject: Any
) -> None:
    """
    A queue of the ladder that has lost its binding is named; nothing is mended.
    """
    subject = await ladder(make_subject, vhosts)
    name = "quebert.delay.wait.128s"
    with pika_channel(rabbitmq, subject.vhost) as channel:
        channel.queue_unbind(name, name, "")
    for _ in range(2):
        found = await check_delays(subject)
        told(found, Level.FAIL, f"{name} is not bound")
    check_nothing_left(rabbitmq, subject.vhost)


@ensureDeferred
async def test_exchange_missing(
    rabbitmq: RabbitMQNode, vhosts: Iterator[str], make_subject: Any
) -> None:
    """
    An exchange that tasks go through, and is missing, is named.
    """
    subject = await ladder(make_subject, vhosts)
    name = "quebert.delay.wait.5s"
    with pika_channel(rabbitmq, subject.vhost) as channel:
        channel.exchange_delete(name)
    told(await check_delays(subject), Level.FAIL, f"{name} is missing")


@ensureDeferred
async def test_stuck(
    rabbitmq: RabbitMQNode, vhosts: Iterator[str], make_subject: Any
) -> None:
    """
    A queue that passes nothing on is named: its tasks do not find the way out.
    """
    subject = await ladder(make_subject, vhosts, quorum=True)
    at = ("-p", subject.vhost)
    full = '{"max-length": 0, "overflow": "reject-publish"}'
    rabbitmq.ctl("set_policy", *at, "full", "^quebert.doctor", full)
    found = await check_delays(subject)
    told(found, Level.FAIL, "is stuck", "quebert.delay.quorum.wait.1s", "more")


@ensureDeferred
async def test_lying(
    rabbitmq: RabbitMQNode, vhosts: Iterator[str], make_subject: Any
) -> None:
    """
    Tasks that are due and that nobody takes are told of.
    """
    subject = await make_subject(
        next(vhosts), queues={"tasks": QueueSettings(name="tasks")}
    )
    rungs = Ladder(quorum=subject.quorum_delays).rungs_of(subject.wire)
    await call_in_one_write(subject.wire, [*rungs.exits(), *rungs.arrivals("tasks")])
    for queue in (UNCLAIMED, arrivals_of("tasks")):
        await subject.client.publish("", queue, b"task")
    found = await check_delays(subject)
    told(found, Level.WARN, "1 delayed tasks", UNCLAIMED)
    told(found, Level.WARN, "1 tasks that are due", "queue tasks")


@ensureDeferred
async def test_silent(
    rabbitmq: RabbitMQNode, vhosts: Iterator[str], make_subject: Any
) -> None:
    """
    A queue whose leader does not work is named.
    """
    subject = await ladder(make_subject, vhosts, quorum=True)
    name = "quebert.delay.quorum.wait.4s"
    where = f"<<{json.dumps(subject.vhost)}>>, queue, <<{json.dumps(name)}>>"
    found_out = f"{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r({where}))"
    leader = f"{found_out}, {{Leader, _}} = amqqueue:get_pid(Q)"
    rabbitmq.eval(f"{leader}, sys:suspend(Leader)")
    try:
        found = await check_delays(subject)
    finally:
        rabbitmq.eval(f"{leader}, sys:resume(Leader)")
    told(found, Level.FAIL, name)


@ensureDeferred
async def test_killed(
    vhosts: Iterator[str],
    make_subject: Any,
    start: Callable[..., Program],
    rabbitmq: RabbitMQNode,
) -> None:
    """
    A doctor that is killed leaves no probe where tasks go.
    """
    subject = await ladder(make_subject, vhosts, quorum=True)
    url = f"--amqp-url={rabbitmq.url}{subject.vhost}"
    program = start("-m", "quebert", "doctor", url)
    rung, lost = "quebert.delay.quorum.wait.2s", UNCLAIMED

    async def wait_for(count: int) -> None:
        for _ in range(10_000):
            now = await depth(subject.wire, rung)
            if now is not None and now.ready == count:
                return
        raise AssertionError(now)

    await wait_for(1)
    program.kill()
    await wait_for(0)
    now = await depth(subject.wire, lost)
    assert now is not None
    assert now.ready == 0


@ensureDeferred
async def test_busy(
    rabbitmq: RabbitMQNode, vhosts: Iterator[str], make_subject: Any
) -> None:
    """
    No probe goes where tasks wait for long, and that is said; where they wait shortly,
    one goes.
    """
    subject = await ladder(make_subject, vhosts)
    with pika_channel(rabbitmq, subject.vhost) as channel:
        for seconds in (1, 2, 60):
            channel.basic_publish("", f"quebert.delay.wait.{seconds}s", b"{}")
    found = await check_delays(subject)
    finding = told(found, Level.UNKNOWN, "not tried", "quebert.delay.wait.60s")
    assert "--wait 60" in finding.remedy
    assert f"{len(WAITS) - 1} of them passed" in found[0].text


@ensureDeferred
async def test_policy(
    rabbitmq: RabbitMQNode, vhosts: Iterator[str], make_subject: Any
) -> None:
    """
    A policy that has delayed tasks come early is noticed by that.
    """
    subject = await ladder(make_subject, vhosts)
    at = ("-p", subject.vhost)
    rabbitmq.ctl("set_policy", *at, "all", ".*", '{"message-ttl": 300}')
    found = await check_delays(subject)
    finding = told(found, Level.FAIL, "quebert.delay.wait.2s", "came out of it after")
    assert "message-ttl" in finding.remedy


@pytest.mark.parametrize("quorum", [True, False])
@ensureDeferred
async def test_rerouted(
    rabbitmq: RabbitMQNode, vhosts: Iterator[str], make_subject: Any, quorum: bool
) -> None:
    """
    A policy that gives delayed tasks another routing key is named; the doctor takes its
    probes from where they arrive, and nothing else.
    """
    subject = await ladder(make_subject, vhosts, quorum)
    await subject.client.publish(ARRIVALS, "tasks", b"task", {"delivery-mode": 2})
    at = ("-p", subject.vhost)
    rule = '{"dead-letter-exchange": "", "dead-letter-routing-key": "others"}'
    rabbitmq.ctl("set_policy", *at, "all", ".*", rule)
    found = await check_delays(subject)
    told(found, Level.WARN, "dead-letter-routing-key", "bring them")
    told(found, Level.WARN, "1 delayed tasks", UNCLAIMED)
    assert f"{len(WAITS)} of them passed a probe" in found[0].text
    with pika_channel(rabbitmq, subject.vhost) as channel:
        _, _, body = channel.basic_get(UNCLAIMED, auto_ack=True)
        assert body == b"task"
    check_nothing_left(rabbitmq, subject.vhost)


@ensureDeferred
async def test_held_back(
    rabbitmq: RabbitMQNode, vhosts: Iterator[str], make_subject: Any
) -> None:
    """
    A policy with which RabbitMQ holds back what was given back is named where a queue
    of the ladder was declared without the argument that helps.
    """
    subject = await ladder(make_subject, vhosts, quorum=True)
    if (version_of(subject.wire) or ()) < (4, 3):
        pytest.skip("RabbitMQ 4.3 is the first that can hold back what was given back")
    rungs, policy = subject.rungs, '{"delayed-retry-type": "all", %s}'
    rung = rungs.name(4)
    with pika_channel(rabbitmq, subject.vhost) as channel:
        channel.queue_delete(rung)
        await call_in_one_write(subject.wire, Rungs(quorum=True).rung(4))
    found = await check_delays(subject)
    assert {each.level for each in found} == {Level.OK}, found
    at = ("-p", subject.vhost, "all", ".*")
    rabbitmq.ctl("set_policy", *at, policy % '"delayed-retry-min": 40000')
    found = await check_delays(subject)
    told(found, Level.WARN, f"{rung} was declared without", "delayed-retry-type")
    with pika_channel(rabbitmq, subject.vhost) as channel:
        channel.queue_delete(rung)
    await call_in_one_write(subject.wire, rungs.rung(4))
    found = await check_delays(subject)
    assert {each.level for each in found} == {Level.OK}, found
    check_nothing_left(rabbitmq, subject.vhost)


# -- Default URLs


@ensureDeferred
async def test_url_does_not_answer(rabbitmq: RabbitMQNode) -> None:
    """
    A default URL where nobody answers is named, and whose it is.
    """
    url = f"http://me:s3cret@127.0.0.1:{free_port()}/"
    queues = {
        name: QueueSettings(name=name, default_url=url) for name in ("one", "two")
    }
    settings = Settings(broker=Broker.from_url(rabbitmq.url), queues=queues)
    [finding] = await check_urls(reactor, settings, 10.0)
    told([finding], Level.FAIL, "nobody answers", "one, two")
    assert "s3cret" not in str(finding)


@ensureDeferred
async def test_url_with_secrets(rabbitmq: RabbitMQNode, executor: Executor) -> None:
    """
    A default URL with a password and a query is asked, and neither is told.
    """
    executor.answer = lambda task: 200
    url = executor.url.replace("//", "//me:s3cret@") + "?token=s3cret"
    queues = {"q": QueueSettings(name="q", default_url=url)}
    settings = Settings(broker=Broker.from_url(rabbitmq.url), queues=queues)
    [finding] = await check_urls(reactor, settings, 10.0)
    assert finding.level is Level.OK, finding
    assert "s3cret" not in str(finding)


@ensureDeferred
async def test_url_and_guard(rabbitmq: RabbitMQNode, executor: Executor) -> None:
    """
    A default URL is asked as the guard of each queue has it: what the guard refuses is
    named, with the queue.
    """
    executor.answer = lambda task: 200
    guards = {"open": Guard(), "shut": Guard(private="refuse")}
    queues = {
        name: QueueSettings(name=name, default_url=executor.url, guard=guard)
        for name, guard in guards.items()
    }
    settings = Settings(broker=Broker.from_url(rabbitmq.url), queues=queues)
    answers, refused = await check_urls(reactor, settings, 10.0)
    assert answers.level is Level.OK
    finding = told([refused], Level.FAIL, "the guard refuses", "tasks of shut")
    assert "guard" in finding.remedy


@ensureDeferred
async def test_clock_of_executor(
    rabbitmq: RabbitMQNode, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    An executor whose clock is wrong is named; any status is an answer.
    """
    executor.answer = lambda task: 503
    queue = QueueSettings(name="q", default_url=executor.url)
    broker = Broker.from_url(rabbitmq.url)
    settings = Settings(broker=broker, queues={"q": queue})
    [finding] = await check_urls(reactor, settings, 10.0)
    assert (finding.level, "503" in finding.text) == (Level.OK, True)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3_600)
    found = await check_urls(reactor, settings, 10.0)
    told(found, Level.FAIL, executor.url, "behind ours")
