"""
One examination: all checks, side by side.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from quebert.amqp import TxAMQPClient
from quebert.config import Broker, Settings
from quebert.doctor._broker import (
    check_alarms,
    check_broker_clock,
    check_confirm_timeout,
    check_policies,
)
from quebert.doctor._delays import check_delays
from quebert.doctor._findings import Finding, Level, fail, ok, unknown
from quebert.doctor._permissions import check_permissions
from quebert.doctor._queues import check_queue
from quebert.doctor._subject import Subject, together
from quebert.doctor._urls import check_urls
from quebert.doctor._versions import version_findings
from quebert.doctor._web_queues import check_web_queue, web_queues
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnreachable,
    CertificateRefused,
    QuebertError,
    ReplyCode,
)

__all__ = ["connection_finding", "examine"]

_ABOUT = "connection"

Check = Coroutine[Any, Any, list[Finding]]


async def examine(
    reactor: Any,
    broker: Broker,
    settings: Settings | None = None,
    wait: float = 2.0,
    patience: float = 10.0,
) -> list[Finding]:
    """
    Whether C{broker} is sound, and fits C{settings}.  Changes nothing but probes of our
    own, which are removed.

    @param settings: of a configuration file, if there is one.
    @param wait: seconds that a delayed probe may wait.
    @param patience: seconds in which a sound broker has answered.
    """
    checks = [_examine_broker(reactor, broker, settings, wait, patience)]
    if settings is not None:
        checks.append(check_urls(reactor, settings, patience))
    return await _all(checks)


async def _all(checks: list[Check]) -> list[Finding]:
    """
    What all checks found, in their order.
    """
    return [each for found in await together(checks) for each in found]


async def _examine_broker(
    reactor: Any,
    broker: Broker,
    settings: Settings | None,
    wait: float,
    patience: float,
) -> list[Finding]:
    client = TxAMQPClient.of_broker(broker, reactor=reactor)
    try:
        wire = await client.connected(patience)
        return await _checks(Subject(client, wire, settings, wait, patience))
    except QuebertError as e:
        return [connection_finding(broker, e)]
    finally:
        await client.stop(0)


async def _checks(subject: Subject) -> list[Finding]:
    peer = subject.wire.transport.getPeer()
    text = f"{peer.host}:{peer.port} lets {subject.user} into vhost {subject.vhost!r}"
    found = [ok(_ABOUT, text)]
    found += version_findings(subject.wire.server_properties)
    alarms = await _guarded(subject, "alarms", check_alarms(subject))
    checks = [_guarded(subject, "permissions", check_permissions(subject))]
    if subject.settings is not None:
        for queue in subject.settings.queues.values():
            about = f"queue {queue.name}"
            checks.append(_guarded(subject, about, check_queue(subject, queue)))
        for name in web_queues(subject.settings):
            check = check_web_queue(subject, name)
            checks.append(_guarded(subject, f"queue {name}", check))
    if all(each.level is Level.OK for each in alarms):
        checks.append(_guarded(subject, "delays", check_delays(subject)))
        about = "dead_letter_worker_publisher_confirm_timeout"
        checks.append(_guarded(subject, about, check_confirm_timeout(subject)))
        checks.append(_guarded(subject, "clock", check_broker_clock(subject)))
    checks.append(check_policies(subject))
    return [*found, *alarms, *await _all(checks)]


async def _guarded(subject: Subject, about: str, check: Check) -> list[Finding]:
    """
    What a check found, also where RabbitMQ does not answer, or does not let it look.

    @raise BrokerError: the connection was lost.
    """
    try:
        limit = subject.wait + 4 * subject.patience
        found = await subject.within(limit, check)
    except BrokerRefused as e:
        if e.code != ReplyCode.ACCESS_REFUSED:
            return [fail(about, str(e), "see the log of RabbitMQ")]
        remedy = (
            r"give the user of the doctor the permissions quebert\.doctor\..* and those"
            " of a mediator (see docs/operating.rst)"
        )
        return [unknown(about, f"not known, since we may not look: {e}", remedy)]
    if found is None:
        text = f"RabbitMQ did not answer in {limit:g} s"
        return [fail(about, text, "see its log, and whether its nodes are up")]
    return found


def connection_finding(broker: Broker, why: QuebertError) -> Finding:
    """
    Why there is no connection, and what to do.
    """
    user, vhost = broker.username, broker.vhost
    remedy = "see whether RabbitMQ runs, and whether the AMQP URL is right"
    if isinstance(why, CertificateRefused):
        remedy = "mend the certificates in the table [broker.tls]"
    elif isinstance(why, BrokerRefused) and why.code == ReplyCode.ACCESS_REFUSED:
        remedy = f"mend the password, or rabbitmqctl change_password {user} PASSWORD"
    elif isinstance(why, BrokerRefused) and why.code == ReplyCode.NOT_ALLOWED:
        remedy = (
            f"mend the name of the vhost, or rabbitmqctl add_vhost {vhost}; and"
            f" rabbitmqctl set_permissions -p {vhost} {user} '.*' '.*' '.*'"
        )
    elif isinstance(why, BrokerError) and not isinstance(why, BrokerUnreachable):
        remedy = "the connection was lost while we looked: see the log of RabbitMQ"
    return fail(_ABOUT, str(why), remedy)
