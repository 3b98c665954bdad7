"""
Tests for what every command does where its standard streams take or give nothing: the
disk is full, the reader of a pipe has gone, a stream is closed.  And for colours.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

import click
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from quebert import operations
from quebert.amqp.coordination import KnownQueues
from quebert.cli import _add, _add_one, _check, _doctor, _operating, _running, _terminal
from quebert.cli import _main as cli
from quebert.cli._progress_bar import ProgressBar
from quebert.config import QueueDefinition
from quebert.doctor import Finding, Level
from quebert.operations import DeadLetter, Overview, Progress, QueueChange, Status
from quebert.test.command_reference import commands

#: A line for each command that ends, with C{FILE} and C{NEW} for files.
LINES = (
    "-h",
    "dead -h",
    "--version",
    "status -h",
    "status tasks",
    "status tasks --json",
    "pause tasks",
    "resume tasks",
    "purge tasks --yes",
    "purge tasks",
    "dead list tasks",
    "dead show tasks",
    "dead redrive tasks",
    "dead discard tasks --yes",
    "dead discard tasks",
    "doctor",
    "doctor --json",
    "check FILE",
    "check FILE --json",
    "queues -h",
    "queues change -h",
    "queues delete -h",
    "queues list",
    "queues list --json",
    "queues make tasks",
    "history -h",
    "why -h",
    "token -h",
    "cancel -h",
    "run-now -h",
    "secret NEW --pair",
    "add /x",
)
#: These run until they are told to end.
ENDLESS = {"dev", "broker", "run", "tail", "top", "web"}

SAID = "Error: standard output cannot be written: No space left on device\n"
FULL = Path("/dev/full")


class StreamTestCase(SynchronousTestCase):
    """
    The commands, with no broker, and streams that are files.
    """

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        # That of a process that runs tests may be a pipe on which nobody writes.
        self.patch(sys, "stdin", StringIO())
        self.patch(_operating, "log_problems", lambda *ignored, level: None)
        self.patch(cli, "log_problems", lambda *ignored, level: None)
        self.patch(_operating, "run", lambda start: start("reactor"))
        self.patch(cli, "run", lambda start: start("reactor"))
        self.patch(_add, "log_problems", lambda *ignored, level: None)
        self.patch(_add, "run", lambda start: start("reactor"))
        self.patch(_add_one, "add", lambda reactor, **fields: "a uuid")
        now = Status(7, 0, True, 3)
        letter = DeadLetter({"headers": {"quebert-kind": "poison"}}, b"body")
        self.stand_in("overview", lambda broker, queues: Overview({"tasks": now}))
        self.stand_in("pause", lambda *asked, **how: now)
        self.stand_in("resume", lambda *asked: now)
        self.stand_in("find", lambda *asked: letter)
        self.stand_in("browse", lambda *asked: asked[-1](letter) or Progress(1, 1))
        self.stand_in("redrive", lambda *asked: self.dropped(3, *asked, None))
        self.stand_in("discard", lambda *asked: self.dropped(3, *asked))
        self.stand_in("purge", lambda *asked: self.dropped(now, *asked))
        queue = QueueDefinition(name="tasks")
        made = QueueChange(operations.QUEUE_MADE, queue)
        self.stand_in("make_queue", lambda *asked: made)
        self.stand_in("made_queues", lambda broker: KnownQueues({"tasks": queue}))
        finding = Finding(Level.OK, "it", "is fine", "look")
        self.patch(_doctor, "_examined", lambda *ignored: [finding])
        self.patch(_doctor, "log_problems", lambda *ignored, level: None)

    def stand_in(self, name: str, function: Any) -> None:
        """
        Have an operation do this.
        """
        self.patch(operations, name, function)

    def dropped(self, what: Any, *asked: Any) -> bool:
        """
        What stands in for operations that ask.
        """
        progress, sure = asked[-2:]
        if sure is not None and not sure(what):
            return False
        progress.total = progress.seen = progress.done = 3
        progress.ended = True
        return True

    def arguments(self, line: str) -> list[str]:
        """
        A command line with files.
        """
        config = self.folder / "a.toml"
        config.write_text('[queues.tasks]\nkey = "k"\n')
        new = self.folder / f"new{len([*self.folder.iterdir()])}"
        return line.replace("FILE", str(config)).replace("NEW", str(new)).split()

    def end(self, line: str) -> tuple[Any, str]:
        """
        The exit status of a command line, and what it says on standard error.
        """
        errors = StringIO()
        self.patch(sys, "stderr", errors)
        with self.assertRaises(SystemExit) as ended:
            cli.main(self.arguments(line), prog_name="quebert")
        return ended.exception.code, errors.getvalue()


class OutputTests(StreamTestCase):
    """
    Standard output takes nothing.
    """

    def test_all(self) -> None:
        """
        The tests have a line for each command.
        """
        paths = {" ".join(path[1:]) for path, _ in commands(cli.main)} - ENDLESS
        for path in paths - {""}:
            self.assertTrue(any(line.startswith(path) for line in LINES), path)

    def test_full(self) -> None:
        """
        A full disk is told in a sentence, and Python has nothing left to write at its
        end.
        """
        if not FULL.exists():
            raise SkipTest("there is no /dev/full")
        for line in LINES:
            with FULL.open("w") as full, self.output(full):
                self.assertEqual(self.end(line), (1, SAID), line)
                full.flush()

    def test_full_errors(self) -> None:
        """
        If standard error is full, too, nothing is said.
        """
        if not FULL.exists():
            raise SkipTest("there is no /dev/full")
        for line in (*LINES, "dead nope", "check nope", "add h:/"):
            with FULL.open("w") as full, FULL.open("w") as errors, self.output(full):
                self.patch(sys, "stderr", errors)
                with self.assertRaises(SystemExit) as ended:
                    cli.main(self.arguments(line), prog_name="quebert")
                self.assertIn(ended.exception.code, (1, 2), line)
                full.flush()

    def test_pipe(self) -> None:
        """
        If the reader of a pipe has gone, the command ends and says nothing.
        """
        for line in LINES:
            reading, writing = os.pipe()
            os.close(reading)
            with contextlib.suppress(BrokenPipeError), open(writing, "w") as pipe:
                with self.output(pipe):
                    self.assertEqual(self.end(line), (1, ""), line)
                if "-h" not in line:  # where click sees to that
                    pipe.flush()
                continue
            self.assertIn("-h", line)

    def test_closed(self) -> None:
        """
        A command whose output is closed does its work; it asks nothing.
        """
        self.patch(sys, "stdout", None)
        for line in LINES:
            asks = line in ("purge tasks", "dead discard tasks")
            expected = (1, "Aborted!\n") if asks else (0, "")
            self.assertEqual(self.end(line), expected, line)

    @contextmanager
    def output(self, stream: TextIO) -> Iterator[None]:
        """
        Standard output is this.
        """
        before, sys.stdout = sys.stdout, stream
        try:
            yield
        finally:
            sys.stdout = before


class InputTests(StreamTestCase):
    """
    Standard input gives no answer.
    """

    def test_closed(self) -> None:
        """
        Nothing is dropped where nobody can be asked.
        """
        self.patch(sys, "stdout", StringIO())
        for stdin in (None, StringIO("")):
            self.patch(sys, "stdin", stdin)
            for line in ("dead discard tasks", "purge tasks"):
                code, said = self.end(line)
                self.assertEqual(code, 1)
                self.assertIn("Aborted!", said)


class ColourTests(SynchronousTestCase):
    """
    Colours on a terminal.
    """

    def words(self, **environment: str) -> str:
        """
        What a word in colour is on a terminal.
        """
        written: list[str] = []
        stream = StringIO()
        stream.isatty = lambda: True  # type: ignore[method-assign]
        self.patch(sys, "stdout", stream)
        self.patch(_terminal, "os", _Environment(environment))
        _terminal.echo_word("ok", "green", 4, "it works")
        written.append(stream.getvalue())
        return written[0]

    def test_colour(self) -> None:
        """
        There are colours, unless C{NO_COLOR} is set to anything.
        """
        self.assertEqual(self.words(), "\x1b[32mok  \x1b[0m it works\n")
        self.assertEqual(self.words(NO_COLOR=""), "\x1b[32mok  \x1b[0m it works\n")
        self.assertEqual(self.words(NO_COLOR="1"), "ok   it works\n")

    def test_closed(self) -> None:
        """
        A stream that is closed is no terminal: no colours, and no bar.
        """
        for name in ("stdout", "stderr"):
            self.patch(sys, name, None)
        self.assertFalse(_terminal.wants_colour())
        bar = ProgressBar("looked at")
        bar(Progress(total=2))
        bar.end()


class _Environment:
    """
    What stands in for C{os}.
    """

    def __init__(self, environ: dict[str, str]) -> None:
        self.environ = environ


class HelpTests(SynchronousTestCase):
    """
    Help texts.
    """

    def test_whole(self) -> None:
        """
        The summary of each command in a list is the whole first sentence of its text.
        """
        for path, group in commands(cli.main):
            if not isinstance(group, click.Group):
                continue
            context = click.Context(
                group,
                info_name=" ".join(path),
                terminal_width=60,
                help_option_names=["-h", "--help"],  # which click keeps
            )
            listed = " ".join(group.get_help(context).split())
            self.assertNotIn("...", listed.partition("Commands:")[2])
            for name, command in group.commands.items():
                first = " ".join((command.help or "").split("\n\n")[0].split())
                sentence = first.partition(". ")[0].rstrip(".")
                self.assertIn(f" {name} {sentence}", listed)

    def test_lost(self) -> None:
        """
        An output that is lost is told with the reason.
        """
        lost = _running.OutputLost(OSError(28, "No space left on device"))
        self.assertEqual(f"Error: {lost}\n", SAID)

    def test_check_is_told(self) -> None:
        """
        What C{check} finds is in its JSON.
        """
        remarks = _check._Remarks(silent=True)
        remarks.note("a")
        remarks.wrong("b")
        self.assertEqual((remarks.notes, remarks.problems), (["a"], ["b"]))
