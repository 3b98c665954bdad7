"""
Whether a policy has RabbitMQ lose what is to stay in a queue: dead letters, or the
definitions of queues that were made over the API.

AMQP does not tell policies.  So probes go into a queue of our own.  Its name begins as
that of the queue of tasks and ends as that of its dead letters, so that most patterns
for the dead letters match it, too; or it begins with the name of the register.
RabbitMQ looks only every five seconds whether a quorum queue has expired, and we do not
wait for so long.  So another probe queue is a classic one, which RabbitMQ deletes in
time: it ends with our connection.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater

from quebert._protocol.extensions import EXPIRES, QUEUE_TYPE
from quebert._protocol.properties import encode_properties
from quebert.amqp.coordination import QUEUES
from quebert.amqp.queues import CLASSIC, dead_letters_of, find_queue
from quebert.doctor._findings import Finding, fail, warn
from quebert.doctor._subject import Subject
from quebert.errors import PublishRefused, ReplyCode, Unroutable

__all__ = ["PROBES", "check_dead_policies", "check_register_policies"]

#: How many probes there are.  Limits beyond that number are not found.
PROBES = 200
# How many are sent before the next: a quorum queue refuses some time after it is full.
_AT_ONCE = 20
# Milliseconds after which RabbitMQ removes a probe queue that a killed doctor left.
_EXPIRES = 60_000
_PERSISTENT = encode_properties({"delivery-mode": 2})


@attrs.frozen
class _LastingMessages:
    """
    What is to stay in a queue.

    @ivar queue: that is looked after.
    @ivar things: what lies there.
    @ivar harm: what comes of it where RabbitMQ takes no more of them.
    @ivar others: the queues that no policy may match.
    """

    queue: str
    things: str
    harm: str
    others: str

    def names(self, probe: str) -> tuple[str, str]:
        """
        Names of a queue of our own that is like this one; the second one begins as
        those of all probes.
        """
        return f"{self.queue}.{probe}", f"{probe}.{self.queue}"


@attrs.frozen
class _LastingDeadLetters(_LastingMessages):
    """
    The dead letters of C{queue}.
    """

    def names(self, probe: str) -> tuple[str, str]:
        """
        See L{_LastingMessages.names}.
        """
        before, after = super().names(probe)
        return dead_letters_of(before), dead_letters_of(after)


async def check_dead_policies(subject: Subject, queue: str, kind: str) -> list[Finding]:
    """
    Whether RabbitMQ keeps all probes, for as long as a probe may wait.

    @param kind: the type of the queue of dead letters.
    """
    kept = _LastingDeadLetters(
        queue,
        "dead letters",
        "mediators keep them, and stand still",
        "the queues of dead letters",
    )
    return await _check(subject, kept, dead_letters_of(queue), kind)


async def check_register_policies(subject: Subject, kind: str) -> list[Finding]:
    """
    The same for L{QUEUES}.

    @param kind: its type.
    """
    kept = _LastingMessages(
        QUEUES, "definitions", "no queue can be made or changed", QUEUES
    )
    return await _check(subject, kept, QUEUES, kind)


async def _check(
    subject: Subject, kept: _LastingMessages, name: str, kind: str
) -> list[Finding]:
    if not subject.is_rabbitmq or subject.client.blocked is not None:
        return []  # the embedded broker has no policies; and none takes probes then
    arguments = {QUEUE_TYPE: kind, EXPIRES: _EXPIRES}
    probed = await _declared(subject, kept, "", durable=True, arguments=arguments)
    exclusive = {"exclusive": True, "arguments": CLASSIC}
    unused = await _declared(subject, kept, ".unused", **exclusive)
    try:
        refused = await _publish(subject, probed)
        at_once = await find_queue(subject.wire, probed)
        await deferLater(subject.client.reactor, subject.wait)
        later = await find_queue(subject.wire, probed)
        if await find_queue(subject.wire, unused) is None:
            later = None
    finally:
        for each in (probed, unused):
            await subject.refusal("queue_delete", queue=each)
    return _findings(subject, kept, name, refused, at_once, later)


async def _declared(
    subject: Subject, kept: _LastingMessages, suffix: str, **how: Any
) -> str:
    """
    Declare a queue of our own.  Where the user may not declare one with a name that
    begins as that of the queue, its name begins as those of all probes.

    @raise BrokerRefused: the user may declare neither.
    """
    names = kept.names(f"{subject.name}{suffix}")
    for name in names:
        refused = await subject.refusal("queue_declare", queue=name, **how)
        if refused is None:
            break
        if refused.code != ReplyCode.ACCESS_REFUSED or name == names[-1]:
            raise refused
    return name


async def _publish(subject: Subject, queue: str) -> int:
    """
    Publish the probes; returns how many RabbitMQ has refused.  It has deleted the queue
    meanwhile where it does not find it.
    """
    publisher = subject.client.make_publisher()
    refused = 0
    try:
        for _ in range(0, PROBES, _AT_ONCE):
            sending = [
                Deferred.fromCoroutine(publisher.publish("", queue, b"", _PERSISTENT))
                for _ in range(_AT_ONCE)
            ]
            results: Any = await DeferredList(sending, consumeErrors=True)
            failures = [result for well, result in results if not well]
            for each in failures:
                each.trap(PublishRefused, Unroutable)
            refused += sum(not each.check(Unroutable) for each in failures)
    finally:
        publisher.shut()
    return refused


def _findings(
    subject: Subject,
    kept: _LastingMessages,
    name: str,
    refused: int,
    at_once: Any,
    later: Any,
) -> list[Finding]:
    about, vhost, things = f"queue {name}", subject.vhost, kept.things
    remedy = (
        f"have no policy match {kept.others}: rabbitmqctl list_policies"
        f" -p {vhost}, and rabbitmqctl list_operator_policies -p {vhost}"
    )
    sent = PROBES - refused
    if refused:
        text = f"a policy has RabbitMQ refuse {things} beyond {sent} (max-length)"
        return [warn(about, f"{text}: then {kept.harm}", remedy)]
    if at_once is None or later is None:
        text = f"a policy deletes it within {subject.wait:g} s without a consumer"
        return [fail(about, f"{text}, with all {things} (expires)", remedy)]
    first, left = at_once.message_count, later.message_count
    if left < first or (sent and not left):  # they may have gone while we published
        text = f"a policy drops {things} within {subject.wait:g} s (message-ttl)"
        return [fail(about, text, remedy)]
    if first < sent:
        text = f"a policy drops the oldest {things} beyond {first} (max-length)"
        return [fail(about, text, remedy)]
    return []
