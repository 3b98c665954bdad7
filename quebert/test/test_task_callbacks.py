"""
Callback tasks: what they tell, and by which uuid.
"""

from __future__ import annotations

import json
import math
import uuid as uuids
from importlib.util import find_spec
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from quebert import task as tasks
from quebert.task import _json
from quebert.task_callbacks import MOST_ANSWER, CallbackTask, callback_in
from quebert.task_ends import EndNote

URL = "https://caller.example/ended"
END = EndNote(
    uuid="u",
    queue="tasks",
    outcome="done",
    ended=1_800_000_060.5,
    status=200,
    attempts=2,
    answers=1,
    first_attempt=1_800_000_000.0,
    last_attempt=1_800_000_060.0,
)

#: Anything that JSON can say.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
).map(lambda value: json.dumps(value).encode())


def answered(answer: bytes, is_cut: bool = False) -> Any:
    """
    What is told of an answer.
    """
    callback = CallbackTask(URL, "u")
    assert callback.answered(answer, is_cut) is answer
    return told(callback)["answer"]


def told(callback: CallbackTask, end: EndNote = END) -> dict[str, Any]:
    """
    What a callback task tells.
    """
    params: dict[str, Any] = tasks.decode(callback.told(end)[1])["params"]
    return params


class ToldTests(SynchronousTestCase):
    """
    The callback task itself.
    """

    def test_done(self) -> None:
        """
        Of a task that is done.
        """
        uuid, body = CallbackTask(URL, "u", "order 7").told(END)
        self.assertEqual(
            json.loads(body),
            {
                "url": URL,
                "uuid": uuid,
                "timestamp": "2027-01-15T08:01:00.500000Z",
                "params": {
                    "uuid": "u",
                    "name": "order 7",
                    "queue": "tasks",
                    "outcome": "done",
                    "reason": None,
                    "status": 200,
                    "answer": None,
                    "attempts": 2,
                    "answers": 1,
                    "first_attempt": "2027-01-15T08:00:00.000000Z",
                    "last_attempt": "2027-01-15T08:01:00.000000Z",
                    "ended": "2027-01-15T08:01:00.500000Z",
                },
            },
        )

    def test_quickly(self) -> None:
        """
        Its fields without a value do not keep orjson from encoding it: with an answer
        of 60 KB the others would take milliseconds more.
        """
        if find_spec("orjson") is None:
            raise SkipTest("there is no orjson")
        self.patch(_json, "_to_text", None)
        self.assertIsNone(told(CallbackTask(URL, "u"))["reason"])

    def test_odd_times(self) -> None:
        """
        Headers of messages may say anything: what is no time is left out.
        """
        for first in (1e300, -1e300, math.nan):
            end = attrs.evolve(END, first_attempt=first)
            self.assertIsNone(told(CallbackTask(URL, "u"), end)["first_attempt"])

    def test_uuid(self) -> None:
        """
        Its uuid is the same for the same end of the same task, whatever else is told.
        """
        uuid, _ = CallbackTask(URL, "u").told(END)
        space = uuids.UUID("4816baa1-6158-5093-82f6-71b05a78c8f9")
        self.assertEqual(uuid, str(uuids.uuid5(space, "u done")))
        later = attrs.evolve(END, uuid="", ended=0.0, attempts=3)
        self.assertEqual(CallbackTask("/other", "u", "n").told(later)[0], uuid)
        expired = attrs.evolve(END, outcome="expired")
        for callback, end in (
            (CallbackTask(URL, "v"), END),
            (CallbackTask(URL, "u"), expired),
            (CallbackTask(URL, "\ud800"), END),
        ):
            self.assertNotEqual(callback.told(end)[0], uuid)

    def test_no_uuid(self) -> None:
        """
        Of a task without a uuid that of the message counts; without either, the uuid of
        the callback task is random.
        """
        callback = CallbackTask(URL)
        self.assertEqual(callback.told(END)[0], CallbackTask(URL, "u").told(END)[0])
        end = attrs.evolve(END, uuid="")
        self.assertNotEqual(callback.told(end)[0], callback.told(end)[0])
        self.assertIsNone(told(callback, end)["uuid"])

    def test_codec(self) -> None:
        """
        It is written as the mediator writes tasks; if that fails, as JSON.
        """
        callback = CallbackTask(URL, "u", encode=lambda task: "ü" + task["uuid"])
        uuid, body = callback.told(END)
        self.assertEqual(body.decode(), f"ü{uuid}")

        def fail(task: object) -> bytes:
            raise TypeError("no form")

        _, body = CallbackTask(URL, "u", encode=fail).told(END)
        self.assertEqual(tasks.decode(body)["url"], URL)


