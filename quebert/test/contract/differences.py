"""
What the embedded broker does otherwise than RabbitMQ, on purpose: the only
place where that is said.

It refuses by 540, and by name, what it does not have, rather than to take it and
not do it.  And where RabbitMQ hangs up without a word, it says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from quebert.test.contract.client import Channel, Closed, Disconnected
from quebert.test.contract.conftest import Broker

__all__ = ["CAPABILITIES", "DIFFERENCES", "Difference", "cut_off"]


@attrs.frozen
class Difference:
    """
    A method that RabbitMQ takes, and the embedded broker refuses.

    @ivar name: of what is refused; the reply text has it.
    @ivar closed: what the embedded broker closes for it.
    """

    name: str
    method: str
    arguments: Mapping[str, Any]
    closed: str = "connection"


def _queue(name: str, argument: str, value: Any, kind: str = "classic") -> Difference:
    table = {"x-queue-type": kind, argument: value}
    return Difference(name, "queue.declare", {"durable": True, "arguments": table})


DIFFERENCES = (
    # Transactions: confirms are what one wants.
    Difference("tx", "tx.select", {}, closed="channel"),
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
