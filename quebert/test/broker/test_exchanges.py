"""
Tests for L{quebert.broker.state._exchanges} and L{quebert.broker.state._exchange}: what
may be declared and bound, and where messages go then.
"""

from __future__ import annotations

from typing import Any

from quebert.test.broker.test_commands import CommandsTestCase


class DeclarationTests(CommandsTestCase):
    """
    Which exchanges there may be.
    """

    def test_same_again(self) -> None:
        """
        A declaration that differs in anything is refused, and both values are told.
        """
        given = {"exchange": "x", "exchange_type": "topic", "auto_delete": True}
        for _ in range(2):
            answer = self.call("exchange.declare", **given)
            self.assertEqual(answer.name, "exchange.declare-ok")
        for changed, text in (
            ({"exchange_type": "fanout"}, "'type' for exchange 'x' in vhost '/': "),
            ({"durable": False}, "received 'false' but current is 'true'"),
            ({"auto_delete": False}, "'auto_delete'"),
            ({"internal": True}, "'internal'"),
            ({"arguments": {"alternate-exchange": "y"}}, "'alternate-exchange'"),
        ):
            self.refused(406, text, "exchange.declare", **{**given, **changed})

    def test_default_exchange(self) -> None:
        """
        Clients leave the default exchange as it is.
        """
        text = "operation not permitted on the default exchange"
        self.declare("q")
        calls: list[tuple[str, dict[str, Any]]] = [
            ("exchange.declare", {"exchange": ""}),
            ("exchange.declare", {"exchange": "", "passive": True}),
            ("exchange.delete", {"exchange": ""}),
            ("exchange.bind", {"source": "", "destination": "amq.fanout"}),
            ("exchange.bind", {"source": "amq.fanout", "destination": ""}),
            ("exchange.unbind", {"source": "", "destination": "amq.fanout"}),
            ("exchange.unbind", {"source": "amq.fanout", "destination": ""}),
            ("queue.bind", {"exchange": "", "queue": "q"}),
            ("queue.unbind", {"exchange": "", "queue": "q", "routing_key": "q"}),
        ]
        for method, arguments in calls:
            self.refused(403, text, method, **arguments)
        self.peer.publish("q")
        self.assertEqual(self.depths(), {"q": 1})

    def test_reserved_names(self) -> None:
        """
        Names that begin with C{amq.} are the broker's, which has some exchanges.
        """
        for name, kind in (
            ("amq.direct", "direct"),
            ("amq.fanout", "fanout"),
            ("amq.headers", "headers"),
            ("amq.match", "headers"),
            ("amq.topic", "topic"),
        ):
            given = {"exchange": name, "exchange_type": kind}
            answer = self.call("exchange.declare", **given)
            self.assertEqual(answer.name, "exchange.declare-ok")
            self.refused(403, "system exchange", "exchange.delete", exchange=name)
        self.refused(403, "reserved prefix", "exchange.declare", exchange="amq.mine")

    def test_delete(self) -> None:
        """
        What is not there is deleted without a complaint.
        """
        answer = self.call("exchange.delete", exchange="none")
        self.assertEqual(answer.name, "exchange.delete-ok")

    def test_arguments(self) -> None:
        """
        Arguments are refused that the broker does not know, or that are of the wrong
        type; those of a client's own are not.
        """
        for code, text, arguments in (
            (540, "exchange argument x-odd", {"x-odd": 1}),
            (406, "invalid type 'signedint'", {"alternate-exchange": 1}),
        ):
            given = {"exchange": "x", "arguments": arguments}
            self.refused(code, text, "exchange.declare", **given)
        self.call("exchange.declare", exchange="x", arguments={"mine": 1})
        found = self.call("exchange.declare", exchange="x", passive=True)
        self.assertEqual(found.name, "exchange.declare-ok")

    def test_binding_to_nothing(self) -> None:
        """
        A binding is between two that are there.
        """
        self.declare("q")
        for method, arguments in (
            ("exchange.bind", {"source": "amq.fanout", "destination": "none"}),
            ("exchange.bind", {"source": "none", "destination": "amq.fanout"}),
            ("queue.bind", {"exchange": "none", "queue": "q"}),
            ("queue.bind", {"exchange": "amq.fanout", "queue": "none"}),
        ):
            self.refused(404, "'none' in vhost '/'", method, **arguments)


