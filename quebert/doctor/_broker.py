"""
The broker itself: its alarms, its clock, and how long it waits for a confirm that does
not come.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from quebert._protocol.extensions import (
    DEAD_LETTER_EXCHANGE,
    DEAD_LETTER_ROUTING_KEY,
    DEAD_LETTER_STRATEGY,
    DEATHS,
    EXPIRES,
    MESSAGE_TTL,
    OVERFLOW,
)
from quebert._protocol.properties import encode_properties
from quebert.amqp.queues import CLASSIC, QUORUM
from quebert.amqp.wire import Message, temporary_channel, version_of
from quebert.doctor._findings import Finding, fail, ok, unknown, warn
from quebert.doctor._probes import returns
from quebert.doctor._subject import Subject
from quebert.errors import BrokerError, Unroutable

__all__ = [
    "check_alarms",
    "check_broker_clock",
    "check_confirm_timeout",
    "check_policies",
    "clock_findings",
    "may_publish",
]

# Seconds that two clocks may differ; and from how many on that is a failure.
_NEAR, _FAR = 2.0, 30.0
# Milliseconds after which RabbitMQ removes a probe queue that a killed doctor left.
_EXPIRES = 60_000
# Seconds after which RabbitMQ has tried to pass a probe on for the first time.
_FIRST_TRY = 0.5
# Seconds between two looks.
_STEP = 0.02
_PERSISTENT = encode_properties({"delivery-mode": 2})


async def may_publish(subject: Subject) -> bool:
    """
    Whether the user may publish through the default exchange.  Publishes to a queue
    that is not there.

    @raise BrokerError: the broker refuses it for another reason.
    """
    publisher = subject.client.make_publisher()
    try:
        await publisher.publish("", subject.name, b"", b"\x00\x00")
    except Unroutable:
        return True  # RabbitMQ looked for the queue
    except BrokerError as e:
        if "ACCESS_REFUSED" not in str(e):
            raise
        return False
    finally:
        publisher.shut()
    return True


async def check_alarms(subject: Subject) -> list[Finding]:
    """
    Whether the broker takes messages.  RabbitMQ tells of an alarm those who publish.
    """
    answers: list[Any] = []
    asking = subject.within(subject.patience, may_publish(subject))
    Deferred.fromCoroutine(asking).addBoth(answers.append)
    while not answers and subject.client.blocked is None:
        await deferLater(subject.client.reactor, _STEP)
    text = subject.client.blocked
    if text is None:
        [answer] = answers
        if isinstance(answer, Failure):
            answer.raiseException()
        if answer is not None:
            return [ok("alarms", "the broker takes messages: no memory or disk alarm")]
        text = f"no answer in {subject.patience:g} s"
    return [
        fail(
            "alarms",
            f"the broker takes no messages: {text}",
            "give it memory or disk space, or free some: rabbitmq-diagnostics alarms",
        )
    ]


async def check_policies(subject: Subject) -> list[Finding]:
    """
    That policies are not known: AMQP does not tell them.
    """
    if not subject.is_rabbitmq:
        return [ok("policies", "the embedded broker has none")]
    vhost = subject.vhost
    return [
        unknown(
            "policies",
            "not known: AMQP does not tell whether a policy drops tasks (max-length"
            " with drop-head, message-ttl, expires, delivery-limit)",
            f"look with rabbitmqctl list_policies -p {vhost}, and rabbitmqctl"
            f" list_operator_policies -p {vhost}",
        )
    ]


# -- Clocks


async def check_broker_clock(subject: Subject) -> list[Finding]:
    """
    The broker's clock beside ours: RabbitMQ writes the time of its death into a probe
    that expires.
    """
    async with returns(subject, "clock") as returned:
        expiring = f"{subject.name}.expiring"
        after = {
            **CLASSIC,
            MESSAGE_TTL: 0,
            DEAD_LETTER_EXCHANGE: "",
            DEAD_LETTER_ROUTING_KEY: returned.queue,
        }
        await returned.channel.call(
            "queue_declare", queue=expiring, exclusive=True, arguments=after
        )
        publisher = subject.client.make_publisher()
        try:
            before = time.time()
            await publisher.publish("", expiring, b"clock", _PERSISTENT)
            end = subject.client.reactor.seconds() + subject.patience
            if await returned.wait({b"clock"}, end):
                text = "a message that expires does not come to its next queue"
                return [fail("clock", text, "see the log of RabbitMQ")]
            now = time.time()
        finally:
            publisher.shut()
    died = _time_of_death(returned.found[b"clock"].message)
    if died is None:
        return [
            unknown("clock", "the broker does not tell its time", "compare the clocks")
        ]
    return list(clock_findings("the broker", died, before, now))


def _time_of_death(message: Message) -> float | None:
    deaths: Any = message.headers.get(DEATHS)
    moment = deaths[0].get("time") if deaths else None
    return moment.timestamp() if isinstance(moment, datetime) else None


def clock_findings(
    whose: str, told: float, before: float, after: float
) -> Iterator[Finding]:
    """
    How far a clock is from ours.  Pure.

    @param told: what it said, in whole seconds since the epoch.
    @param before: our time before it did.
    @param after: and after it.
    """
    early, late = before - (told + 1), after - told  # it was told within that second
    off = max(early, -late, 0.0)
    if off <= _NEAR:
        text = f"the clock of {whose} is within {_NEAR:g} s of ours"
        yield ok("clock", text)
        return
    way = "behind" if early > 0 else "ahead of"
    text = f"the clock of {whose} is {off:.0f} s {way} ours: delays and ttl go wrong"
    report = fail if off > _FAR else warn
    yield report("clock", text, "have both machines set their clocks by NTP")


# -- Confirms


async def check_confirm_timeout(subject: Subject) -> list[Finding]:
    """
    RabbitMQ's setting C{dead_letter_worker_publisher_confirm_timeout}, as long as it is
    not longer than our patience.

    A quorum queue that passes its messages on with confirms tries again after that
    time.  So a probe expires in such a queue, while the queue that it is to go to does
    not exist.  Then that queue is declared, and the probe comes after the time set.
    """
    about = "dead_letter_worker_publisher_confirm_timeout"
    if not subject.quorum_delays or (version_of(subject.wire) or ()) < (3, 10):
        return []
    took = await _time_until_tried_again(subject)
    if took is None:
        return [
            warn(
                about,
                f"it is longer than {subject.patience:g} s (180 s by default):"
                " delayed tasks may be twice as late after a node was killed",
                "write {rabbit, [{dead_letter_worker_publisher_confirm_timeout, 2000}]}"
                " into advanced.config (see docs/watching.rst)",
            )
        ]
    if took < 2 * _FIRST_TRY:
        text = "not known: the broker was too slow for the probe"
        return [unknown(about, text, "rabbitmqctl environment | grep confirm_timeout")]
    return [ok(about, f"it is about {took:.1f} s")]


async def _time_until_tried_again(subject: Subject) -> float | None:
    clock = subject.client.reactor
    queue, target = f"{subject.name}.confirms", "confirmed"
    arguments = {
        **QUORUM,
        DEAD_LETTER_STRATEGY: "at-least-once",
        OVERFLOW: "reject-publish",
        MESSAGE_TTL: 1,
        EXPIRES: _EXPIRES,
        DEAD_LETTER_EXCHANGE: "",
        DEAD_LETTER_ROUTING_KEY: f"{subject.name}.{target}",
    }
    publisher = subject.client.make_publisher()
    try:
        async with temporary_channel(subject.wire) as channel:
            await channel.call(
                "queue_declare", queue=queue, durable=True, arguments=arguments
            )
        began = clock.seconds()
        await publisher.publish("", queue, b"confirm", _PERSISTENT)
        await deferLater(clock, _FIRST_TRY)
        async with returns(subject, target) as returned:
            if await returned.wait({b"confirm"}, began + subject.patience):
                return None
            found: float = returned.found[b"confirm"].at - began
            return found
    finally:
        publisher.shut()
        await subject.refusal("queue_delete", queue=queue)
