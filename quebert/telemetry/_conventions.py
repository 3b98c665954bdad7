"""
Names of spans, metrics and attributes: the semantic conventions 1.44 of OpenTelemetry
for RabbitMQ (messaging) and for HTTP clients.  Pure.

Where the conventions have no name for something, it begins with C{quebert.}.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Union

from quebert._text import one_line, one_line_url
from quebert._url import origin_of

__all__ = [
    "ATTEMPT",
    "BODY_SIZE",
    "ERROR_TYPE",
    "MESSAGE_ID",
    "OTHER",
    "OUTCOME",
    "RESEND_COUNT",
    "RETRY_AFTER",
    "ROUTING_KEY",
    "SCHEMA_URL",
    "STATUS_CODE",
    "URL_FULL",
    "Attributes",
    "destination_of",
    "of_messaging",
    "of_request",
]

#: What a span or a data point tells of itself.
Attributes = Mapping[str, Union[str, int, float]]

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
ERROR_TYPE = "error.type"
#: An error that has no name.
OTHER = "_OTHER"
ROUTING_KEY = "messaging.rabbitmq.destination.routing_key"
MESSAGE_ID = "messaging.message.id"
BODY_SIZE = "messaging.message.body.size"
STATUS_CODE = "http.response.status_code"
URL_FULL = "url.full"
RESEND_COUNT = "http.request.resend_count"
#: The number of the attempt, from 1.
ATTEMPT = "quebert.task.attempt"
#: What becomes of the task: C{done}, C{retry}, C{buried}, or the kind of its
#: L{Discard<quebert.outcome.Discard>}.
OUTCOME = "quebert.task.outcome"
#: In how many seconds it is tried again.
RETRY_AFTER = "quebert.task.retry_after"

# Characters of the URL of a span, and of the URLs that are remembered.
_MOST, _SHORT = 2_000, 500


def destination_of(exchange: str, routing_key: str, queue: str = "") -> str:
    """
    C{messaging.destination.name}: exchange, routing key and queue without those that
    are empty.  A queue that is called as the routing key stands there once.

    @param queue: where a message was taken from; empty for one that is sent.
    """
    parts = [exchange, routing_key, "" if queue == routing_key else queue]
    return one_line(":".join(filter(None, parts)), _MOST) or "amq.default"


@lru_cache(256)
def of_messaging(
    name: str, type: str, exchange: str, routing_key: str, queue: str = ""
) -> Attributes:
    """
    The attributes that spans and data points of an operation have in common.

    @param name: of the operation; C{publish} and C{process}.
    @param type: C{send} or C{process}.
    """
    return {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": name,
        "messaging.operation.type": type,
        "messaging.destination.name": destination_of(exchange, routing_key, queue),
    }


def of_request(method: str, url: str) -> tuple[Attributes, str]:
    """
    The attributes that the span and the data point of a request have in common, and the
    URL as the span may show it.

    @param url: an absolute one.
    """
    if len(url) <= _SHORT:
        return _remembered(method, url)
    return _of_request(method, url)


def _of_request(method: str, url: str) -> tuple[Attributes, str]:
    scheme, _, place = origin_of(url).partition("://")
    host, colon, port = place.rpartition(":")
    if not colon or "]" in port:  # the port is that of the scheme
        host, port = place, "443" if scheme == "https" else "80"
    attributes: Attributes = {
        "http.request.method": method,
        "server.address": one_line(host.strip("[]"), _SHORT),
        "server.port": int(port) if port.isdecimal() else 0,
        "url.scheme": scheme,
    }
    return attributes, one_line_url(url, _MOST)


_remembered = lru_cache(256)(_of_request)
