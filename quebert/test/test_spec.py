"""
The methods of AMQP that txamqp is told of.
"""

from __future__ import annotations

import inspect
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.wire import SPEC


def method(klass: str, name: str) -> Any:
    """
    One of the methods.
    """
    return SPEC.classes.byname[klass].methods.byname[name]


METHODS = [method for klass in SPEC.classes for method in klass.methods]


class SpecTests(SynchronousTestCase):
    """
    L{SPEC} is AMQP 0-9-1 with RabbitMQ's extensions.
    """

    def test_version(self) -> None:
        """
        It is version 0-9, whose frames end in 0xCE.
        """
        self.assertEqual((SPEC.major, SPEC.minor), (0, 9))
        self.assertEqual(SPEC.constants.byname["frame-end"].id, 0xCE)

    def test_numbers(self) -> None:
        """
        Classes and methods have the numbers of the specification.
        """
        numbers = {
            "connection.start": (10, 10),
            "connection.tune-ok": (10, 31),
            "connection.close": (10, 50),
            "connection.blocked": (10, 60),
            "connection.unblocked": (10, 61),
            "connection.update-secret": (10, 70),
            "channel.open": (20, 10),
            "channel.close-ok": (20, 41),
            "exchange.declare": (40, 10),
            "exchange.bind": (40, 30),
            "exchange.unbind": (40, 40),
            "exchange.unbind-ok": (40, 51),
            "queue.declare": (50, 10),
            "queue.unbind": (50, 50),
            "basic.qos": (60, 10),
            "basic.consume": (60, 20),
            "basic.cancel-ok": (60, 31),
            "basic.publish": (60, 40),
            "basic.return": (60, 50),
            "basic.deliver": (60, 60),
            "basic.get-empty": (60, 72),
            "basic.ack": (60, 80),
            "basic.reject": (60, 90),
            "basic.recover-async": (60, 100),
            "basic.nack": (60, 120),
            "confirm.select": (85, 10),
            "confirm.select-ok": (85, 11),
        }
        found = {}
        for name in numbers:
            one = method(*name.split("."))
            found[name] = (one.klass.id, one.id)
        self.assertEqual(found, numbers)

    def test_by_number(self) -> None:
        """
        Each method is found by the numbers it is sent with.
        """
        for one in METHODS:
            by_number = SPEC.classes.byid[one.klass.id].methods.byid[one.id]
            self.assertIs(by_number, one)

    def test_calls(self) -> None:
        """
        txamqp finds each under its name in Python, with names of arguments
        that Python can say.
        """
        for name, arguments in {
            "confirm_select": ["nowait"],
            "basic_nack": ["delivery_tag", "multiple", "requeue"],
            "basic_reject": ["delivery_tag", "requeue"],
            "basic_recover_async": ["requeue"],
            "basic_return": [
                "reply_code", "reply_text", "exchange", "routing_key", "content",
            ],
            "connection_blocked": ["reason"],
            "connection_unblocked": [],
            "connection_start_ok": [
                "client_properties", "mechanism", "response", "locale",
            ],
            "exchange_bind": [
                "ticket", "destination", "source", "routing_key", "nowait", "arguments",
            ],
            "exchange_declare": [
                "ticket", "exchange", "exchange_type", "passive", "durable",
                "auto_delete", "internal", "nowait", "arguments",
            ],
            "queue_declare": [
                "ticket", "queue", "passive", "durable", "exclusive", "auto_delete",
                "nowait", "arguments",
            ],
            "basic_consume": [
                "ticket", "queue", "consumer_tag", "no_local", "no_ack", "exclusive",
                "nowait", "arguments",
            ],
            "basic_publish": [
                "ticket", "exchange", "routing_key", "mandatory", "immediate",
                "content",
            ],
        }.items():  # fmt: skip
            signature = inspect.signature(getattr(SPEC.klass, name))
            self.assertEqual(list(signature.parameters), ["self", *arguments], name)

    def test_invocation(self) -> None:
        """
        A call reaches C{invoke} with the method and its arguments in order.
        """

        class Channel(SPEC.klass):  # type: ignore[misc]
            def invoke(self, *args: Any) -> Any:
                return args

        called = Channel().basic_nack(delivery_tag=5, requeue=True)
        self.assertEqual(called, (method("basic", "nack"), (5, False, True)))
        called = Channel().queue_bind(queue="q", exchange="e", routing_key="k")
        wanted: Any = (method("queue", "bind"), (0, "q", "e", "k", False, {}))
        self.assertEqual(called, wanted)

    def test_responses(self) -> None:
        """
        A method that is answered knows its answers, as methods of its class.
        """
        for one in METHODS:
            for response in one.responses:
                self.assertIs(response, one.klass.methods.byid[response.id])
                self.assertTrue(response.response, response)
            self.assertEqual(bool(one.responses), bool(one.synchronous), one)
        names = [r.name for r in method("basic", "get").responses]
        self.assertEqual(names, ["get-ok", "get-empty"])

    def test_answers(self) -> None:
        """
        The answers, and they alone, are told from what comes unasked.
        """
        for one in METHODS:
            answer = one.name.endswith("-ok") or one.name == "get-empty"
            self.assertEqual(one.response, answer, one)

    def test_content(self) -> None:
        """
        Four methods carry content.
        """
        names = {f"{m.klass.name}.{m.name}" for m in METHODS if m.content}
        wanted = {"basic.publish", "basic.return", "basic.deliver", "basic.get-ok"}
        self.assertEqual(names, wanted)

    def test_nowait(self) -> None:
        """
        The field that asks for no answer is named as txamqp expects it.
        """
        for name in ("declare", "delete", "bind", "purge"):
            self.assertIn("nowait", method("queue", name).fields.byname)
        for name in ("consume", "cancel"):
            self.assertIn("nowait", method("basic", name).fields.byname)

    def test_types(self) -> None:
        """
        The fields that txamqp sees are those that are written.
        """
        for one in METHODS:
            self.assertEqual(one.layout.types, tuple(f.type for f in one.fields))
            numbers = one.klass.id, one.id
            self.assertEqual(one.layout.numbers, numbers)
