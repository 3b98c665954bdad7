"""
The differences that are meant, on both brokers.
"""

from __future__ import annotations

import pytest

from quebert.test.contract.client import Channel, fresh
from quebert.test.contract.conftest import Broker
from quebert.test.contract.differences import DIFFERENCES, Difference


@pytest.mark.parametrize("it", DIFFERENCES, ids=lambda it: it.name)
def test_difference(broker: Broker, channel: Channel, it: Difference) -> None:
    """
    540 is for what only RabbitMQ has, and names it.
    """
    channel.queue()
    options = dict(it.arguments)
    if it.method == "queue.declare":
        options["queue"] = fresh("queue")
    if broker.name == "embedded":
        refusal = channel.refusal(it.method, **options)
        assert (refusal.what, refusal.code) == ("connection", 540)
        assert refusal.text.startswith("NOT_IMPLEMENTED - ")
        assert it.name in refusal.text
        assert refusal.method == it.method
    elif it.refused:
        assert channel.refusal(it.method, **options).code == it.refused
    else:
        channel.call(it.method, **options)
