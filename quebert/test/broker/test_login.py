"""
Tests for L{quebert.broker.protocol._login} and L{quebert.broker.protocol._server}: how
a connection begins and ends, and which frames may come in which of its states.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.frames import (
    FRAME_BODY,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    PROTOCOL_HEADER,
    frame,
)
from quebert._protocol.methods import method_frame
from quebert.broker import BrokerFactory
from quebert.broker.protocol._login import check_limits, credentials
from quebert.broker.state import AMQPConnectionError
from quebert.test.broker.peer import Peer

TOLD = {"capabilities": {"authentication_failure_close": True}}


def start_ok(password: str = "guest", properties: Any = None) -> bytes:
    """
    The frame that gives a password.
    """
    given = TOLD if properties is None else properties
    values = (given, "PLAIN", f"\0guest\0{password}", "en_US")
    return method_frame(0, "connection.start-ok", values)


def tune_ok(channels: int = 2047, size: int = 131_072, heartbeat: int = 0) -> bytes:
    """
    The frame that agrees to limits.
    """
    return method_frame(0, "connection.tune-ok", (channels, size, heartbeat))


def opened(vhost: str = "/") -> bytes:
    """
    The frame that asks for a virtual host.
    """
    return method_frame(0, "connection.open", (vhost, "", False))


CLOSE = method_frame(0, "connection.close", (200, "bye", 0, 0))
CLOSE_OK = method_frame(0, "connection.close-ok", ())


class LoginTestCase(SynchronousTestCase):
    """
    A client that has sent nothing yet.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = BrokerFactory(self.clock, vhosts=["/", "other"])
        self.new()

    def new(self) -> None:
        """
        Another client.
        """
        self.peer = Peer(self.broker)

    def send(self, *data: bytes) -> list[str]:
        """
        Send bytes; what is answered, with its code.
        """
        for piece in data:
            self.peer.send(piece)
        received, self.peer.received = self.peer.received, []
        found = []
        for each in received:
            code = each.method.arguments.get("reply_code", "")
            found.append(f"{each.name.removeprefix('connection.')} {code}".rstrip())
        return found


class LimitTests(SynchronousTestCase):
    """
    What a client may make of the limits that are proposed.
    """

    def test_limits(self) -> None:
        for channels, size, fits in (
            (2047, 131_072, True),
            (1, 4096, True),
            (0, 131_072, False),
            (2047, 0, False),
            (2048, 131_072, False),
            (2047, 131_073, False),
            (2047, 4095, False),
        ):
            given = {"channel_max": channels, "frame_max": size}
            try:
                check_limits(given)
            except AMQPConnectionError as e:
                self.assertFalse(fits, given)
                self.assertEqual(e.code, 530)
                name = "frame_max" if channels == 2047 else "channel_max"
                self.assertIn(f"negotiated {name} = {given[name]} is ", str(e))
                word = "lower" if size == 4095 else "higher"
                self.assertIn(word, str(e))
            else:
                self.assertTrue(fits, given)

    def test_credentials(self) -> None:
        """
        What is no text stands for nobody.
        """
        self.assertEqual(credentials("PLAIN", "\0guest\0secret"), ("guest", "secret"))
        self.assertEqual(credentials("PLAIN", b"x\0guest\0\xff"), ("guest", "\udcff"))
        number = b"\5LOGINI\0\0\0\7\x08PASSWORDS\0\0\0\1p"
        self.assertEqual(credentials("AMQPLAIN", number), ("", "p"))
        self.assertEqual(credentials("AMQPLAIN", b""), ("", ""))


