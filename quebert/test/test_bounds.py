"""
The bounds of a task, at which all who read or write tasks draw the same line.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from treq.testing import StubTreq

from quebert.cli._dead import DeadLetter
from quebert.errors import BadTask
from quebert.executor import ExecutorResource
from quebert.outcome import Discard, Done
from quebert.task import BOUNDS, _codec, decode
from quebert.test.mediating import Case, FakeMessage, returning

URL = "http://executor.example/run"
#: The depth of a body, whether it may be as deep, what is innermost, and what stands
#: beside it: further brackets, which are not as deep.
DEPTHS = [
    (depth, depth <= BOUNDS.depth, inner, beside)
    for depth, inner, beside in product(
        (BOUNDS.depth - 1, BOUNDS.depth, BOUNDS.depth + 1),
        (b"", b"1", b'"x"'),
        (b"", b',"more":[[],{}]'),
    )
]
_TOO_DEEP = "the body is JSON nested too deeply: more than 400 levels"


def deep(depth: int, inner: bytes, beside: bytes) -> bytes:
    """
    A task of so many levels, of which the task itself is the first.
    """
    lists = depth - 1
    params = b"[" * lists + inner + b"]" * lists
    return b'{"url":"%b","params":%b%b}' % (URL.encode(), params, beside)


class DepthTests(Case):
    """
    A task has at most 400 levels, whatever is in the innermost one and beside it.
    """

    def test_codec(self) -> None:
        """
        What can be read can be written again.
        """
        for depth, fits, inner, beside in DEPTHS:
            body = deep(depth, inner, beside)
            with self.subTest(depth=depth, inner=inner, beside=beside):
                if fits:
                    self.assertEqual(_codec.encode(decode(body)), body)
                else:
                    with self.assertRaisesRegex(BadTask, _TOO_DEEP):
                        decode(body)

    def test_mediator(self) -> None:
        """
        A mediator makes the request of such a task, with pre-hooks and without.
        """
        hooked = self.mediator()
        hooked.add_prehook(lambda task: task.update(hooked=True))
        for depth, fits, inner, beside in DEPTHS:
            for mediator in (self.mediator(), hooked):
                outcome = self.outcome(mediator, FakeMessage(deep(depth, inner, beside)))
                with self.subTest(depth=depth, inner=inner, beside=beside):
                    if fits:
                        self.assertEqual(outcome, Done())
                    else:
                        assert isinstance(outcome, Discard)
                        self.assertIn(_TOO_DEEP, outcome.reason)

    def test_executor(self) -> None:
        """
        An executor runs its function for such a task.
        """
        stub: Any = StubTreq(ExecutorResource(returning(None)))
        for depth, fits, inner, beside in DEPTHS:
            requested = stub.post(
                URL.replace("executor.example", "executor"),
                data=deep(depth, inner, beside),
                headers={"Content-Type": "application/json"},
            )
            code = self.successResultOf(requested).code
            with self.subTest(depth=depth, inner=inner, beside=beside):
                self.assertEqual(code, 204 if fits else 400)

    def test_dead_letter(self) -> None:
        """
        C{quebert dead show} shows any task, as JSON if it is no deeper.
        """
        for depth, fits, inner, beside in DEPTHS:
            letter = DeadLetter({"headers": {}}, deep(depth, inner, beside))
            with self.subTest(depth=depth, inner=inner, beside=beside):
                self.assertEqual(letter.url, URL if fits else "")
                for secrets in (False, True):
                    self.assertIn(URL, "\n".join(letter.lines(secrets)))


class WithoutOrjsonDepthTests(DepthTests):
    """
    All that is so without orjson, too.
    """

    def setUp(self) -> None:
        """
        Have it not be there.
        """
        super().setUp()
        self.patch(_codec, "orjson", None)
