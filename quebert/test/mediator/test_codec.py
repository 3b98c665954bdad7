"""
Tests for L{quebert.mediator._codec}: bodies of messages, requests and answers.
"""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from quebert import task as tasks
from quebert._bounds import memory_of
from quebert.errors import BadTask
from quebert.mediator._codec import Codec
from quebert.task import BOUNDS, LARGE, Bounds
from quebert.test.mediating import raising, returning


class CodecTests(SynchronousTestCase):
    """
    L{Codec}.
    """

    def setUp(self) -> None:
        """
        The codec of JSON.
        """
        self.codec = Codec(tasks.decode, tasks.encode, BOUNDS)

    def test_decode(self) -> None:
        """
        A body that is too large is not decoded, and any error is told in one line.
        """
        self.assertEqual(self.codec.decode(b'{"url": "/"}'), {"url": "/"})
        small = Codec(tasks.decode, tasks.encode, Bounds(body=2))
        with self.assertRaisesRegex(BadTask, "at most 2 bytes, not 3"):
            small.decode(b"{ }")
        self.assertEqual(small.decode(b"{}"), {})
        small.bounds = Bounds(body=3)
        self.assertEqual(small.decode(b"{ }"), {})
        self.assertEqual(small.bounds.body, 3)
        other = Codec(json.loads, tasks.encode, BOUNDS)
        other.bounds = Bounds(body=2)
        self.assertEqual(other.decode(b"{}"), {})
        with self.assertRaisesRegex(BadTask, "at most 2 bytes, not 3"):
            other.decode(b"{ }")
        failing = Codec(raising(KeyError, "a\nb"), tasks.encode, BOUNDS)
        with self.assertRaisesRegex(BadTask, "the body cannot be decoded: 'a.*b'"):
            failing.decode(b"")

    def test_bounds(self) -> None:
        """
        A body is decoded within the bounds of the mediator, whatever encodes tasks, and
        the memory that it takes goes by them.
        """
        flat = Codec(tasks.decode, returning(b""), Bounds(depth=2))
        self.assertEqual(flat.decode(b"[[1]]"), [[1]])
        self.assertRaises(BadTask, flat.decode, b"[[[1]]]")
        few = Codec(tasks.decode, tasks.encode, Bounds(values=3))
        self.assertEqual(few.decode(b"[1, 2]"), [1, 2])
        self.assertRaises(BadTask, few.decode, b"[1, 2, 3, 4]")
        body = b"[1, 2, 3, 4, 5, 6]"
        self.assertLess(few.memory_of(body, False), self.codec.memory_of(body, False))

    def test_part(self) -> None:
        """
        Large bodies alone are read in part, and only if they are JSON of ours.
        """
        large = b" " * (LARGE + 1)
        self.assertTrue(self.codec.can_read_part(large))
        self.assertFalse(self.codec.can_read_part(large[1:]))
        other = Codec(json.loads, tasks.encode, BOUNDS)
        self.assertFalse(other.can_read_part(large))
        small = Codec(tasks.decode, tasks.encode, Bounds(body=LARGE))
        self.assertFalse(small.can_read_part(large))
        fitting = Codec(tasks.decode, tasks.encode, Bounds(body=LARGE + 1))
        self.assertTrue(fitting.can_read_part(large))

    def test_memory(self) -> None:
        """
        A body that is read in part takes its own memory twice.
        """
        self.assertEqual(self.codec.memory_of(b"[]", in_part=True), 4)
        self.assertEqual(self.codec.memory_of(b"[]", in_part=False), memory_of(b"[]"))

    def test_escaped_names(self) -> None:
        """
        JSON may escape any character of a name; other escapes are common.
        """
        for name in (b"payload", b"p\\u0061yload", b"\\u0070ayload"):
            body = b'{"%b": "x"}' % name
            self.assertGreater(self.codec.memory_of(body, True), 2 * len(body))
            self.assertTrue(self.codec.may_have(b"payload", body))
        body = rb'{"params": "\u00dcnal \u2013 \ud83d\ude00 \u0026\u003c\u0022"}'
        self.assertFalse(self.codec.may_have(b"payload", body))

    def test_memory_of_payload(self) -> None:
        """
        A payload is in memory as text, too, and as bytes.
        """
        body = b'{"payload":"eA=="}'
        for in_part in (True, False):
            other = self.codec.memory_of(body.replace(b"p", b"q"), in_part=in_part)
            memory = self.codec.memory_of(body, in_part=in_part)
            self.assertEqual(memory - other, (1 if in_part else 2) * len(body))

    def test_encode(self) -> None:
        """
        Text is sent in UTF-8.
        """
        for encoded in ("é", "é".encode()):
            codec = Codec(tasks.decode, returning(encoded), BOUNDS)
            self.assertEqual(codec.encode({}), "é".encode())

    def test_body_for(self) -> None:
        """
        A task that is as it came is sent as it came; those of other codecs as these
        write them.
        """
        body = b' {"url": "/"} '
        self.assertIs(self.codec.body_for({"url": "/"}, body), body)
        self.assertEqual(self.codec.body_for({"url": "/a"}, body), b'{"url":"/a"}')
        other = Codec(tasks.decode, returning("x"), BOUNDS)
        self.assertEqual(other.body_for({"url": "/"}, body), b"x")
        compact = b'{"url":"/"}'
        self.assertIs(self.codec.body_for({"url": "/"}, compact), compact)

    def test_result(self) -> None:
        """
        An answer is decoded, or is text, or nothing.
        """
        results = [self.codec.result(each) for each in (b"", b'{"a":1}', b"\xff")]
        self.assertEqual(results, [None, {"a": 1}, "\ufffd"])
