"""
What is written into the headers of a message that is dead-lettered, as RabbitMQ
writes it.  Pure.

Source: RabbitMQ's documentation of dead letter exchanges; details as observed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from quebert._protocol.extensions import DEATHS, FIRST_DEATH, VISIBLE_KEYS
from quebert._protocol.properties import amend_properties, decode_properties
from quebert._protocol.values import CodecError, Long, encode_field, header_text

__all__ = ["dead_properties", "goes_in_circles"]

#: What a count of deaths can be, as AMQP writes it.
_MOST = 2**63 - 1


def dead_properties(
    properties: bytes,
    *,
    reason: str,
    queue: str,
    exchange: str,
    routing_keys: list[str],
    now: float,
    keeps_copies: bool,
) -> bytes:
    """
    Encoded properties after a death.

    @param reason: C{"rejected"}, C{"expired"}, C{"maxlen"} or C{"delivery_limit"}.
    @param queue: where it died.
    @param exchange: what it had been published to.
    @param routing_keys: with which keys.
    @param now: in seconds of the epoch.
    @param keeps_copies: its C{CC} header stays: the queue sets no routing key of its
        own for dead letters, so that those of C{CC} apply again.
    """
    found = decode_properties(properties)
    headers = found.get("headers", {})
    death = {
        "count": Long(1),
        "reason": reason,
        "queue": header_text(queue),
        "time": datetime.fromtimestamp(int(now), UTC),
        "exchange": header_text(exchange),
        "routing-keys": [header_text(key) for key in routing_keys],
    }
    if "expiration" in found:
        death["original-expiration"] = found["expiration"]
    before = _deaths(headers)
    before = before if _writable(before) else []
    changes: dict[str, Any] = {DEATHS: _with(death, before)}
    if DEATHS not in headers and FIRST_DEATH["reason"] not in headers:
        changes |= {name: death[part] for part, name in FIRST_DEATH.items()}
    return amend_properties(
        properties,
        changes={"expiration": None},
        headers=changes,
        dropped=() if keeps_copies else (VISIBLE_KEYS,),
    )


def _deaths(headers: Mapping[str, Any]) -> list[dict[str, Any]]:
    deaths = headers.get(DEATHS)
    if not isinstance(deaths, list):
        return []
    return [dict(death) for death in deaths if isinstance(death, dict)]


def _writable(deaths: list[dict[str, Any]]) -> bool:
    # A client may have written what there is.
    try:
        encode_field(DEATHS, deaths)
    except CodecError:
        return False
    return True


def _with(death: dict[str, Any], deaths: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """
    The latest first, and one for each queue and reason.
    """
    others = []
    for each in deaths:
        count = each.get("count")
        if isinstance(count, int):
            each["count"] = Long(count)
        else:
            count = 0
        if (each.get("queue"), each.get("reason")) == (death["queue"], death["reason"]):
            death = {**each, "count": Long(min(count + 1, _MOST))}
        else:
            others.append(each)
    return [death, *others]


def goes_in_circles(headers: Mapping[str, Any], queue: str) -> bool:
    """
    Whether a dead letter has been in C{queue} before, and nobody has rejected it
    since: it would go on for ever.
    """
    since = []
    for death in _deaths(headers):
        since.append(death.get("reason"))
        if death.get("queue") == header_text(queue):
            return "rejected" not in since
    return False
