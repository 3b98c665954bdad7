"""
Translates settings into clients, the options of watches, and what these share.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from quebert._log import Logger
from quebert.amqp import PriorityGroup, TxAMQPClient, WatchOptions
from quebert.config import EVERY, TLS, Host, Priorities, QueueSettings, Settings
from quebert.http import Limits
from quebert.limits import Admission, Origins, OriginStatus
from quebert.signatures import IDTokens

__all__ = [
    "admission_of",
    "client_of",
    "connections_of",
    "group_of",
    "id_tokens_for",
    "id_tokens_of",
    "tls_of",
    "way_of",
]

_log = Logger(namespace="quebert.service")

# The options of a watch that a queue in a file has by the same names.
_SAME = {each.name for each in attrs.fields(WatchOptions)}.intersection(
    each.name for each in attrs.fields(QueueSettings)
)


def client_of(settings: Settings, reactor: Any) -> TxAMQPClient:
    """
    A client of the broker; it waits for it as long as it takes.

    @raise ConfigError: a file for TLS cannot be used.
    """
    return TxAMQPClient.of_broker(
        settings.broker,
        quorumDelays=settings.quorum_delays,
        maxMemory=settings.service.max_memory,
        reactor=reactor,
        connectTimeout=None,
    )


def way_of(
    queue: QueueSettings, settings: Settings, group: PriorityGroup
) -> dict[str, Any]:
    """
    What a watch is told, which it cannot change later: if this changes, a new watch
    takes over.  Fields of L{QueueSettings<quebert.config.QueueSettings>} whose names
    L{WatchOptions<quebert.amqp.WatchOptions>} has, too, are told without a line here.
    """
    given = {name: getattr(queue, name) for name in _SAME}
    given["prefetch"] = queue.effective_prefetch
    if queue.priority is not None:
        weight = settings.priorities.weights[queue.priority]
        given |= {"group": group, "weight": weight}
    said = {name: value for name, value in given.items() if value is not None}
    options = _counting_all(WatchOptions(**said))
    return {
        "exchange": queue.exchange,
        "queue": queue.name,
        "routingKey": queue.key,
        "options": options,
    }


def _counting_all(options: WatchOptions) -> WatchOptions:
    """
    Have requests that take long, or hang, count for the places that watches share; but
    not if these are more than one watch has: there they are no narrow limit, and hosts
    that hang are to stop no others.
    """
    places, prefetch = options.shared_concurrency, options.prefetch
    if places is None or 0 < prefetch < places:
        return options
    return attrs.evolve(options, slow_after=None, hang_after=0.0)


def group_of(priorities: Priorities) -> PriorityGroup:
    """
    What queues share that have a priority.
    """
    return PriorityGroup(priorities.concurrency, priorities.ageing)


def id_tokens_of(
    settings: Settings, now: Callable[[], float] = time.time
) -> IDTokens | None:
    """
    What makes ID tokens for the tasks of all mediators; C{None} where nothing can.

    @param now: the time of day, in seconds since the epoch.
    """
    oidc = settings.oidc
    return None if oidc is None else IDTokens(oidc.issuer, oidc.keys, now)


def id_tokens_for(
    made: IDTokens | None, settings: Settings, queue: str
) -> IDTokens | None:
    """
    What makes ID tokens for the tasks of one queue.

    @param made: what makes those of all; C{None} where nothing can.
    """
    oidc = settings.oidc
    if made is None or oidc is None:
        return None
    return made.limited_to(oidc.accounts_of(queue))


def admission_of(hosts: Mapping[str, Host]) -> Admission | None:
    """
    The admission control of C{hosts}; C{None} where they have no limits.
    """
    limits = {name: host.limits for name, host in hosts.items()}
    if not limits:
        return None
    return Origins(limits.pop(EVERY, None), limits, told=_tell)


def connections_of(hosts: Mapping[str, Host]) -> tuple[Limits, dict[str, Limits]]:
    """
    The limits of connections: those of every other host, and those of C{hosts}.
    """
    limits = {name: _connections(host) for name, host in hosts.items()}
    return limits.pop(EVERY, Limits()), limits


def tls_of(hosts: Mapping[str, Host]) -> tuple[dict[str, TLS], TLS | None]:
    """
    The files for TLS: of some hosts, and of every other one.
    """
    files = {host.name: host.tls for host in hosts.values() if host.tls is not None}
    return files, files.pop(EVERY, None)


def _connections(host: Host) -> Limits:
    said: dict[str, Any] = {
        "per_origin": host.connections,
        "idle": host.idle,
        "slowest": host.slowest,
    }
    given = {name: value for name, value in said.items() if value is not None}
    return attrs.evolve(Limits(), **given)


def _tell(origin: str, status: OriginStatus) -> None:
    if status.breaker == "closed":
        _log.info("The circuit breaker of {origin} is closed again.", origin=origin)
    else:
        _log.warn(
            "The circuit breaker of {origin} is open, since requests fail: its tasks"
            " wait.",
            origin=origin,
        )