class BeginningTests(LoginTestCase):
    """
    How a connection begins.
    """

    def test_in_order(self) -> None:
        self.assertEqual(self.send(PROTOCOL_HEADER), ["start"])
        self.assertEqual(self.send(start_ok()), ["tune"])
        self.assertEqual(self.send(tune_ok()), [])
        self.assertEqual(self.send(opened("other")), ["open-ok"])
        self.assertEqual(self.peer.connection.vhost.name, "other")
        self.assertEqual(self.send(CLOSE), ["close-ok"])
        self.assertTrue(self.peer.lost)

    def test_proposals(self) -> None:
        """
        AMQP 0-9 and its limits are proposed, and what this broker is like.
        """
        self.peer.send(PROTOCOL_HEADER)
        start = self.peer.received[-1]
        version = start["version_major"], start["version_minor"]
        self.assertEqual(version, (0, 9))
        self.assertEqual(start["mechanisms"], "PLAIN AMQPLAIN")
        self.assertEqual(start["server_properties"]["version"], "3.13.0")
        self.assertTrue(all(start["server_properties"]["capabilities"].values()))
        self.peer.send(start_ok())
        tune = self.peer.received[-1]
        limits = tune["channel_max"], tune["frame_max"], tune["heartbeat"]
        self.assertEqual(limits, (2047, 131_072, 60))

    def test_out_of_order(self) -> None:
        """
        A method that is not for the state of the connection closes it.
        """
        steps = [PROTOCOL_HEADER, start_ok(), tune_ok(), opened()]
        for count in range(1, 5):
            for wrong in (start_ok(), tune_ok(), opened(), CLOSE_OK):
                if count < 4 and wrong == steps[count]:
                    continue
                self.new()
                self.send(*steps[:count])
                self.assertEqual(self.send(wrong), ["close 504"], (count, wrong))
                self.assertFalse(self.peer.lost)
                self.assertEqual(self.send(CLOSE_OK), [])
                self.assertTrue(self.peer.lost)

    def test_no_virtual_host(self) -> None:
        found = self.send(PROTOCOL_HEADER, start_ok(), tune_ok(), opened("none"))
        self.assertEqual(found, ["start", "tune", "close 530"])

    def test_limits_refused(self) -> None:
        found = self.send(PROTOCOL_HEADER, start_ok(), tune_ok(channels=2048))
        self.assertEqual(found, ["start", "tune", "close 530"])

    def test_wrong_password(self) -> None:
        """
        A client is told so if it can understand that; else it is cut off.
        """
        found = self.send(PROTOCOL_HEADER, start_ok("wrong"))
        self.assertEqual(found, ["start", "close 403"])
        unable: tuple[Any, ...] = ({}, {"capabilities": 1}, {"capabilities": {}})
        for properties in unable:
            self.new()
            found = self.send(PROTOCOL_HEADER, start_ok("wrong", properties))
            self.assertEqual(found, ["start"])
            self.assertTrue(self.peer.lost)

    def test_limit_of_channels(self) -> None:
        """
        So many channels may be open as the client has agreed to.
        """
        self.send(PROTOCOL_HEADER, start_ok(), tune_ok(channels=2), opened())
        openings = [method_frame(n, "channel.open", ("",)) for n in (1, 2, 3)]
        found = self.send(*openings)
        self.assertEqual(found, ["channel.open-ok", "channel.open-ok", "close 530"])

    def test_size_of_frames(self) -> None:
        """
        A frame has so many octets as the client has agreed to, and eight more.
        """
        for octets, answer in ((4096, []), (4104, []), (4105, ["close 501"])):
            self.new()
            self.send(PROTOCOL_HEADER, start_ok(), tune_ok(size=4096), opened())
            data = frame(FRAME_HEARTBEAT, 0, bytes(octets - 8))
            self.assertEqual(self.send(data), answer, octets)

    def test_secret(self) -> None:
        self.send(PROTOCOL_HEADER, start_ok(), tune_ok(), opened())
        update = method_frame(0, "connection.update-secret", ("new", "why"))
        self.assertEqual(self.send(update), ["update-secret-ok"])

    def test_time(self) -> None:
        """
        It has ten seconds to open its virtual host, and then any time.
        """
        self.send(PROTOCOL_HEADER, start_ok(), tune_ok())
        self.peer.turn(9.5)
        self.assertFalse(self.peer.lost)
        self.send(opened())
        self.peer.turn(100)
        self.assertFalse(self.peer.lost)
        self.peer.transport.loseConnection()
        self.peer.turn()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.new()
        self.send(PROTOCOL_HEADER, start_ok(), tune_ok())
        self.peer.turn(10)
        self.assertTrue(self.peer.lost)