class RoutingTests(CommandsTestCase):
    """
    Which queues a message reaches.
    """

    def setUp(self) -> None:
        super().setUp()
        for name in "abc":
            self.declare(name)

    def bind(self, exchange: str, queue: str, key: str = "", **arguments: Any) -> None:
        """
        Bind a queue.
        """
        given = {"queue": queue, "exchange": exchange, "routing_key": key}
        spelled = {name.replace("_", "-"): value for name, value in arguments.items()}
        answer = self.call("queue.bind", **given, arguments=spelled)
        self.assertEqual(answer.name, "queue.bind-ok")

    def reached(self, exchange: str, key: str = "", **properties: Any) -> str:
        """
        The names of the queues that a message reaches.
        """
        self.peer.publish(key, exchange=exchange, **properties)
        found = "".join(name * depth for name, depth in self.depths().items())
        for name in "abc":
            self.call("queue.purge", queue=name)
        return found

    def test_direct(self) -> None:
        self.bind("amq.direct", "a", "one")
        self.bind("amq.direct", "b", "one")
        self.bind("amq.direct", "b", "two")
        found = [self.reached("amq.direct", key) for key in ("one", "two", "on", "")]
        self.assertEqual(found, ["ab", "b", "", ""])

    def test_fanout(self) -> None:
        self.bind("amq.fanout", "a", "one")
        self.bind("amq.fanout", "a", "two")
        self.bind("amq.fanout", "b")
        self.assertEqual(self.reached("amq.fanout", "other"), "ab")

    def test_topic(self) -> None:
        self.bind("amq.topic", "a", "one.two")
        self.bind("amq.topic", "b", "one.*")
        self.bind("amq.topic", "c", "#.two")
        for key, reached in (
            ("one.two", "abc"),
            ("one.one", "b"),
            ("one", ""),
            ("two", "c"),
            ("one.one.two", "c"),
            ("", ""),
        ):
            self.assertEqual(self.reached("amq.topic", key), reached, key)

    def test_unbound_with_one_key_of_two(self) -> None:
        for exchange in ("amq.direct", "amq.fanout", "amq.topic"):
            for key in ("one", "two"):
                self.bind(exchange, "a", key)
            unbound = {"queue": "a", "exchange": exchange, "routing_key": "one"}
            self.call("queue.unbind", **unbound)
            found = [self.reached(exchange, key) for key in ("one", "two")]
            first = "a" if exchange == "amq.fanout" else ""
            self.assertEqual(found, [first, "a"])

    def test_unbound_for_one_queue_of_two(self) -> None:
        for exchange in ("amq.direct", "amq.fanout", "amq.topic"):
            for name in "ab":
                self.bind(exchange, name, "key")
            unbound = {"queue": "a", "exchange": exchange, "routing_key": "key"}
            self.call("queue.unbind", **unbound)
            self.assertEqual(self.reached(exchange, "key"), "b")

    def test_headers(self) -> None:
        """
        All of a binding's arguments, or any; a value of C{None} asks for the name only,
        and names that begin with C{x-} count where that was asked for.
        """
        for arguments, headers, matches in (
            ({"one": 1, "two": 2}, {"one": 1, "two": 2, "three": 3}, True),
            ({"one": 1, "two": 2}, {"one": 1}, False),
            ({"one": 1, "two": 2}, {"one": 1, "two": 3}, False),
            ({"x_match": "any", "one": 1, "two": 2}, {"two": 2}, True),
            ({"x_match": "any", "one": 1, "two": 2}, {"one": 2, "two": 1}, False),
            ({"x_match": "any"}, {"one": 2}, False),
            ({}, {}, True),
            ({"one": None}, {"one": 5}, True),
            ({"one": None}, {"two": 5}, False),
            ({"one": 1}, {"one": True}, False),
            ({"one": True}, {"one": 1}, False),
            ({"one": True}, {"one": True}, True),
            ({"one": "1"}, {"one": 1}, False),
            ({"one": 1, "x_two": 2}, {"one": 1}, True),
            ({"x_match": "all-with-x", "one": 1, "x_two": 2}, {"one": 1}, False),
            ({"x_match": "all-with-x", "x_two": 2}, {"x-two": 2}, True),
            ({"x_match": "any", "x_two": 2}, {"x-two": 2}, False),
            ({"x_match": "any-with-x", "x_two": 2}, {"x-two": 2}, True),
        ):
            self.bind("amq.headers", "a", "key", **arguments)
            found = self.reached("amq.headers", "other", headers=headers)
            self.assertEqual(found == "a", matches, (arguments, headers))
            spelled = {name.replace("_", "-"): v for name, v in arguments.items()}
            unbound = {"queue": "a", "exchange": "amq.headers", "routing_key": "key"}
            self.call("queue.unbind", **unbound, arguments=spelled)
            found = self.reached("amq.headers", headers=headers)
            self.assertEqual(found, "", (arguments, headers))

    def test_headers_refused(self) -> None:
        """
        How arguments match is one of four words.
        """
        for mode, text in (
            (1, "Invalid x-match field type signedint"),
            ("some", "Invalid x-match field value 'some'"),
        ):
            given = {"queue": "a", "exchange": "amq.headers"}
            self.refused(406, text, "queue.bind", **given, arguments={"x-match": mode})

    def test_further_keys(self) -> None:
        """
        C{CC} and C{BCC} are routing keys, too; no queue gets a message twice, and
        nobody sees C{BCC}.
        """
        headers = {"CC": ["b", "a"], "BCC": ["c", "b"], "mine": 1}
        self.peer.publish("a", headers=headers)
        self.assertEqual(self.depths(), {"a": 1, "b": 1, "c": 1})
        got = self.call("basic.get", queue="c", no_ack=True)
        self.assertEqual(got.properties["headers"], {"CC": ["b", "a"], "mine": 1})
        for name in "ab":
            self.call("queue.purge", queue=name)
        for name in "bc":
            self.bind("amq.direct", name, f"key.{name}")
        headers = {"CC": ["key.b", "key.b"], "BCC": ["key.c"]}
        self.assertEqual(self.reached("amq.direct", "none", headers=headers), "bc")

    def test_further_keys_refused(self) -> None:
        self.peer.publish("a", headers={"CC": "b"})
        (close,) = self.peer.take("channel.close")
        self.assertEqual(close["reply_code"], 406)
        self.assertIn("'CC' is to be an array", close["reply_text"])

    def test_alternate_exchange(self) -> None:
        """
        What an exchange cannot route goes to its alternate, if that is there.
        """
        given = {"exchange": "x", "arguments": {"alternate-exchange": "other"}}
        self.call("exchange.declare", **given)
        self.bind("x", "a", "key")
        self.assertEqual(self.reached("x", "key"), "a")
        self.assertEqual(self.reached("x", "none"), "")
        self.call("exchange.declare", exchange="other", exchange_type="fanout")
        self.bind("other", "b")
        self.assertEqual(self.reached("x", "key"), "a")
        self.assertEqual(self.reached("x", "none"), "b")

    def test_alternate_for_one_key_of_two(self) -> None:
        """
        A message goes to the alternate exchange only if no key leads anywhere.
        """
        given = {"exchange": "x", "arguments": {"alternate-exchange": "amq.fanout"}}
        self.call("exchange.declare", **given)
        self.bind("x", "a", "key")
        self.bind("amq.fanout", "b")
        found = self.reached("x", "none", headers={"CC": ["key"]})
        self.assertEqual(found, "a")

    def test_two_ways(self) -> None:
        """
        A queue gets a message once, by however many ways it is reached.
        """
        for name in ("x", "y"):
            self.call("exchange.declare", exchange=name, exchange_type="fanout")
            self.call("exchange.bind", source="amq.fanout", destination=name)
            self.bind(name, "a")
        self.bind("amq.fanout", "a")
        self.bind("y", "b")
        self.assertEqual(self.reached("amq.fanout"), "ab")

    def test_many_keys(self) -> None:
        """
        The routes of so many keys are remembered, and no more.
        """
        self.bind("amq.topic", "a", "key.#")
        topic = self.broker.vhosts["/"].exchanges["amq.topic"]
        remembered = []
        for number in range(1_002):
            self.peer.publish(f"key.{number}", exchange="amq.topic")
            remembered.append(len(topic._routes))
        self.assertEqual(remembered, [*range(1, 1_001), 1, 2])
        self.assertEqual(self.depths()["a"], 1_002)


