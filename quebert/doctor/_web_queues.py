"""
The queues between mediators and C{quebert web}: end notes, messages of leased tasks,
and the definitions of queues that were made over the API.
"""

from __future__ import annotations

from collections.abc import Iterator

from quebert.amqp.coordination import QUEUES
from quebert.amqp.delays import has_quorum
from quebert.amqp.queues import Declared, declared, depth, losses
from quebert.config import Settings
from quebert.doctor._dead import check_register_policies
from quebert.doctor._findings import Finding, fail, ok, warn
from quebert.doctor._permissions import serves_web
from quebert.doctor._queues import dropped
from quebert.doctor._subject import Subject
from quebert.policy import LEASES
from quebert.task_ends import ENDED

__all__ = ["check_web_queue", "web_queues"]

# What lies in each queue, what is the matter while nobody reads it, and how bad it is.
_UNREAD = {
    ENDED: (
        "end notes",
        "tasks created over HTTP neither end nor go when deleted",
        warn,
    ),
    LEASES: ("leased tasks", "they are neither completed nor attempted again", fail),
}
_START = "start a quebert web with these settings; see its log if one should run"
# The register has one message, and is never empty.
_MOVE = (
    "while nobody makes or changes queues, copy its one message (rabbitmqadmin get"
    f" queue={QUEUES}), delete it, declare it as a durable queue without that, and"
    " publish the message there with delivery_mode=2; never empty it: without that"
    " message mediators stop serving these queues"
)


def web_queues(settings: Settings) -> Iterator[str]:
    """
    The queues that are used with these settings.
    """
    web = settings.cluster_web
    if serves_web(settings):
        yield ENDED
    if settings.leases is not None:
        yield LEASES
    if settings.made_queues.serve or web.cloud_tasks is not None:
        yield QUEUES


async def check_web_queue(subject: Subject, name: str) -> list[Finding]:
    """
    Whether a queue keeps what lies in it, and somebody reads it.

    @raise BrokerRefused: we may not look.
    """
    about = f"queue {name}"
    now = await depth(subject.wire, name)
    found: list[Finding] = []
    if name in _UNREAD and now is not None and now.ready and not now.consumers:
        things, harm, report = _UNREAD[name]
        text = f"nobody reads it, and {now.ready} {things} wait in it: {harm}"
        found.append(report(about, text, _START))
    elif name == LEASES and (now is None or not now.consumers):
        text = "executors may lease tasks, and nobody reads it"
        found.append(warn(about, text, _START))
    how = None if now is None else await declared(subject.wire, name)
    if name == QUEUES:
        found += await _check_register(subject, about, how)
    elif how is not None:
        found += dropped(about, how)
    if now is None:
        return found or [ok(about, "it is not there yet: its first user declares it")]
    return found or [ok(about, "it is there")]


async def _check_register(
    subject: Subject, about: str, how: Declared | None
) -> list[Finding]:
    """
    Whether RabbitMQ may drop definitions, by how their queue was declared, or by a
    policy.

    @param how: C{None} where it is not there yet, or RabbitMQ does not tell.
    """
    kind = "quorum" if has_quorum(subject.wire) else "classic"
    found: list[Finding] = []
    if how is not None:
        kind = how.kind
        found = [fail(about, each, _MOVE) for each in losses(how, "definitions")]
    return [*found, *await check_register_policies(subject, kind)]