class EndTests(LoginTestCase):
    """
    How it ends.
    """

    def setUp(self) -> None:
        super().setUp()
        self.peer.open()

    def test_frames_out_of_place(self) -> None:
        """
        Frames that are no methods are for channels, and heartbeats are not.
        """
        for kind, channel, answer in (
            (FRAME_BODY, 0, ["close 505"]),
            (FRAME_HEARTBEAT, 1, ["close 505"]),
            (FRAME_HEARTBEAT, 0, []),
            (FRAME_METHOD, 0, ["close 501"]),
        ):
            self.new()
            self.peer.open()
            found = self.send(frame(kind, channel, b""))
            self.assertEqual(found, answer, (kind, channel))

    def test_while_it_is_being_closed(self) -> None:
        """
        Until the client agrees, all else that it says is let go; it may close it, too,
        whatever the arguments.
        """
        wrong = frame(FRAME_BODY, 0, b"")
        torn = frame(FRAME_METHOD, 0, CLOSE[7:-1][:5])
        other = method_frame(1, "channel.open", ("",)), opened(), wrong
        for end, answer in (
            (CLOSE_OK, []),
            (CLOSE, ["close-ok"]),
            (torn, ["close-ok"]),
        ):
            self.new()
            self.peer.open()
            self.assertEqual(self.send(wrong), ["close 505"])
            self.assertEqual(self.send(*other), [])
            self.assertFalse(self.peer.lost)
            self.assertEqual(self.send(end), answer)
            self.assertTrue(self.peer.lost)
            self.clock.advance(0)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_understood(self) -> None:
        """
        Behind a frame that has no end nothing is looked at; the connection is cut off
        after ten seconds.
        """
        broken = frame(FRAME_METHOD, 0, CLOSE[7:-1])[:-1] + b"\0"
        self.assertEqual(self.send(broken), ["close 501"])
        self.assertEqual(self.send(CLOSE_OK), [])
        self.peer.turn(9.5)
        self.assertFalse(self.peer.lost)
        self.peer.turn(0.5)
        self.assertTrue(self.peer.lost)

    def test_logged(self) -> None:
        """
        An error of a user's connection is logged, with the user.
        """
        with capturedLogs() as logged:
            self.send(frame(FRAME_BODY, 0, b""))
        (line,) = map(formatEvent, logged)
        self.assertIn("The connection of 'guest' is closed: UNEXPECTED", str(line))

    def test_defect(self) -> None:
        """
        A defect of the broker closes one connection, and is logged.
        """
        self.patch(self.peer.connection.vhost, "declare_queue", None)
        with capturedLogs() as logged:
            declared = self.peer.encoded("queue.declare", {"queue": "q"})
            self.assertEqual(self.send(declared), ["close 541"])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertIn("defect of the broker", str(formatEvent(logged[0])))

    def test_unknown_methods(self) -> None:
        """
        Methods that there are not are refused by their numbers.
        """
        for payload, answer in (
            (b"\0\x3c\3\xe7", ["close 540"]),  # basic.999
            (b"\0\x3c\0\x3c", ["close 503"]),  # basic.deliver, which clients get
        ):
            self.new()
            self.peer.open()
            self.peer.send(frame(FRAME_METHOD, 1, payload))
            close = self.peer.received[-1]
            if answer == ["close 503"]:
                self.assertEqual((close["class_id"], close["method_id"]), (60, 60))
            self.assertEqual(self.send(), answer)

    def test_channels(self) -> None:
        """
        A channel is opened once, and again after it was closed; what comes for one that
        is being closed is let go.
        """
        opening = method_frame(2, "channel.open", ("",))
        closing = method_frame(2, "channel.close", (200, "bye", 0, 0))
        agreed = method_frame(2, "channel.close-ok", ())
        self.assertEqual(self.send(agreed), [])
        for _ in range(2):
            found = self.send(opening, closing)
            self.assertEqual(found, ["channel.open-ok", "channel.close-ok"])
        for end, answer in ((agreed, []), (closing, ["channel.close-ok"])):
            asked = self.peer.encoded("basic.get", {"queue": "none"}, 2)
            found = self.send(opening, asked)
            self.assertEqual(found, ["channel.open-ok", "channel.close 404"])
            self.assertEqual(self.send(asked, frame(FRAME_BODY, 2, b"x")), [])
            self.assertEqual(self.send(end), answer)
        self.assertEqual(self.send(opening), ["channel.open-ok"])
        self.assertEqual(self.send(opening), ["close 504"])

    def test_unopened_channel(self) -> None:
        """
        What comes for a channel that is not open closes the connection.
        """
        asked = self.peer.encoded("basic.get", {"queue": "q"}, 3)
        for data, index in ((asked, (60, 70)), (frame(FRAME_BODY, 3, b"x"), (0, 0))):
            self.new()
            self.peer.open()
            self.peer.send(data)
            close = self.peer.received[-1]
            self.assertEqual((close["class_id"], close["method_id"]), index)
            self.assertEqual(self.send(), ["close 504"])
