"""
Where brokers differ: the embedded broker from RabbitMQ, on purpose, and versions of
RabbitMQ from each other.  No other module says so; tests ask here.

The embedded broker refuses by 540, and by name, what it does not have, rather than to
take it and not do it.  The channel is closed for it, and the connection goes on.  And
where RabbitMQ hangs up without a word, it says why.

C{python -m quebert.test.contract.differences} prints the table that is in
C{docs/dev.rst}.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import attrs
import pytest

from quebert.test.contract.client import Channel, Closed, Disconnected
from quebert.test.contract.conftest import Broker

__all__ = [
    "CAPABILITIES",
    "DIFFERENCES",
    "EMBEDDED_IS_LIKE",
    "Difference",
    "Varies",
    "cut_off",
    "table",
]

T = TypeVar("T")

#: The versions of RabbitMQ that the tests run on.
VERSIONS = ("3.10", "4.0", "4.3")
#: The version that the embedded broker tells its clients, and behaves like unless a row
#: says otherwise.
EMBEDDED_IS_LIKE = "3.13"

# -- The embedded broker and RabbitMQ


@attrs.frozen
class Difference:
    """
    A method that RabbitMQ takes, and the embedded broker refuses.

    @ivar name: of what is refused; the reply text has it.
    """

    name: str
    method: str
    arguments: Mapping[str, Any]


def _queue(name: str, argument: str, value: Any, kind: str = "classic") -> Difference:
    table = {"x-queue-type": kind, argument: value}
    return Difference(name, "queue.declare", {"durable": True, "arguments": table})


DIFFERENCES = (
    # Transactions: confirms are what one wants.
    Difference("tx", "tx.select", {}),
    _queue("stream", "x-queue-type", "stream"),
    # Arguments that are not known might matter to whoever sends them.
    _queue("x-nonsense", "x-nonsense", 1),
    _queue("x-nonsense", "x-nonsense", 1, "quorum"),
    _queue("x-consumer-timeout", "x-consumer-timeout", 60_000, "quorum"),
    Difference(
        "x-priority", "basic.consume", {"queue": "", "arguments": {"x-priority": 1}}
    ),
    Difference(
        "reply-to",
        "basic.consume",
        {"queue": "amq.rabbitmq.reply-to", "no_ack": True},
    ),
)

#: RabbitMQ's capabilities that the embedded broker does not have, nor claims.
#: It never blocks a connection, and so never says that it does.
CAPABILITIES = ("connection.blocked", "consumer_priorities", "direct_reply_to")


def cut_off(broker: Broker, control: Channel, code: int) -> None:
    """
    Wait for the end of a connection, which RabbitMQ does not explain.

    @param code: how the embedded broker does.
    """
    ending = Disconnected if broker.name == "rabbitmq" else Closed
    with pytest.raises(ending) as caught:
        control.next()
    if isinstance(caught.value, Closed):
        close = caught.value.close
        assert (close.what, close.code) == ("connection", code)


# -- Versions of RabbitMQ


@attrs.frozen
class Varies(Generic[T]):
    """
    Something that is not the same in all versions of RabbitMQ.

    @ivar subject: a row of the documentation's table begins with it.
    @ivar since: what is so from a version on, up to the next one.
    @ivar embedded: the version that the embedded broker behaves like.
    """

    subject: str
    since: Mapping[str, T]
    embedded: str = EMBEDDED_IS_LIKE

    def on(self, broker: Broker) -> T:
        """
        What is so on a broker.
        """
        return self.of(broker.version or self.embedded)

    def of(self, version: str) -> T:
        """
        What is so in a version of RabbitMQ.
        """
        at = _numbers(version)
        begun = [each for each in self.since if _numbers(each) <= at]
        return self.since[max(begun, key=_numbers)]


def _numbers(version: str) -> list[int]:
    return list(map(int, version.split(".")))


# Connections.
SMALLEST_FRAME = Varies(
    "The smallest ``frame_max`` that a client may ask for, in bytes",
    {"3.10": 4096, "4.1": 8192},
)
MECHANISMS = Varies(
    "Mechanisms of authentication",
    {"3.10": "AMQPLAIN PLAIN", "4.0": "AMQPLAIN ANONYMOUS PLAIN"},
)
PROTOCOL = Varies(
    "The protocol that a client is told of that speaks another one",
    {"3.10": "AMQP 0-9-1", "4.0": "AMQP 1.0"},
)
CHANNEL_PREFETCH = Varies(
    "``basic.qos`` with ``global`` sets a limit for the whole channel (or else the same"
    " as without ``global``)",
    {"3.10": True, "4.3": False},
)
# Declaring.
UNKNOWN_TYPE = Varies(
    "An unknown type of exchanges closes",
    {"3.10": "the connection, 503", "4.0": "the channel, 406"},
)
QUEUE_VERSION_1 = Varies("``x-queue-version`` may be 1", {"3.10": True, "4.3": False})
THREE_HASHES = Varies(
    "A topic binding may have more than two ``#``", {"3.10": True, "4.3": False}
)
# Routing.
FLOATS_MATCH = Varies(
    "In a headers exchange, the header 1.0 matches a binding with 1",
    {"3.10": True, "4.0": False},
)
TIMES_MATCH = Varies("In a headers exchange, times match", {"3.10": True, "4.0": False})
# Consumers.
CLASSIC_TIMEOUT = Varies(
    "``consumer_timeout`` is for classic queues, too",
    {"3.10": True, "4.3": False},
    embedded="4.3",  # which has no such timeout
)
# Messages.
HEADERS_STAY = Varies(
    "Headers keep their order, and names that are there twice (or else they are"
    " sorted, and the first of a name stays)",
    {"3.10": True, "4.0": False},
)
EXPIRATION_STAYS = Varies(
    "``expiration`` keeps its sign and leading zeros", {"3.10": True, "4.0": False}
)
ANY_DELIVERY_MODE = Varies(
    "A ``delivery_mode`` may be other than 1 and 2", {"3.10": False, "4.0": True}
)
# Dead letters.
LAST_DEATH = Varies(
    "Dead letters have the headers ``x-last-death-…``", {"3.10": False, "4.0": True}
)
DEATHS_OF_CLIENTS = Varies(
    "An ``x-death`` that a client publishes is gone on with (or else replaced)",
    {"3.10": True, "4.0": False},
)
KEYS_REPLACED = Varies(
    "``x-dead-letter-routing-key`` removes the header ``CC``",
    {"3.10": True, "4.0": False},
)
REJECTED_IS_REDELIVERED = Varies(
    "A dead letter of ``basic.reject`` comes as ``redelivered``",
    {"3.10": False, "4.3": True},
)


# -- The table of them


def table() -> str:
    """
    All that varies, as a table of reStructuredText.
    """
    everything = [each for each in globals().values() if isinstance(each, Varies)]
    rows = [("", *(f"RabbitMQ {each}" for each in VERSIONS), "embedded broker")]
    for each in everything:
        versions = (*VERSIONS, each.embedded)
        rows.append((each.subject, *(_words(each.of(it)) for it in versions)))
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        bullets = ["   * - ", *["     - "] * (len(row) - 1)]
        cells = map(str.__add__, bullets, row)
        lines += [cell.rstrip() for cell in cells]
    return "\n".join(lines) + "\n"


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    sys.stdout.write(table())
