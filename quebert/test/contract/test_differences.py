"""
The differences that are meant, on both brokers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from quebert.test.contract.client import Channel, Client, fresh, version_of
from quebert.test.contract.conftest import Broker
from quebert.test.contract.differences import (
    CAPABILITIES,
    DIFFERENCES,
    EMBEDDED_IS_LIKE,
    Difference,
    table,
)


@pytest.mark.parametrize("it", DIFFERENCES, ids=lambda it: f"{it.method}-{it.name}")
def test_difference(broker: Broker, channel: Channel, it: Difference) -> None:
    """
    What only RabbitMQ has is refused by its name.
    """
    channel.queue()
    options = dict(it.arguments)
    if it.method == "queue.declare":
        options["queue"] = fresh("queue")
    if broker.name == "embedded":
        refusal = channel.refusal(it.method, **options)
        assert (refusal.what, refusal.code) == ("channel", 540)
        assert it.name in refusal.text
        assert refusal.method == it.method
    else:
        channel.call(it.method, **options)


@pytest.mark.parametrize("name", CAPABILITIES)
def test_capability(broker: Broker, dial: Callable[[], Client], name: str) -> None:
    """
    What only RabbitMQ has is not claimed.
    """
    has = dial().start()["server_properties"]["capabilities"].get(name, False)
    assert has is (broker.name == "rabbitmq")


def test_version(broker: Broker) -> None:
    """
    The embedded broker tells its clients which RabbitMQ it behaves like.
    """
    expected = broker.version or EMBEDDED_IS_LIKE
    assert f"{version_of(broker.port)}.".startswith(f"{expected}.")


def test_table() -> None:
    """
    The documentation has the table of what varies between versions.
    """
    folder = Path(__file__).parents[3]
    assert table() in (folder / "docs" / "dev.rst").read_text(encoding="utf-8")
