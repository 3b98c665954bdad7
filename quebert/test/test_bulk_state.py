"""
The two files that a run writes: its state, and what was refused.
"""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert.bulk._records import TaskRecord
from quebert.bulk._rejects import Refusal, Rejects
from quebert.bulk._state import LoadState, Position
from quebert.errors import ConfigError
from quebert.test.checks import refusal

FIRST = Position(batch=1, lines=10, digest="aa", read=9, refused=1, rejects=50)
SECOND = Position(batch=2, lines=20, digest="bb", read=19, refused=1, rejects=50)


@contextmanager
def files_of(size: int) -> Iterator[None]:
    """
    The disk takes files of so many bytes.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


class LoadStateTests(SynchronousTestCase):
    """
    L{LoadState} outlives the program.
    """

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "state"

    def open(self, target: str = "here") -> LoadState:
        """
        The state, in a run of its own.
        """
        state = LoadState.open(self.path, target)
        self.addCleanup(state.close)
        return state

    def refused(self, target: str = "here") -> str:
        """
        Why it cannot be opened.
        """
        return refusal(ConfigError, LoadState.open, self.path, target)

    def test_goes_on(self) -> None:
        """
        Another run finds the id, what is done, and what was being sent.
        """
        steps: list[
            tuple[Callable[[LoadState], Any], Position, Position | None, bool]
        ] = [
            (lambda state: None, Position(), None, False),
            (lambda state: state.begin(FIRST), Position(), FIRST, False),
            (lambda state: state.unsure(), Position(), FIRST, True),
            (lambda state: state.end(FIRST), FIRST, None, False),
            (lambda state: state.begin(SECOND), FIRST, SECOND, False),
        ]
        ids = set()
        for step, done, sending, unsure in steps:
            state = self.open()
            step(state)
            state.close()
            for each in (state, self.open()):
                self.assertEqual((each.done, each.sending), (done, sending))
                self.assertEqual(each.is_unsure, unsure)
                ids.add(each.id)
                each.close()
        self.assertEqual(len(ids), 1)
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)

    def test_cut_off(self) -> None:
        """
        A line that was cut off, wherever, is as if it had not been begun.
        """
        state = self.open()
        state.begin(FIRST)
        state.end(FIRST)
        before = self.path.read_bytes()
        state.begin(SECOND)
        state.close()
        whole = self.path.read_bytes()
        for size in range(len(before), len(whole)):
            self.path.write_bytes(whole[:size])
            state = self.open()
            self.assertEqual((state.done, state.sending), (FIRST, None))
            state.begin(SECOND)
            state.close()
            self.assertEqual(self.path.read_bytes(), whole)

    def test_in_use(self) -> None:
        """
        One run at a time has it.
        """
        state = self.open()
        self.assertIn("is in use by another quebert add", self.refused())
        state.close()
        self.open()

    def test_other_target(self) -> None:
        """
        It is of one target.
        """
        self.open().close()
        told = self.refused("there")
        self.assertIn("is of tasks for here, not for there", told)

    def test_other_files(self) -> None:
        """
        A file that is no state is refused, and stays as it is.
        """
        for content in (
            b"a list of things to do\n",
            b"{}\n",
            b"[]\n",
            b'{"quebert": 2, "id": "x", "target": "here"}\n',
            b'{"quebert": 1, "id": "x", "target": "here"}\n',
            b'{"quebert": 1, "id": 5, "target": "here"}\n',
            b'{"quebert"',
            b"\xff\n",
            b"\n",
            b"[" * 100_000 + b"\n",
        ):
            self.path.write_bytes(content)
            self.assertIn("is no state file of quebert add", self.refused())
            self.assertEqual(self.path.read_bytes(), content)
        head = {"quebert": 1, "id": "0" * 32, "target": "here"}
        for line in (b"x", b'{"done": 5}', b'{"done": {"colour": 1}}', b"5"):
            self.path.write_bytes(json.dumps(head).encode() + b"\n" + line + b"\n")
            self.assertIn("is no state file of quebert add", self.refused())
        self.path = Path("/dev/null")  # others, such as /dev/full, have no end
        self.assertIn("is no state file of quebert add", self.refused())

    def test_no_file(self) -> None:
        """
        A file that cannot be made is told.
        """
        self.path = self.path / "not" / "there"
        self.assertIn("No such file or directory", self.refused())
        self.assertIn("state", self.refused())

    def test_nowhere(self) -> None:
        """
        A state need not be kept.
        """
        state = LoadState.nowhere()
        state.begin(FIRST)
        state.end(FIRST)
        state.close()
        self.assertEqual(state.done, FIRST)

    def test_full_disk(self) -> None:
        """
        What cannot be written is told, once.
        """
        state = self.open()
        with files_of(self.path.stat().st_size + 10):
            told = refusal(ConfigError, state.begin, FIRST)
            state.close()
        self.assertIn("the state file cannot be written: File too large", told)

    def test_full_disk_at_once(self) -> None:
        """
        The same for the first line.
        """
        with files_of(10):
            self.assertIn("File too large", self.refused())


class RejectsTests(SynchronousTestCase):
    """
    L{Rejects} has what was refused.
    """

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "rejects"

    def lines(self) -> list[dict[str, Any]]:
        """
        What is in it.
        """
        return [json.loads(each) for each in self.path.read_bytes().splitlines()]

    def test_lines(self) -> None:
        """
        A line has the number, the reason and the record; what no text has is replaced.
        """
        rejects = Rejects(self.path)
        self.addCleanup(rejects.close)
        size = rejects.write(
            [
                Refusal(TaskRecord(3, 1, b"caf\xc3\xa9\xff\x00"), "it is \ud800 bad"),
                Refusal(TaskRecord(4, 2, b"x" * 100_000), "long"),
            ]
        )
        self.assertEqual(size, self.path.stat().st_size)
        first, second = self.lines()
        expected = {"line": 3, "error": "it is ? bad", "text": "caf\xe9\ufffd\0"}
        self.assertEqual(first, expected)
        self.assertEqual((len(second["text"]), second["cut"]), (2**16, True))

    def test_made_when_needed(self) -> None:
        """
        Where nothing is refused, no file is made, and none is touched.
        """
        rejects = Rejects(self.path)
        self.assertEqual(rejects.write([]), 0)
        rejects.close()
        self.assertFalse(self.path.exists())
        self.path.write_text("of somebody")
        rejects = Rejects(self.path)
        rejects.write([])
        rejects.close()
        self.assertEqual(self.path.read_text(), "of somebody")

    def test_goes_on(self) -> None:
        """
        Another run keeps what was known to be done, and no more; what was written can
        be taken back.
        """
        rejects = Rejects(self.path)
        kept = rejects.write([Refusal(TaskRecord(1, 1, b"a"), "bad")])
        rejects.write([Refusal(TaskRecord(2, 1, b"b"), "bad")])
        rejects.close()
        rejects = Rejects(self.path)
        rejects.back_to(kept)
        self.addCleanup(rejects.close)
        self.assertEqual(rejects.write([]), kept)
        size = rejects.write([Refusal(TaskRecord(3, 1, b"c"), "bad")])
        self.assertEqual([each["line"] for each in self.lines()], [1, 3])
        rejects.write([Refusal(TaskRecord(4, 1, b"d"), "bad")])
        rejects.back_to(size)
        rejects.write([Refusal(TaskRecord(5, 1, b"e"), "bad")])
        self.assertEqual([each["line"] for each in self.lines()], [1, 3, 5])

    def test_gone(self) -> None:
        """
        Where somebody has removed the file, another one is made.
        """
        rejects = Rejects(self.path)
        self.addCleanup(rejects.close)
        rejects.back_to(1_000)
        rejects.write([Refusal(TaskRecord(3, 1, b"c"), "bad")])
        self.assertEqual([each["line"] for each in self.lines()], [3])

    def test_full_disk(self) -> None:
        """
        What cannot be written is told, once.
        """
        rejects = Rejects(self.path)
        with files_of(10):
            refused = [Refusal(TaskRecord(1, 1, b"a"), "bad")]
            told = refusal(ConfigError, rejects.write, refused)
            rejects.close()
        self.assertIn("File too large", told)

    def test_cannot_be_written(self) -> None:
        """
        That is told.
        """
        rejects = Rejects(self.path / "not" / "there")
        told = refusal(ConfigError, rejects.write, [Refusal(TaskRecord(1, 1, b""), "")])
        self.assertIn("No such file or directory", told)