class AnswerTests(SynchronousTestCase):
    """
    The answer of the executor.
    """

    def test_forms(self) -> None:
        """
        It is told as JSON, as text, or else in base64.
        """
        for answer, form in (
            (b"", None),
            (b'{"a": [1, null]}', {"json": {"a": [1, None]}}),
            (b"null", {"json": None}),
            (b" 7 ", {"json": 7}),
            (b"hello", {"text": "hello"}),
            ("grün\n".encode(), {"text": "grün\n"}),
            (b"\xff\xfe", {"base64": "//4="}),
            (b"[" * 300 + b"]" * 300, {"json": json.loads("[" * 300 + "]" * 300)}),
            (b"[" * 399 + b"]" * 399, {"text": "[" * 399 + "]" * 399}),
            (b"NaN", {"text": "NaN"}),
        ):
            self.assertEqual(answered(answer), form)

    def test_cut(self) -> None:
        """
        Of a long one the beginning is told, as text or in base64, without half a
        character.
        """
        whole = answered(b"x" * MOST_ANSWER)
        self.assertEqual(whole, {"text": "x" * MOST_ANSWER})
        long = answered(b"x" * (MOST_ANSWER + 1))
        self.assertEqual(long, {"text": "x" * MOST_ANSWER, "truncated": True})
        text = answered(b"x" + "ü".encode() * MOST_ANSWER)
        self.assertEqual(len(text["text"]), MOST_ANSWER // 2)
        self.assertEqual(answered(b"[1]", True), {"text": "[1]", "truncated": True})
        odd = answered(b"\xff", True)
        self.assertEqual(odd, {"base64": "/w==", "truncated": True})

    def test_forgotten(self) -> None:
        """
        One that is too large for the broker is left out.
        """
        callback = CallbackTask(URL, "u")
        callback.forget_answer()
        self.assertIsNone(told(callback)["answer"])
        callback.answered(b"x")
        callback.forget_answer()
        self.assertEqual(told(callback)["answer"], {"truncated": True})

    def test_too_large(self) -> None:
        """
        So is one with which no mediator would take the callback task.
        """
        callback = CallbackTask(URL, "u", max_body=20_000)
        callback.answered(b"\0" * 10_000)
        self.assertEqual(told(callback)["answer"], {"truncated": True})

    @given(st.binary(max_size=200) | JSON, st.booleans())
    @settings(max_examples=100, deadline=None)
    def test_anything(self, answer: bytes, is_cut: bool) -> None:
        """
        A mediator takes the callback task for a task, whatever was answered.
        """
        callback = CallbackTask(URL, "u")
        callback.answered(answer, is_cut)
        _, body = callback.told(END)
        task = tasks.decode(body)
        self.assertEqual(tasks.request(task, "").url, URL)


class InTests(SynchronousTestCase):
    """
    The callback task that a body asks for.
    """

    def test_asked_for(self) -> None:
        """
        A task with a C{callback_url} asks for one.
        """
        body = json.dumps({"url": "/x", "uuid": 7, "callback_url": "/ended"})
        callback = callback_in(body.encode())
        assert callback is not None
        self.assertEqual((callback.url, callback.uuid), ("/ended", "7"))

    def test_escaped(self) -> None:
        """
        JSON may escape the name.
        """
        callback = callback_in(b'{"url": "/x", "callback\\u005furl": "/ended"}')
        assert callback is not None
        self.assertEqual(callback.url, "/ended")

    def test_odd_uuid(self) -> None:
        """
        What is no uuid is not told.
        """
        for uuid in ("x" * 256, ["x"] * 10, {"x": 1}, None):
            body = json.dumps({"uuid": uuid, "callback_url": "/ended"})
            callback = callback_in(body.encode())
            assert callback is not None
            self.assertEqual(callback.uuid, "")

    def test_none(self) -> None:
        """
        Others do not, and what is no task asks for none.
        """
        for body in (
            b'{"url": "/x"}',
            b'{"url": "/x", "callback_url": null}',
            b'{"url": "/x", "callback_url": "ftp://x/"}',
            b'{"url": "/x", "callback_url": 7}',
            b'["callback_url"]',
            b'{"callback_url',
        ):
            self.assertIsNone(callback_in(body), body)
