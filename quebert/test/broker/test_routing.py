"""
Tests for L{quebert.broker.state._routing} and L{quebert.broker.protocol._login}: where
messages go that are not consumed, and who is let in.
"""

from __future__ import annotations

from typing import Any

from quebert._protocol.frames import PROTOCOL_HEADER
from quebert._protocol.methods import method_frame
from quebert.test.broker.peer import Peer
from quebert.test.broker.test_commands import CommandsTestCase


class DeadLetterTests(CommandsTestCase):
    """
    Dead letters.
    """

    def setUp(self) -> None:
        """
        Have a queue for them.
        """
        super().setUp()
        self.declare("dead")

    def letters(self) -> list[tuple[bytes, str]]:
        """
        The dead letters, and why each of them is one.
        """
        found = []
        while (got := self.call("basic.get", queue="dead")).name == "basic.get-ok":
            found.append((got.body, got.properties["headers"]["x-death"][0]["reason"]))
            self.call("basic.ack", delivery_tag=got["delivery_tag"])
        return found

    def queue(self, **arguments: Any) -> None:
        """
        Declare a queue whose dead letters are kept.
        """
        letters = {"dead_letter_exchange": "", "dead_letter_routing_key": "dead"}
        self.declare("q", **letters, **arguments)

    def fill(self, number: int, **properties: Any) -> None:
        """
        Publish messages.
        """
        for n in range(number):
            self.peer.publish("q", b"%d" % n, **properties)

    def test_rejected(self) -> None:
        """
        What is rejected is a dead letter, of all kinds of queues.
        """
        for kind in ("classic", "quorum"):
            self.queue(queue_type=kind)
            self.fill(3)
            for n in range(3):
                got = self.call("basic.get", queue="q")
                self.call("basic.reject", delivery_tag=got["delivery_tag"])
                self.assertEqual(self.letters(), [(b"%d" % n, "rejected")])
            self.assertEqual(self.depths(), {"q": 0, "dead": 0})
            self.call("queue.delete", queue="q")

    def test_too_many(self) -> None:
        """
        A full queue drops the oldest, or does not take the newest, as it was declared.
        """
        dropped = [(b"0", "maxlen"), (b"1", "maxlen")]
        for arguments, letters, left in (
            ({"max_length": 2}, dropped, b"2"),
            ({"max_length_bytes": 2}, dropped, b"2"),
            ({"max_length": 2, "overflow": "reject-publish"}, [], b"0"),
            (
                {"max_length": 2, "overflow": "reject-publish-dlx"},
                [(b"2", "maxlen"), (b"3", "maxlen")],
                b"0",
            ),
        ):
            self.queue(**arguments)
            self.fill(4)
            self.assertEqual(self.letters(), letters, arguments)
            self.assertEqual(self.depths()["q"], 2)
            self.assertEqual(self.call("basic.get", queue="q", no_ack=True).body, left)
            self.call("queue.delete", queue="q")

    def test_back_in_a_full_queue(self) -> None:
        """
        A full queue that takes back messages drops the oldest only if it was declared
        to: one that refuses messages has confirmed each that it holds.
        """
        dropped = [(b"0", "maxlen"), (b"1", "maxlen")]
        for overflow, kind, letters, left in (
            ("drop-head", "classic", dropped, 2),
            ("reject-publish", "classic", [], 4),
            ("reject-publish-dlx", "classic", [], 4),
            ("drop-head", "quorum", dropped, 2),
            ("reject-publish", "quorum", [], 4),
        ):
            self.queue(max_length=2, overflow=overflow, queue_type=kind)
            self.fill(2)
            for _ in range(2):
                self.call("basic.get", queue="q")
            self.fill(2)
            self.assertEqual(self.depths()["q"], 4)
            self.call("basic.recover", requeue=True)
            self.assertEqual(self.letters(), letters, (overflow, kind))
            self.assertEqual(self.depths()["q"], left)
            self.call("queue.delete", queue="q")

    def test_delivery_limit(self) -> None:
        """
        A quorum queue gives a message back so often, and no more.
        """
        self.queue(queue_type="quorum", delivery_limit=2)
        self.fill(1)
        for count in range(3):
            self.assertEqual(self.letters(), [])
            got = self.call("basic.get", queue="q")
            told = (got.properties.get("headers") or {}).get("x-delivery-count", 0)
            self.assertEqual(told, count)
            again = {"delivery_tag": got["delivery_tag"], "requeue": True}
            self.call("basic.reject", **again)
        self.assertEqual(self.letters(), [(b"0", "delivery_limit")])

    def test_expired(self) -> None:
        """
        A message lives as long as the shorter of its own time and that of its queue.
        """
        self.queue(message_ttl=5_000)
        self.fill(1, expiration="9000")
        self.peer.turn(4.9)
        self.assertEqual(self.letters(), [])
        self.peer.turn(0.2)
        self.assertEqual(self.letters(), [(b"0", "expired")])
        self.fill(1, expiration="1000")
        self.peer.turn(1.1)
        self.assertEqual(self.letters(), [(b"0", "expired")])

    def test_expired_with_a_consumer(self) -> None:
        """
        What has expired while a consumer had it is not delivered again.
        """
        self.queue()
        self.fill(1, expiration="1000")
        self.call("basic.consume", queue="q", consumer_tag="c")
        (delivered,) = self.peer.take("basic.deliver")
        self.peer.turn(2)
        again = {"delivery_tag": delivered["delivery_tag"], "requeue": True}
        self.call("basic.nack", **again)
        self.assertEqual(self.peer.take("basic.deliver"), [])
        self.assertEqual(self.letters(), [(b"0", "expired")])

    def test_expired_behind_what_is_dropped(self) -> None:
        """
        Where the head of a full queue is dropped, what has expired behind it goes, too.
        """
        self.queue(max_length=2)
        self.peer.publish("q", b"stays")
        self.peer.publish("q", b"expires", expiration="1000")
        self.peer.turn(2)
        self.assertEqual(self.letters(), [])
        self.peer.publish("q", b"new")
        letters = [(b"stays", "maxlen"), (b"expires", "expired")]
        self.assertEqual(self.letters(), letters)
        self.assertEqual(self.depths()["q"], 1)

    def test_earlier_expiry(self) -> None:
        """
        A message that is more urgent, and expires earlier, does so in time.
        """
        self.queue(max_priority=5)
        self.fill(1, expiration="9000", priority=1)
        self.fill(1, expiration="1000", priority=5)
        self.peer.turn(1.1)
        self.assertEqual(self.letters(), [(b"0", "expired")])
        self.peer.turn(8)
        self.assertEqual(self.letters(), [(b"0", "expired")])

    def test_first_death(self) -> None:
        """
        Headers tell of the first death, also after others.
        """
        letters = {"dead_letter_exchange": "", "dead_letter_routing_key": "dead"}
        self.declare("middle", **letters, message_ttl=1_000)
        letters["dead_letter_routing_key"] = "middle"
        self.declare("q", **letters)
        self.fill(1, headers={"mine": 1})
        got = self.call("basic.get", queue="q")
        self.call("basic.reject", delivery_tag=got["delivery_tag"])
        self.peer.turn(1.1)
        headers = self.call("basic.get", queue="dead", no_ack=True).properties[
            "headers"
        ]
        reasons = [each["reason"] for each in headers["x-death"]]
        self.assertEqual(reasons, ["expired", "rejected"])
        first = headers["x-first-death-reason"], headers["x-first-death-queue"]
        self.assertEqual((*first, headers["mine"]), ("rejected", "q", 1))

    def test_no_exchange(self) -> None:
        """
        Without an exchange for them, dead letters are gone.
        """
        self.declare("q", dead_letter_exchange="nowhere")
        self.fill(2)
        for _ in range(2):
            got = self.call("basic.get", queue="q")
            self.call("basic.reject", delivery_tag=got["delivery_tag"])
        self.assertEqual(self.depths(), {"q": 0, "dead": 0})


