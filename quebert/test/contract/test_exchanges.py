"""
Exchanges: declared, bound to each other, and deleted.
"""

from __future__ import annotations

from typing import Any

import pytest

from quebert.test.contract.client import Channel, Close, fresh
from quebert.test.contract.conftest import Broker
from quebert.test.contract.differences import UNKNOWN_TYPE

TYPES = ["direct", "fanout", "topic", "headers"]


def declare(channel: Channel, name: str, **options: Any) -> None:
    """
    Declare an exchange.
    """
    channel.call("exchange.declare", exchange=name, **options)


def join(channel: Channel, source: str, destination: str, key: str = "") -> None:
    """
    Bind an exchange to another.
    """
    channel.call(
        "exchange.bind", source=source, destination=destination, routing_key=key
    )


# -- Declaring


@pytest.mark.parametrize("type", TYPES)
def test_types(channel: Channel, type: str) -> None:
    """
    There are four types of exchanges.
    """
    name = channel.exchange(type)
    declare(channel, name, passive=True)


@pytest.mark.parametrize(
    ("name", "type"),
    [
        ("amq.direct", "direct"),
        ("amq.fanout", "fanout"),
        ("amq.topic", "topic"),
        ("amq.headers", "headers"),
        ("amq.match", "headers"),
    ],
)
def test_predeclared(channel: Channel, name: str, type: str) -> None:
    """
    Some durable exchanges are there from the beginning.
    """
    declare(channel, name, exchange_type=type, durable=True)


def test_unknown_type(broker: Broker, channel: Channel) -> None:
    """
    A type that there is not is refused by its name.
    """
    name = fresh("exchange")
    refusal = channel.refusal(
        "exchange.declare", exchange=name, exchange_type="nonsense"
    )
    assert f"the {refusal.what}, {refusal.code}" == UNKNOWN_TYPE.on(broker)
    assert refusal.text.endswith(" - unknown exchange type 'nonsense'")
    assert refusal.method == "exchange.declare"


def test_declared_again(channel: Channel) -> None:
    """
    An exchange may be declared again as it is.
    """
    options = {"durable": True, "auto_delete": True, "internal": True}
    name = channel.exchange("topic", **options)
    declare(channel, name, exchange_type="topic", **options)


@pytest.mark.parametrize(
    ("option", "value", "received", "current"),
    [
        ("type", "fanout", "fanout", "direct"),
        ("durable", True, "true", "false"),
        ("auto_delete", True, "true", "false"),
        ("internal", True, "true", "false"),
    ],
)
def test_declared_otherwise(
    channel: Channel, option: str, value: Any, received: str, current: str
) -> None:
    """
    406 is for declaring an exchange otherwise than it is.
    """
    name = channel.exchange("direct")
    key = "exchange_type" if option == "type" else option
    assert channel.refusal("exchange.declare", exchange=name, **{key: value}) == Close(
        "channel",
        406,
        f"PRECONDITION_FAILED - inequivalent arg '{option}' for exchange '{name}' in"
        f" vhost '/': received '{received}' but current is '{current}'",
        "exchange.declare",
    )


def test_passive(channel: Channel) -> None:
    """
    Asking whether an exchange is there does not ask how it is.
    """
    name = channel.exchange("direct")
    declare(channel, name, exchange_type="fanout", durable=True, passive=True)


def test_passive_unknown(channel: Channel) -> None:
    """
    404 is for asking for an exchange that is not there.
    """
    name = fresh("exchange")
    assert channel.refusal("exchange.declare", exchange=name, passive=True) == Close(
        "channel",
        404,
        f"NOT_FOUND - no exchange '{name}' in vhost '/'",
        "exchange.declare",
    )


def test_reserved_name(channel: Channel) -> None:
    """
    403 is for an exchange whose name begins as the broker's own do.
    """
    assert channel.refusal("exchange.declare", exchange="amq.mine") == Close(
        "channel",
        403,
        "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'",
        "exchange.declare",
    )


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("exchange.declare", {}),
        ("exchange.declare", {"passive": True}),
        ("exchange.delete", {}),
    ],
)
def test_default_exchange(
    channel: Channel, method: str, options: dict[str, Any]
) -> None:
    """
    403 is for declaring or deleting the default exchange.
    """
    assert channel.refusal(method, exchange="", **options) == Close(
        "channel",
        403,
        "ACCESS_REFUSED - operation not permitted on the default exchange",
        method,
    )


def test_without_an_answer(channel: Channel) -> None:
    """
    No answer comes where none is wanted.
    """
    name = fresh("exchange")
    channel.send("exchange.declare", exchange=name, nowait=True)
    channel.send("exchange.delete", exchange=name, nowait=True)
    channel.send("basic.qos")
    assert channel.next().name == "basic.qos-ok"


