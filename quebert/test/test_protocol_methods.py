"""
Tests for L{quebert._protocol.methods}.
"""

from __future__ import annotations

import struct
from typing import Any

from pamqp import commands
from pamqp import frame as peer
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.frames import FRAME_END, FRAME_METHOD, FRAME_START
from quebert._protocol.methods import (
    METHODS,
    METHODS_BY_INDEX,
    encode_method,
    method_frame,
    reply_text,
)
from quebert._protocol.values import CodecError

VALUES: dict[str, Any] = {
    "bit": True, "octet": 1, "short": 2, "long": 3, "longlong": 4, "timestamp": 5,
    "shortstr": "é", "longstr": "ü", "table": {"a": 1},
}  # fmt: skip


class MethodTests(SynchronousTestCase):
    """
    Tests for L{METHODS}, and what is written by them.
    """

    def test_names(self) -> None:
        """
        Methods and fields have AMQP's names.
        """
        self.assertEqual(len(METHODS), len(commands.INDEX_MAPPING))
        names = "queue.declare-ok", "basic.recover-async", "connection.update-secret-ok"
        for name in (*names, "basic.get-empty", "confirm.select", "tx.rollback"):
            self.assertEqual(METHODS[name].name, name)
        fields = "prefetch_size", "prefetch_count", "global"
        self.assertEqual(METHODS["basic.qos"].fields, fields)
        self.assertEqual(METHODS["basic.qos"].types, ("long", "short", "bit"))

    def test_numbers(self) -> None:
        """
        A method is found by the numbers that its payload begins with.
        """
        nack = METHODS["basic.nack"]
        self.assertEqual((nack.numbers, nack.index), ((60, 120), b"\0\x3c\0\x78"))
        for each in METHODS.values():
            self.assertIs(METHODS_BY_INDEX[each.index], each)
            self.assertEqual(struct.unpack(">HH", each.index), each.numbers)

    def test_responses(self) -> None:
        """
        A method knows those that answer it.
        """
        responses = METHODS["basic.get"].responses
        self.assertEqual(responses, ("basic.get-ok", "basic.get-empty"))
        self.assertEqual(METHODS["basic.publish"].responses, ())
        answers = {name for each in METHODS.values() for name in each.responses}
        wanted = {name for name in METHODS if name.endswith("-ok")}
        self.assertEqual(answers, wanted | {"basic.get-empty"})

    def test_content(self) -> None:
        """
        Four methods have contents.
        """
        names = {name for name, each in METHODS.items() if each.has_content}
        wanted = {"basic.publish", "basic.return", "basic.deliver", "basic.get-ok"}
        self.assertEqual(names, wanted)

    def test_there_and_back(self) -> None:
        """
        Each method can be written and read.
        """
        for name, each in METHODS.items():
            arguments = [VALUES[type] for type in each.types]
            payload = encode_method(name, arguments)
            self.assertEqual(payload[:4], each.index)
            self.assertEqual(each.decode(payload), arguments, name)

    def test_as_others_write_it(self) -> None:
        """
        The frame of a method is what pamqp writes.
        """
        declare = commands.Queue.Declare(queue="q", durable=True, arguments={"a": "b"})
        arguments = (0, "q", False, True, False, False, False, {"a": "b"})
        self.assertEqual(
            method_frame(3, "queue.declare", arguments), peer.marshal(declare, 3)
        )

    def test_none(self) -> None:
        """
        A method without arguments is its numbers.
        """
        data = method_frame(9, "channel.close-ok")
        self.assertEqual(FRAME_START.unpack_from(data), (FRAME_METHOD, 9, 4))
        self.assertEqual(data[7:], b"\0\x14\0\x29" + bytes([FRAME_END]))

    def test_wrong(self) -> None:
        """
        Arguments that do not fit are refused, and so are those that are cut short.
        """
        with self.assertRaises(CodecError):
            encode_method("basic.ack", (-1, False))
        with self.assertRaises(CodecError):
            METHODS["basic.ack"].decode(encode_method("basic.ack", (1, False))[:-2])


class ReplyTextTests(SynchronousTestCase):
    """
    Tests for L{reply_text}.
    """

    def test_fits(self) -> None:
        """
        A text of 255 bytes is told as it is.
        """
        for text in ("", "x" * 255, "é" * 127):
            self.assertEqual(reply_text(text), text)

    def test_cut(self) -> None:
        """
        A longer one is cut between two characters, and can be sent.
        """
        self.assertEqual(reply_text("x" * 256), "x" * 252 + "...")
        for text in ("é" * 128, "x" + "é" * 200, "\N{SNOWMAN}" * 255, "\udcff" * 300):
            cut = reply_text(text)
            self.assertTrue(cut.endswith("..."))
            self.assertLessEqual(len(cut.encode()), 255)
            encode_method("connection.close", (501, cut, 0, 0))