class EndTests(CommandsTestCase):
    """
    What ends with something else.
    """

    def test_automatic_exchange(self) -> None:
        """
        An exchange that is to go with its last binding goes then, and with it what was
        bound to it.
        """
        self.declare("q")
        kinds = {"exchange_type": "fanout"}
        self.call("exchange.declare", exchange="x", auto_delete=True, **kinds)
        self.call("exchange.declare", exchange="source", **kinds)
        self.call("exchange.bind", source="source", destination="x")
        for key in ("one", "two"):
            self.call("queue.bind", queue="q", exchange="x", routing_key=key)
        self.call("queue.unbind", queue="q", exchange="x", routing_key="one")
        found = self.call("exchange.declare", exchange="x", passive=True)
        self.assertEqual(found.name, "exchange.declare-ok")
        self.call("queue.unbind", queue="q", exchange="x", routing_key="two")
        self.refused(404, "'x'", "exchange.declare", exchange="x", passive=True)

    def test_consumers(self) -> None:
        """
        A consumer whose queue is deleted is told so, if its client understands that.
        """
        other = Peer(self.broker).open(capabilities=False)
        self.declare("q")
        for peer in (self.peer, other):
            peer.call("basic.consume", queue="q")
            peer.received.clear()
        Peer(self.broker).open().call("queue.delete", queue="q")
        for peer, told in ((self.peer, ["basic.cancel"]), (other, [])):
            peer.turn()
            self.assertEqual([each.name for each in peer.received], told)
            answer = peer.call("basic.cancel", consumer_tag="tag")
            assert answer is not None
            self.assertEqual(answer.name, "basic.cancel-ok")

    def test_automatic_queue(self) -> None:
        """
        A queue that is to go with its last consumer stays while there is another.
        """
        self.call("queue.declare", queue="q", auto_delete=True)
        for tag in ("one", "two"):
            self.call("basic.consume", queue="q", consumer_tag=tag)
        self.call("basic.cancel", consumer_tag="one")
        self.assertEqual(self.depths(), {"q": 0})
        self.call("basic.cancel", consumer_tag="two")
        self.assertEqual(self.depths(), {})

    def test_exclusive_queue(self) -> None:
        """
        A queue of one connection is for it alone, and goes with it.
        """
        other = Peer(self.broker).open()
        other.call("queue.declare", queue="mine", durable=False, exclusive=True)
        text = "exclusive access to locked queue"
        self.refused(405, text, "queue.declare", queue="mine", passive=True)
        self.refused(405, text, "basic.get", queue="mine")
        other.transport.loseConnection()
        self.assertEqual(self.depths(), {})

    def test_unused_queue(self) -> None:
        """
        A queue that nobody uses for its time goes.
        """
        self.declare("q", expires=10_000)
        self.peer.turn(8)
        self.call("queue.declare", queue="q", passive=True)
        self.peer.turn(8)
        self.call("basic.get", queue="q")
        self.peer.turn(8)
        self.call("basic.consume", queue="q")
        self.peer.turn(30)
        self.assertEqual(self.depths(), {"q": 0})
        self.call("basic.cancel", consumer_tag="tag")
        self.peer.turn(9.9)
        self.assertEqual(self.depths(), {"q": 0})
        self.peer.turn(0.2)
        self.assertEqual(self.depths(), {})