class EndTests(CommandsTestCase):
    """
    Exchanges that go with their last binding.
    """

    def gone(self, *names: str) -> list[bool]:
        """
        Which exchanges are gone.
        """
        exchanges = self.broker.vhosts["/"].exchanges
        return [name not in exchanges for name in names]

    def automatic(self, name: str) -> None:
        """
        Declare one that goes.
        """
        given = {"exchange": name, "exchange_type": "fanout", "auto_delete": True}
        self.call("exchange.declare", **given)

    def test_queue_deleted(self) -> None:
        """
        It goes with the queue that was bound to it, and with it one that it was bound
        to.
        """
        for name in ("one", "two"):
            self.automatic(name)
        self.call("exchange.bind", source="one", destination="two")
        for queue in ("q", "other"):
            self.declare(queue)
            self.call("queue.bind", queue=queue, exchange="two")
        self.call("queue.delete", queue="q")
        self.assertEqual(self.gone("one", "two"), [False, False])
        self.call("queue.delete", queue="other")
        self.assertEqual(self.gone("one", "two"), [True, True])

    def test_exchange_unbound(self) -> None:
        for name in ("one", "two"):
            self.automatic(name)
        self.call("exchange.bind", source="one", destination="two")
        bound = {"source": "two", "destination": "amq.fanout"}
        self.call("exchange.bind", **bound)
        self.call("exchange.unbind", **bound)
        self.assertEqual(self.gone("one", "two", "amq.fanout"), [True, True, False])

    def test_never_bound(self) -> None:
        """
        It stays until it was bound once.
        """
        self.automatic("x")
        self.declare("q")
        self.call("queue.unbind", queue="q", exchange="x")
        self.call("queue.delete", queue="q")
        self.assertEqual(self.gone("x"), [False])

    def test_another_kind(self) -> None:
        """
        Others stay without bindings.
        """
        self.call("exchange.declare", exchange="x", exchange_type="fanout")
        self.declare("q")
        for end in ("queue.unbind", "queue.delete"):
            self.call("queue.bind", queue="q", exchange="x")
            given = {"exchange": "x"} if end == "queue.unbind" else {}
            self.call(end, queue="q", **given)
            self.assertEqual(self.gone("x"), [False])