def test_strange_names(channel: Channel) -> None:
    """
    A name may be in any script.
    """
    name = fresh("\N{SNOWMAN} \N{GREEK SMALL LETTER ALPHA}")
    declare(channel, name)
    declare(channel, name, passive=True)


# -- Deleting


def test_delete(channel: Channel) -> None:
    """
    What is published to an exchange that was deleted is refused.
    """
    name = channel.exchange()
    channel.call("exchange.delete", exchange=name)
    assert not channel.exchange_exists(name)


def test_delete_unknown(channel: Channel) -> None:
    """
    An exchange that is not there may be deleted.
    """
    channel.call("exchange.delete", exchange=fresh("exchange"))


def test_delete_predeclared(channel: Channel) -> None:
    """
    403 is for deleting an exchange of the broker's own.
    """
    assert channel.refusal("exchange.delete", exchange="amq.direct") == Close(
        "channel",
        403,
        "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not"
        " allowed",
        "exchange.delete",
    )


def test_delete_if_unused(channel: Channel) -> None:
    """
    An exchange that nothing is bound to is unused.
    """
    name = channel.exchange()
    channel.call("exchange.delete", exchange=name, if_unused=True)
    assert not channel.exchange_exists(name)


def test_delete_used(channel: Channel) -> None:
    """
    406 is for deleting, if unused, an exchange with bindings.
    """
    name = channel.exchange()
    channel.bind(channel.queue(), name)
    assert channel.refusal("exchange.delete", exchange=name, if_unused=True) == Close(
        "channel",
        406,
        f"PRECONDITION_FAILED - exchange '{name}' in vhost '/' in use",
        "exchange.delete",
    )
    assert channel.exchange_exists(name)


def test_delete_bound_to_another(channel: Channel) -> None:
    """
    An exchange is unused although it is itself bound to another.
    """
    source, name = channel.exchange(), channel.exchange()
    join(channel, source, name)
    channel.call("exchange.delete", exchange=name, if_unused=True)
    assert not channel.exchange_exists(name)


def test_delete_removes_bindings(channel: Channel) -> None:
    """
    An exchange that is declared again after its deletion has no bindings.
    """
    name, queue = channel.exchange(), channel.queue()
    channel.bind(queue, name, "key")
    channel.call("exchange.delete", exchange=name)
    declare(channel, name)
    channel.publish(name, "key", mandatory=True)
    assert channel.next().name == "basic.return"


# -- Exchanges that go by themselves


def test_auto_delete(channel: Channel) -> None:
    """
    An exchange with auto-delete goes with its last binding.
    """
    name, queue = channel.exchange(auto_delete=True), channel.queue()
    for key in ("1", "2"):
        channel.bind(queue, name, key)
    channel.call("queue.unbind", queue=queue, exchange=name, routing_key="1")
    assert channel.exchange_exists(name)
    channel.call("queue.unbind", queue=queue, exchange=name, routing_key="2")
    assert not channel.exchange_exists(name)


def test_auto_delete_with_the_queue(channel: Channel) -> None:
    """
    An exchange with auto-delete goes with the last queue bound to it.
    """
    name, queue = channel.exchange(auto_delete=True), channel.queue()
    channel.bind(queue, name)
    channel.call("queue.delete", queue=queue)
    assert not channel.exchange_exists(name)


def test_auto_delete_needs_a_binding(channel: Channel) -> None:
    """
    An exchange with auto-delete stays while nothing was ever bound to it.
    """
    name = channel.exchange(auto_delete=True)
    channel.call("queue.unbind", queue=channel.queue(), exchange=name)
    assert channel.exchange_exists(name)


# -- Exchanges bound to exchanges


@pytest.mark.parametrize("type", TYPES)
def test_exchange_to_exchange(channel: Channel, type: str) -> None:
    """
    A message follows a binding to another exchange, and that one's bindings.
    """
    first, second, queue = channel.exchange(type), channel.exchange(), channel.queue()
    join(channel, first, second, "key")
    channel.bind(queue, second, "key")
    channel.publish(first, "key", b"body")
    delivered = channel.take(queue)
    assert (delivered["exchange"], delivered["routing_key"]) == (first, "key")


def test_exchange_unbound(channel: Channel) -> None:
    """
    A message does not follow a binding that was undone.
    """
    first, second = channel.exchange(), channel.exchange()
    join(channel, first, second, "key")
    channel.bind(channel.queue(), second, "key")
    channel.call("exchange.unbind", source=first, destination=second, routing_key="key")
    channel.publish(first, "key", mandatory=True)
    assert channel.next().name == "basic.return"


