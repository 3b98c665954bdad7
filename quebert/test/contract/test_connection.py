"""
How a connection is opened, what ends it, and what its frames may be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quebert._protocol.content import CONTENT_HEADER
from quebert._protocol.frames import (
    FRAME_BODY,
    FRAME_HEADER,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    FRAME_START,
    HEARTBEAT_FRAME,
    PROTOCOL_HEADER,
    frame,
)
from quebert._protocol.values import encode_table
from quebert.test.contract.client import Channel, Client, Close, Disconnected
from quebert.test.contract.conftest import Broker
from quebert.test.contract.differences import (
    MECHANISMS,
    PROTOCOL,
    SMALLEST_FRAME,
    cut_off,
)

Dial = Callable[[], Client]
Connect = Callable[..., Client]

# -- The greeting


def test_protocol_version(dial: Dial) -> None:
    """
    The broker answers the protocol's header with version 0-9, in US English.
    """
    start = dial().start()
    assert start.name == "connection.start"
    assert (start["version_major"], start["version_minor"]) == (0, 9)
    assert start["locales"] == "en_US"


def test_mechanisms(broker: Broker, dial: Dial) -> None:
    """
    PLAIN and AMQPLAIN are what a client may authenticate by.
    """
    mechanisms = dial().start()["mechanisms"]
    assert sorted(mechanisms.split()) == MECHANISMS.on(broker).split()


@pytest.mark.parametrize("name", ["product", "version", "platform", "information"])
def test_server_properties(dial: Dial, name: str) -> None:
    """
    The broker says what it is.
    """
    assert dial().start()["server_properties"][name]


@pytest.mark.parametrize(
    "name",
    [
        "authentication_failure_close",
        "basic.nack",
        "consumer_cancel_notify",
        "exchange_exchange_bindings",
        "per_consumer_qos",
        "publisher_confirms",
    ],
)
def test_capabilities(dial: Dial, name: str) -> None:
    """
    The broker says which of RabbitMQ's extensions it has.
    """
    assert dial().start()["server_properties"]["capabilities"][name] is True


@pytest.mark.parametrize(
    "header", [b"AMQP\x00\x00\x08\x00", b"AMQP\x00\x01\x00\x00", b"GET / HT"]
)
def test_other_protocol(broker: Broker, dial: Dial, header: bytes) -> None:
    """
    A client that speaks another protocol is told which to speak, and cut off.
    """
    client = dial()
    client.write(header)
    headers = {"AMQP 0-9-1": PROTOCOL_HEADER, "AMQP 1.0": b"AMQP\x03\x01\x00\x00"}
    assert client.rest() == headers[PROTOCOL.on(broker)]


# -- Who it is


def test_plain(dial: Dial) -> None:
    """
    PLAIN takes a user and a password.
    """
    client = dial()
    client.start()
    assert client.authenticate("guest", "guest").name == "connection.tune"


def test_amqplain(dial: Dial) -> None:
    """
    AMQPLAIN takes the fields of a table.
    """
    client = dial()
    client.start()
    fields = encode_table({"LOGIN": "guest", "PASSWORD": "guest"})[4:]
    tune = client.authenticate(mechanism="AMQPLAIN", response=fields)
    assert tune.name == "connection.tune"


@pytest.mark.parametrize("who", [("guest", "wrong"), ("nobody", "guest"), ("", "")])
def test_wrong_password(dial: Dial, who: tuple[str, str]) -> None:
    """
    403 is for a user that is unknown, or has another password.
    """
    client = dial()
    client.start()
    refusal = client.control.refused(
        lambda: client.authenticate(*who), "connection.open"
    )
    assert refusal == Close(
        "connection",
        403,
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN."
        " For details see the broker logfile.",
    )


def test_wrong_password_of_amqplain(dial: Dial) -> None:
    """
    403 names the mechanism that was used.
    """
    client = dial()
    client.start()
    response = encode_table({"LOGIN": "guest", "PASSWORD": "wrong"})[4:]
    refusal = client.control.refused(
        lambda: client.authenticate(mechanism="AMQPLAIN", response=response),
        "connection.open",
    )
    assert refusal.code == 403
    assert "authentication mechanism AMQPLAIN." in refusal.text


def test_cannot_be_told(dial: Dial) -> None:
    """
    A client with a wrong password is cut off without a word if it does not have
    the capability of being told.
    """
    client = dial()
    client.start()
    with pytest.raises(Disconnected):
        client.authenticate("guest", "wrong", capabilities={})


# -- The limits


def test_tune(dial: Dial) -> None:
    """
    The broker proposes RabbitMQ's limits.
    """
    client = dial()
    client.start()
    tune = client.authenticate()
    assert tune.arguments == {
        "channel_max": 2047,
        "frame_max": 131072,
        "heartbeat": 60,
    }


def test_cut_off(broker: Broker, dial: Dial) -> None:
    """
    A client is cut off that authenticates by another mechanism, or not as its
    mechanism has it, or does not agree to the limits.
    """
    answers: list[tuple[int, dict[str, Any]]] = [
        (503, {"mechanism": "NONSENSE"}),
        (502, {"response": "guest guest"}),
    ]
    limits = [
        {"frame_max": 131073},
        {"frame_max": 0},
        {"frame_max": SMALLEST_FRAME.on(broker) - 1},
        {"channel_max": 2048},
        {"channel_max": 0},
    ]
    clients = [dial() for _ in (*answers, *limits)]  # RabbitMQ takes its time
    for client in clients:
        client.start()
    for client, (_, answer) in zip(clients, answers, strict=False):
        client.control.send("connection.start-ok", **answer)
    for client, limit in zip(clients[len(answers) :], limits, strict=True):
        client.authenticate()
        client.tune(**limit)
    codes = [code for code, _ in answers] + [530] * len(limits)
    for client, code in zip(clients, codes, strict=True):
        cut_off(broker, client.control, code)


def test_lower_limits(broker: Broker, connect: Connect) -> None:
    """
    A client may have lower limits than proposed.
    """
    client = connect(frame_max=SMALLEST_FRAME.on(broker), channel_max=1, heartbeat=30)
    assert client.channel().queue()


# -- The virtual host


def test_unknown_vhost(dial: Dial) -> None:
    """
    530 is for a virtual host that there is not.
    """
    client = dial()
    client.start()
    client.authenticate()
    client.tune()
    assert client.control.refusal("connection.open", virtual_host="nowhere") == Close(
        "connection",
        530,
        "NOT_ALLOWED - vhost nowhere not found",
        "connection.open",
    )


def test_vhosts_share_nothing(connect: Connect, channel: Channel) -> None:
    """
    A queue is in one virtual host only.
    """
    queue = channel.queue()
    other = connect("other").channel()
    assert other.refusal("basic.get", queue=queue) == Close(
        "channel",
        404,
        f"NOT_FOUND - no queue '{queue}' in vhost 'other'",
        "basic.get",
    )


# -- The end


def test_close(client: Client, channel: Channel) -> None:
    """
    A client's close is answered, also while channels are open.
    """
    reply = client.control.call(
        "connection.close", reply_code=200, class_id=0, method_id=0
    )
    assert reply.name == "connection.close-ok"


def test_cut_off_after_close(client: Client, channel: Channel) -> None:
    """
    Once a client has answered the broker's close, the broker hangs up.
    """
    assert channel.refusal("channel.flow", active=False).what == "connection"
    assert client.rest() == b""


def test_nothing_counts_after_the_brokers_close(
    client: Client, connect: Connect, channel: Channel
) -> None:
    """
    What a client sends behind the method it is closed for is not done.
    """
    queue = channel.queue()
    client.write(
        channel.method_frame("channel.flow", active=False)
        + channel.method_frame("queue.delete", queue=queue)
    )
    assert channel.refused(lambda: None, "channel.flow").code == 540
    assert connect().channel().exists(queue)


def test_all_channels_end(client: Client, channel: Channel) -> None:
    """
    An error of the connection ends all its channels.
    """
    other = client.channel()
    first = channel.refusal("channel.flow", active=False)
    assert other.refused(lambda: None, "channel.flow") == first


def test_heartbeats_come(connect: Connect) -> None:
    """
    The broker sends heartbeats when it has nothing else to say.
    """
    client = connect(heartbeat=1)
    while not client.heartbeats:
        client.read_frame()


def test_silent_client(connect: Connect) -> None:
    """
    A client is cut off that sends no heartbeats, while one that sends nothing
    else is not.
    """
    silent, client = connect(heartbeat=2), connect(heartbeat=2)
    while client.heartbeats < 8:  # of one a second
        client.read_frame()
        client.write(HEARTBEAT_FRAME)
    assert silent.rest().replace(HEARTBEAT_FRAME, b"") == b""
    assert client.channel()


def test_update_secret(client: Client, channel: Channel) -> None:
    """
    A client may renew its password.
    """
    client.control.call("connection.update-secret", new_secret="guest", reason="")
    assert channel.queue()


# -- Methods out of order


def test_channel_before_open(dial: Dial) -> None:
    """
    505 is for a channel that is opened before the connection is.
    """
    client = dial()
    client.start()
    client.authenticate()
    client.tune()
    refusal = client.unopened_channel(1).refusal("channel.open")
    assert (refusal.what, refusal.code) == ("connection", 505)


def test_open_twice(client: Client) -> None:
    """
    504 is for opening a connection that is open.
    """
    assert client.control.refusal("connection.open") == Close(
        "connection",
        504,
        "CHANNEL_ERROR - unexpected method in connection state running",
        "connection.open",
    )


def test_channel_that_is_not_open(client: Client) -> None:
    """
    504 is for a method on a channel that was not opened.
    """
    channel = client.unopened_channel(7)
    assert channel.refusal("queue.declare") == Close(
        "connection",
        504,
        "CHANNEL_ERROR - expected 'channel.open'",
        "queue.declare",
    )


def test_channel_that_was_closed(client: Client, channel: Channel) -> None:
    """
    504 is for a method on a channel that was closed.
    """
    channel.close()
    assert channel.refusal("queue.declare") == Close(
        "connection",
        504,
        "CHANNEL_ERROR - expected 'channel.open'",
        "queue.declare",
    )


def test_method_of_the_broker(channel: Channel) -> None:
    """
    503 is for a method that only the broker may send.
    """
    action = lambda: channel.send(  # noqa: E731
        "queue.declare-ok", queue="", message_count=0, consumer_count=0
    )
    assert channel.refused(action, "queue.declare") == Close(
        "connection",
        503,
        "COMMAND_INVALID - unimplemented method",
        "queue.declare-ok",
    )


def test_unknown_method(broker: Broker, client: Client) -> None:
    """
    A client that sends a method that AMQP does not have is cut off.
    """
    client.write(frame(FRAME_METHOD, 1, b"\x00\x32\x00\x63"))
    cut_off(broker, client.control, 540)


# -- Frames


def test_content_without_a_method(client: Client, channel: Channel) -> None:
    """
    505 is for a message without the method it belongs to.
    """
    refusal = channel.refused(
        lambda: client.write(channel.content_frames(b"body")), "channel.open"
    )
    assert refusal == Close(
        "connection",
        505,
        "UNEXPECTED_FRAME - expected method frame, got non method frame instead",
    )


def test_method_for_a_header(channel: Channel) -> None:
    """
    505 is for a method where a message's header belongs.
    """
    channel.send("basic.publish")
    assert channel.refusal("queue.declare") == Close(
        "connection",
        505,
        "UNEXPECTED_FRAME - expected content header for class 60, got non content"
        " header frame instead",
        "basic.publish",
    )


def test_method_for_a_body(client: Client, channel: Channel) -> None:
    """
    505 is for a method where a message's body belongs.
    """
    channel.send("basic.publish")
    header = CONTENT_HEADER.pack(60, 0, 1) + b"\0\0"
    client.write(frame(FRAME_HEADER, channel.number, header))
    assert channel.refusal("queue.declare") == Close(
        "connection",
        505,
        "UNEXPECTED_FRAME - expected content body, got non content body frame instead",
        "basic.publish",
    )


def test_header_of_another_class(client: Client, channel: Channel) -> None:
    """
    505 is for the header of a message of another class.
    """
    channel.send("basic.publish")
    header = frame(
        FRAME_HEADER, channel.number, CONTENT_HEADER.pack(50, 0, 0) + b"\0\0"
    )
    refusal = channel.refused(lambda: client.write(header), "channel.open")
    assert refusal == Close(
        "connection",
        505,
        "UNEXPECTED_FRAME - expected content header for class 60, got one for class"
        " 50 instead",
        "basic.publish",
    )


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(
            FRAME_START.pack(FRAME_BODY, 1, 131073) + b"x" * 100, 501, id="too large"
        ),
        pytest.param(
            FRAME_START.pack(FRAME_METHOD, 0, 4) + b"\0\0\0\0\0", 501, id="no end"
        ),
        pytest.param(frame(7, 0, b""), 501, id="unknown type on channel 0"),
        pytest.param(frame(7, 1, b""), 501, id="unknown type"),
        pytest.param(frame(FRAME_HEARTBEAT, 1, b""), 505, id="heartbeat on a channel"),
        pytest.param(frame(FRAME_BODY, 0, b"?"), 505, id="content on channel 0"),
        pytest.param(
            frame(FRAME_METHOD, 1, b"\0\x32\0\x0a\0\0\x05q"), 501, id="cut short"
        ),
    ],
)
def test_frame_that_is_wrong(
    client: Client, channel: Channel, data: bytes, code: int
) -> None:
    """
    501 is for a frame that cannot be read, 505 for one that is out of place.
    """
    refusal = channel.refused(lambda: client.write(data), "channel.open")
    assert (refusal.what, refusal.code) == ("connection", code)


def test_frame_a_little_too_large(client: Client, channel: Channel) -> None:
    """
    A frame may be eight bytes larger than agreed: some clients count so.
    """
    queue = channel.queue()
    channel.send("basic.publish", routing_key=queue)
    header = CONTENT_HEADER.pack(60, 0, 131072) + b"\0\0"
    client.write(frame(FRAME_HEADER, channel.number, header))
    client.write(frame(FRAME_BODY, channel.number, b"x" * 131072))
    assert channel.take(queue).body == b"x" * 131072


def test_frames_in_pieces(client: Client) -> None:
    """
    Frames may come byte by byte, or several at once.
    """
    channel = client.unopened_channel()
    data = channel.method_frame("channel.open")
    for at in range(len(data)):
        client.write(data[at : at + 1])
    assert channel.next().name == "channel.open-ok"
    client.write(channel.method_frame("basic.qos") * 3)
    assert [channel.next().name for _ in range(3)] == ["basic.qos-ok"] * 3


def test_heartbeats_in_between(client: Client, channel: Channel) -> None:
    """
    Heartbeats may come anywhere, even within a message.
    """
    queue = channel.queue()
    channel.send("basic.publish", routing_key=queue)
    header = CONTENT_HEADER.pack(60, 0, 4) + b"\0\0"
    client.write(
        frame(FRAME_HEADER, channel.number, header)
        + HEARTBEAT_FRAME
        + frame(FRAME_BODY, channel.number, b"bo")
        + HEARTBEAT_FRAME
        + frame(FRAME_BODY, channel.number, b"dy")
    )
    assert channel.take(queue).body == b"body"


def test_channels_interleave(client: Client, channel: Channel) -> None:
    """
    The frames of messages on several channels may be mixed.
    """
    other = client.channel()
    queue = channel.queue()
    for each in (channel, other):
        each.send("basic.publish", routing_key=queue)
    for each in (other, channel):
        header = CONTENT_HEADER.pack(60, 0, 2) + b"\0\0"
        client.write(frame(FRAME_HEADER, each.number, header))
    for _ in range(2):
        for each, letter in ((channel, b"1"), (other, b"2")):
            client.write(frame(FRAME_BODY, each.number, letter))
    assert sorted(channel.take(queue).body for _ in range(2)) == [b"11", b"22"]
