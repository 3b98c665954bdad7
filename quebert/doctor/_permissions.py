"""
Whether the user may do all that a mediator does.

RabbitMQ tells nobody what a user may do.  But it looks at the permissions before
anything else.  So each permission is asked for with a call that fails, or does nothing,
where it is granted: a declaration with an argument of the wrong type, a consumer with a
priority of the wrong type, the removal of a binding that nobody made.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import attrs

from quebert._protocol.extensions import MESSAGE_TTL, PRIORITY
from quebert.amqp.coordination import (
    CONTROL,
    QUEUES,
    QUEUES_LOCK,
    lock_of,
    rate_queue_of,
    register_of,
    sign_of,
)
from quebert.amqp.delays import ARRIVALS, UNCLAIMED, Rungs, arrivals_of
from quebert.amqp.queues import dead_letters_of
from quebert.amqp.watch import flight_sign, in_order_sign
from quebert.config import ClusterWeb, QueueSettings, Settings
from quebert.doctor._broker import may_publish
from quebert.doctor._findings import Finding, fail, ok, warn
from quebert.doctor._subject import Subject, together
from quebert.errors import ReplyCode
from quebert.policy import LEASES
from quebert.task_ends import ENDED

__all__ = [
    "Need",
    "check_permissions",
    "needs_for_all",
    "needs_of",
    "needs_of_leases",
    "needs_of_made",
    "needs_of_web",
    "serves_web",
]

_ABOUT = "permissions"
# What RabbitMQ calls the default exchange, whose name is empty.
_DEFAULT = "amq.default"
_VERBS = ("configure", "write", "read")


@attrs.frozen
class Need:
    """
    A permission.

    @ivar verb: C{"configure"}, C{"write"} or C{"read"}; or C{"see"}, which some
        versions of RabbitMQ want any of the three for.
    @ivar kind: C{"queue"} or C{"exchange"}.
    @ivar queue: of an exchange to read, a queue that is bound to it: RabbitMQ looks
        first whether we may write to that.
    @ivar of_web: whether C{quebert web} needs it, and no mediator.
    """

    verb: str
    kind: str
    name: str
    queue: str = ""
    of_web: bool = False

    def __str__(self) -> str:
        return f"{self.verb} {self.kind} {self.name}"


def needs_for_all(rungs: Rungs) -> Iterator[Need]:
    """
    What each mediator does, whatever its queue: all that mediators declare, consume or
    publish to has a line here, or in L{needs_of}.
    """
    rung = rungs.name(1)  # the queue is called like its exchange
    control = f"{CONTROL}.{uuid.uuid4()}"
    for verb in _VERBS:
        for exchange, queue in (
            (CONTROL, control),
            (rung, rung),
            (UNCLAIMED, UNCLAIMED),
        ):
            yield Need(verb, "exchange", exchange, queue)
            yield Need(verb, "queue", queue)
        yield Need(verb, "exchange", ARRIVALS, UNCLAIMED)
    for sign in (flight_sign(uuid.uuid4().hex), in_order_sign("", 0)):
        yield Need("configure", "queue", sign)
    yield Need("configure", "queue", ENDED)
    yield Need("write", "exchange", _DEFAULT)


def needs_of(queue: QueueSettings) -> Iterator[Need]:
    """
    What a mediator of this queue does, too.
    """
    if queue.exchange:
        yield Need("configure", "exchange", queue.exchange)
        yield Need("read", "exchange", queue.exchange, queue.name)
    for verb in _VERBS:
        yield Need(verb, "queue", queue.name)
        yield Need(verb, "queue", arrivals_of(queue.name))
    yield Need("configure", "queue", dead_letters_of(queue.name))
    yield Need("see", "exchange", sign_of(queue.name))
    yield Need("read", "queue", register_of(queue.name))
    yield Need("configure", "queue", lock_of(queue.name))
    if queue.rate is not None:
        for verb in ("configure", "read"):
            yield Need(verb, "queue", rate_queue_of(queue.name))


def needs_of_made() -> Iterator[Need]:
    """
    What a mediator that serves queues which were made over the API does, too, beside
    L{needs_of} for each of these.
    """
    yield Need("read", "queue", QUEUES)
    yield Need("configure", "queue", QUEUES_LOCK)


def needs_of_leases() -> Iterator[Need]:
    """
    What a mediator that grants leases does, too.
    """
    yield Need("configure", "queue", LEASES)


def needs_of_web(web: ClusterWeb) -> Iterator[Need]:
    """
    What C{quebert web} does with the queues in which mediators tell it something, and
    with the one that has the queues which were made over the API.
    """
    names = [ENDED]
    if web.leases is not None:
        names.append(LEASES)
    if web.cloud_tasks is not None:
        names.append(QUEUES)
        yield Need("configure", "queue", QUEUES_LOCK, of_web=True)
    for name in names:
        for verb in ("configure", "read"):
            yield Need(verb, "queue", name, of_web=True)


def _needs(settings: Settings, rungs: Rungs) -> Iterator[Need]:
    yield from needs_for_all(rungs)
    for each in settings.queues.values():
        yield from needs_of(each)
    if settings.made_queues.serve:
        yield from needs_of_made()
    if settings.leases is not None:
        yield from needs_of_leases()
    if serves_web(settings):
        yield from needs_of_web(settings.cluster_web)


def serves_web(settings: Settings) -> bool:
    """
    Whether C{quebert web} has these settings, too: they have something for it alone, or
    leases, which it keeps.  The issuer of ID tokens may be for mediators alone.
    """
    return attrs.evolve(settings.cluster_web, oidc=None) != ClusterWeb()


async def check_permissions(subject: Subject) -> list[Finding]:
    """
    Each permission that is missing.
    """
    if not subject.is_rabbitmq:
        return [ok(_ABOUT, "the embedded broker lets its users do everything")]
    settings, rungs = subject.settings, subject.rungs
    needs = [*(needs_for_all(rungs) if settings is None else _needs(settings, rungs))]
    if subject.client.blocked is not None:  # RabbitMQ would not answer
        needs = [each for each in needs if each.name != _DEFAULT]
    answers = await together(_refused(subject, each) for each in needs)
    missing = [n for n, refused in zip(needs, answers, strict=True) if refused]
    if not missing:
        text = f"user {subject.user} has all {len(needs)} permissions of a mediator"
        return [ok(_ABOUT, text)]
    of_mediators = {str(each) for each in missing if not each.of_web}
    return [
        _finding(subject, each)
        for each in dict.fromkeys(missing)
        if not each.of_web or str(each) not in of_mediators
    ]


def _finding(subject: Subject, need: Need) -> Finding:
    verb = "configure, write or read" if need.verb == "see" else need.verb
    report, who = (warn, "quebert web does") if need.of_web else (fail, "mediators do")
    return report(
        _ABOUT,
        f"user {subject.user} may not {need}, as {who}",
        f"give {subject.user} a pattern for {verb!r} that matches {need.name}:"
        f" rabbitmqctl set_permissions -p {subject.vhost} {subject.user} CONFIGURE"
        " WRITE READ (see docs/operating.rst)",
    )


async def _refused(subject: Subject, need: Need) -> bool:
    if need.name == _DEFAULT:
        return not await may_publish(subject)
    method, arguments = _call(subject, need)
    refusal = await subject.refusal(method, **arguments)
    if refusal is None or refusal.code != ReplyCode.ACCESS_REFUSED:
        return False
    # Some calls want two permissions: was it the other one?
    others = (f"exchange '{subject.name}'", f"queue '{need.queue}'")
    return not any(each in str(refusal) for each in others)


def _call(subject: Subject, need: Need) -> tuple[str, dict[str, Any]]:
    """
    The call that tells whether a permission is granted, and changes nothing.
    """
    name, probe = need.name, subject.name
    match need.verb, need.kind:
        case "configure", "queue":
            wrong: dict[str, Any] = {MESSAGE_TTL: "probe"}
            return "queue_declare", {"queue": name, "durable": True, "arguments": wrong}
        case "configure", _:
            given = {"exchange": name, "exchange_type": "topic", "durable": True}
            wrong = {"alternate-exchange": 0}
            return "exchange_declare", {**given, "arguments": wrong}
        case "read", "queue":
            wrong = {PRIORITY: "probe"}
            return "basic_consume", {"queue": name, "arguments": wrong}
        case "write", "queue":
            return "queue_unbind", _unbound(queue=name, exchange=probe)
        case "write", _:
            return "exchange_unbind", _unbound(destination=name, source=probe)
        case "read", _:
            return "queue_unbind", _unbound(queue=need.queue, exchange=name)
        case _:
            seen = {"exchange": name, "exchange_type": "fanout", "passive": True}
            return "exchange_declare", seen


def _unbound(**ends: str) -> dict[str, str]:
    return {**ends, "routing_key": f"quebert.doctor.{uuid.uuid4()}"}