def test_exchanges_in_a_circle(channel: Channel) -> None:
    """
    Where exchanges are bound in a circle, a message goes around once.
    """
    names = [channel.exchange("fanout") for _ in range(3)]
    queue = channel.queue()
    for source, destination in zip(names, names[1:] + names[:1], strict=True):
        join(channel, source, destination)
        channel.bind(queue, source)
    channel.confirm()
    channel.publish(names[0], "")
    channel.settled()
    assert channel.count(queue) == (1, 0)


@pytest.mark.parametrize("end", ["source", "destination"])
def test_bind_unknown_exchange(channel: Channel, end: str) -> None:
    """
    404 is for binding exchanges one of which is not there.
    """
    name = fresh("exchange")
    ends = {"source": channel.exchange(), "destination": channel.exchange(), end: name}
    assert channel.refusal("exchange.bind", **ends) == Close(
        "channel",
        404,
        f"NOT_FOUND - no exchange '{name}' in vhost '/'",
        "exchange.bind",
    )


@pytest.mark.parametrize("end", ["source", "destination"])
@pytest.mark.parametrize("method", ["exchange.bind", "exchange.unbind"])
def test_bind_default_exchange(channel: Channel, end: str, method: str) -> None:
    """
    403 is for binding the default exchange.
    """
    ends = {"source": channel.exchange(), "destination": channel.exchange(), end: ""}
    assert channel.refusal(method, **ends) == Close(
        "channel",
        403,
        "ACCESS_REFUSED - operation not permitted on the default exchange",
        method,
    )


# -- Internal and alternate exchanges


def test_internal(channel: Channel) -> None:
    """
    403 is for publishing to an internal exchange.
    """
    name = channel.exchange(internal=True)
    refusal = channel.refused(lambda: channel.publish(name, "key"), "basic.publish")
    assert refusal == Close(
        "channel",
        403,
        f"ACCESS_REFUSED - cannot publish to internal exchange '{name}' in vhost '/'",
        "basic.publish",
    )


def test_internal_behind_another(channel: Channel) -> None:
    """
    An internal exchange is reached through another.
    """
    source, internal = channel.exchange(), channel.exchange(internal=True)
    queue = channel.queue()
    join(channel, source, internal, "key")
    channel.bind(queue, internal, "key")
    channel.publish(source, "key", b"body")
    assert channel.take(queue).body == b"body"


def test_alternate(channel: Channel) -> None:
    """
    A message that an exchange cannot route goes to its alternate exchange,
    even a mandatory one.
    """
    alternate, queue = channel.exchange("fanout"), channel.queue()
    channel.bind(queue, alternate)
    name = channel.exchange(arguments={"alternate-exchange": alternate})
    channel.confirm()
    channel.publish(name, "key", b"body", mandatory=True)
    assert channel.next().name == "basic.ack"
    assert channel.take(queue)["exchange"] == name


def test_alternate_only_if_unroutable(channel: Channel) -> None:
    """
    A message that an exchange can route does not go to its alternate.
    """
    alternate, queue = channel.exchange("fanout"), channel.queue()
    channel.bind(queue, alternate)
    name = channel.exchange(arguments={"alternate-exchange": alternate})
    other = channel.queue()
    channel.bind(other, name, "key")
    channel.confirm()
    channel.publish(name, "key")
    channel.settled()
    assert (channel.count(queue), channel.count(other)) == ((0, 0), (1, 0))


def test_alternate_not_there(channel: Channel) -> None:
    """
    A mandatory message is returned where the alternate exchange is not there.
    """
    name = channel.exchange(arguments={"alternate-exchange": fresh("exchange")})
    channel.publish(name, "key", mandatory=True)
    assert channel.next().name == "basic.return"


def test_alternate_declared_otherwise(channel: Channel) -> None:
    """
    406 is for declaring another alternate exchange.
    """
    name = channel.exchange(arguments={"alternate-exchange": "one"})
    assert channel.refusal(
        "exchange.declare", exchange=name, arguments={"alternate-exchange": "two"}
    ) == Close(
        "channel",
        406,
        f"PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange"
        f" '{name}' in vhost '/': received 'two' but current is 'one'",
        "exchange.declare",
    )


def test_alternate_is_a_name(channel: Channel) -> None:
    """
    406 is for an alternate exchange that is no text.
    """
    name = fresh("exchange")
    assert channel.refusal(
        "exchange.declare", exchange=name, arguments={"alternate-exchange": 1}
    ) == Close(
        "channel",
        406,
        "PRECONDITION_FAILED - invalid type 'signedint' for arg 'alternate-exchange'"
        f" in exchange '{name}' in vhost '/'",
        "exchange.declare",
    )


def test_other_arguments_do_not_matter(channel: Channel) -> None:
    """
    An exchange may be declared again with other arguments of the client's own.
    """
    name = channel.exchange(arguments={"note": "one"})
    declare(channel, name, arguments={"note": "two"})