class LoginTests(CommandsTestCase):
    """
    How clients log in.
    """

    def login(self, mechanism: str, response: Any) -> tuple[str, int]:
        """
        What a client is answered, and the reply code.
        """
        peer = Peer(self.broker)
        peer.send(PROTOCOL_HEADER)
        peer.received.clear()
        capabilities = {"authentication_failure_close": True}
        started = ({"capabilities": capabilities}, mechanism, response, "en_US")
        peer.send(method_frame(0, "connection.start-ok", started))
        (answer,) = peer.received
        code = answer["reply_code"] if answer.name == "connection.close" else 0
        return answer.name, code

    def test_mechanisms(self) -> None:
        """
        A password is given as PLAIN or as AMQPLAIN; what is neither is refused.
        """
        tuned, closed = "connection.tune", "connection.close"
        right = b"\x05LOGINS\0\0\0\5guest\x08PASSWORDS\0\0\0\5guest"
        wrong = right[:-5] + b"other"
        for mechanism, response, answer in (
            ("PLAIN", "\0guest\0guest", (tuned, 0)),
            ("PLAIN", "root\0guest\0guest", (tuned, 0)),
            ("PLAIN", "\0guest\0other", (closed, 403)),
            ("PLAIN", b"\0guest\0\xff", (closed, 403)),
            ("PLAIN", "guest\0guest", (closed, 502)),
            ("PLAIN", "\0guest\0guest\0", (closed, 502)),
            ("AMQPLAIN", right, (tuned, 0)),
            ("AMQPLAIN", wrong, (closed, 403)),
            ("AMQPLAIN", right[:-5] + b"\xff" * 5, (closed, 403)),
            ("AMQPLAIN", b"", (closed, 403)),
            ("AMQPLAIN", right[:-1], (closed, 502)),
            ("EXTERNAL", "", (closed, 503)),
        ):
            found = self.login(mechanism, response)
            self.assertEqual(found, answer, (mechanism, response))
