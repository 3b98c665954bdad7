"""
What is printed: whatever tasks, answers, brokers, exceptions and findings hold, it can
be shown on a terminal and in a log.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet.defer import fail
from twisted.internet.task import Clock
from twisted.logger import (
    FilteringLogObserver,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    LogPublisher,
    formatEvent,
    globalLogPublisher,
    textFileLogObserver,
)
from twisted.python import log as legacy
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from quebert import _log, _text, executor, operations, service
from quebert._protocol.methods import method_frame
from quebert._repeated import RepeatedWarning
from quebert._workers import Report
from quebert.broker import BrokerFactory
from quebert.cli import _doctor, _operating, _running
from quebert.cli import _main as cli
from quebert.cli._dev_log import DevLog
from quebert.doctor import Finding, Level
from quebert.errors import BrokerRefused, ExecutorError, QuebertError
from quebert.mediator import DelayOnErrorMediator, Mediator, PolicyMediator
from quebert.operations import DeadLetter, Overview, Progress, Status
from quebert.outcome import Bury, Discard
from quebert.test import mediating, test_executor, test_watcher, test_wire
from quebert.test.broker.peer import Peer
from quebert.test.injections import INJECTIONS, MARK
from quebert.test.mediating import FakeHTTP, FakeMessage, body_of, raising

# Bytes that one line of a log may have, and what one task may write at one attempt.
LINE = 10_000
ONE_ATTEMPT = 4_000
SECRET = "s3cret"


def unprintable(text: str) -> set[str]:
    """
    Characters that do something to a terminal, but for the ends of lines and for the
    tabs that Twisted's log puts before a line that is no first one.
    """
    return {c for c in text if not c.isprintable() and c not in "\n\t"}


class Case(SynchronousTestCase):
    """
    What these tests share.
    """

    def assert_printable(self, text: str, most: int | None = None) -> None:
        """
        It does nothing to a terminal.

        @param most: bytes that it may have.
        """
        self.assertEqual(unprintable(text), set(), ascii(text[:500]))
        self.assertIsNone(_text._INVISIBLE.search(text), ascii(text[:500]))
        for line in text.split("\n"):
            self.assertFalse(line.startswith("2026-11-27T00:00:00"), line[:100])
        if most is not None:
            self.assertLess(len(text.encode()), most)

    def logs(self, do: Callable[..., object], *args: object) -> str:
        """
        What a text file with the log of this process has of what C{do} logs, checked.
        """
        text = StringIO()
        observer = FilteringLogObserver(
            textFileLogObserver(text),
            [LogLevelFilterPredicate(LogLevel.info)],
        )
        globalLogPublisher.addObserver(observer)
        try:
            do(*args)
        finally:
            globalLogPublisher.removeObserver(observer)
        self.assert_printable(text.getvalue())
        return text.getvalue()


class TextTests(Case):
    """
    Tests for L{quebert._text}.
    """

    def test_corpus(self) -> None:
        """
        Each injection is another, and there are 200.
        """
        self.assertEqual(len(set(INJECTIONS)), 200)

    def test_printable(self) -> None:
        """
        No injection is left in a line, and a line has its length at most.
        """
        for each in INJECTIONS:
            self.assert_printable(_text.printable(each))
            self.assertEqual(len(_text.printable(each)), len(each))
            line = _text.one_line(each, 100)
            self.assert_printable(line, 401)
            self.assertNotIn("\n", line)
            self.assertNotIn("\n", _text.printable(each))
            self.assertLessEqual(len(line), 100)
            self.assertEqual(unprintable(_text.printable_lines(each)), set())

    def test_harmless(self) -> None:
        """
        Other texts stay as they are.
        """
        for text in (
            "plain",
            "naïve",
            "日本語",
            "🙂",
            "e\N{COMBINING ACUTE ACCENT}",
            "",
        ):
            self.assertEqual(_text.printable(text), text)
            self.assertEqual(_text.one_line(text, 10), text)
        self.assertEqual(_text.one_line("x" * 11, 10), "x" * 9 + "…")
        self.assertEqual(_text.one_line("", 0), "")
        self.assertEqual(_text.one_line("x", 0), "…")

    def test_width(self) -> None:
        """
        Columns of a terminal.
        """
        for text, columns in (
            ("ab", 2),
            ("日本", 4),
            ("e\u0301", 1),
            ("ﾊ", 1),
            ("", 0),
        ):
            self.assertEqual(_text.width(text), columns, text)

    def test_url(self) -> None:
        """
        A URL is shown without what may be a secret.
        """
        for url, shown in (
            ("http://a/b", "http://a/b"),
            ("http://me:s3cret@a/b?key=s3cret#s3cret", "http://...@a/b?..."),
            ("/b?s3cret", "/b?..."),
            ("?s3cret", "?..."),
            ("http://a/#s3cret", "http://a/?..."),
            ("http://u:s3?cret@a/?s3cret", "http://...@a/?..."),
            ("", ""),
        ):
            self.assertEqual(_text.shown_url(url), shown)

    def test_line_of_url(self) -> None:
        """
        On one line, too, however long the secret is, and whatever stands before it.
        """
        secret = "s3cret" * 100
        for url, shown in (
            (f"http://me:{secret}@a/b", "http://...@a/b"),
            (f"http://{secret}@a/?{secret}", "http://...@a/?..."),
            (f"//me:{secret}@a/b", "//...@a/b"),
            (f"http://a/?{secret}", "http://a/?..."),
            ("http://a/" + "b" * 100, "http://a/" + "b" * 10 + "…"),
            ("http://a/" + "b" * 10_000, "http://a/" + "b" * 10 + "…"),
            (f"http://{secret * 20}@a/b", "http://...@"),
            ("http://a/bbbbbbbbb?q=1", "http://a/bbbbbbbbb?…"),
        ):
            self.assertEqual(_text.one_line_url(url, 20), shown)
        self.assertNotIn("s3cret", _text.one_line_url(f"http:\0//s3cret{secret}@a", 20))


class LogTests(Case):
    """
    Tests for L{quebert._log}.
    """

    def everything(self, log: Logger, text: str) -> Iterator[Callable[[], object]]:
        """
        Log a text in each way there is.
        """
        error = ExecutorError(text)
        yield lambda: log.info("{text}", text=text)
        yield lambda: log.info("{text!r} {text!s:>5} {text}", text=text)
        yield lambda: log.warn("{error}", error=error)
        yield lambda: log.error("{values[0]} {values}", values=[text, error])
        yield lambda: log.error("{call()}", call=lambda: text)
        yield lambda: log.error("static", log_system=text)
        yield lambda: log.failure("failed: {text}", Failure(error), text=text)
        yield lambda: log.error("{error.__class__} {missing}", error=error)

    def test_ours(self) -> None:
        """
        What quebert logs can be printed by any observer, in any process.
        """
        log = _log.Logger()
        for text in INJECTIONS:
            for each in self.everything(log, text):
                said = self.logs(each)
                self.assertLess(len(said.encode()), 2 * LINE)
                firsts = [x for x in said.splitlines() if x and not x.startswith("\t")]
                self.assertEqual(len(firsts), 1, firsts)
            self.flushLoggedErrors(ExecutorError)

    def test_others(self) -> None:
        """
        So can what others log, in a process that has called L{_log.print_safely}.
        """
        text = StringIO()
        first: Any = _log.make_printable
        publisher = LogPublisher(first, textFileLogObserver(text))
        log = Logger(observer=publisher)
        self.patch(legacy, "msg", legacy.LogPublisher(publisher, publisher).msg)
        for each in INJECTIONS:
            for do in self.everything(log, each):
                do()
            log.info(each)
            log.info(each.encode("utf-8", "replace"))  # type: ignore[arg-type]
            legacy.msg(each, system=each)
            legacy.msg(format="%(a)s", a=each)
            legacy.err(Failure(ValueError(each)), each)
            self.assert_printable(text.getvalue(), 13 * LINE)
            self.assertGreater(text.getvalue().count(MARK), 10)
            text.seek(0)
            text.truncate()
        self.flushLoggedErrors(ValueError)

    def test_print_safely(self) -> None:
        """
        The observer sees events before those that are added after it.
        """
        publisher = LogPublisher()
        self.patch(_log, "globalLogPublisher", publisher)
        _log.print_safely()
        events: list[Any] = []
        publisher.addObserver(events.append)  # type: ignore[arg-type]
        Logger(observer=publisher).info("{x:.2f} {y}", x=1, y="a\x1bb")
        self.assertEqual(formatEvent(events[0]), "1.00 a?b")
        self.assertEqual(events[0]["y"], "a\x1bb")

    def test_services(self) -> None:
        """
        The services of C{twistd} do so.
        """
        options: Any = service.Options()
        options.parseOptions(["--watch=flow:tasks:tasks.#:1"])
        of_executor: Any = executor.Options()
        of_executor.parseOptions(["--function=json.dumps"])
        for make, given in (
            (service.makeService, options),
            (executor.makeService, of_executor),
        ):
            publisher = LogPublisher()
            self.patch(_log, "globalLogPublisher", publisher)
            make(given)
            events: list[Any] = []
            publisher.addObserver(events.append)  # type: ignore[arg-type]
            Logger(observer=publisher).info("{x}", x="a\x1bb")
            self.assertEqual(formatEvent(events[0]), "a?b")

    def test_kept(self) -> None:
        """
        Those who do more than print an event have its values and its exception.
        """
        events: list[Any] = []
        error = ValueError("a\nb")
        log = _log.Logger(observer=events.append)  # type: ignore[arg-type]
        try:
            raise error
        except ValueError:
            log.failure("{text}", text="a\nb")
        (event,) = events
        self.assertEqual(event["log_format"], "{text}")
        self.assertEqual(event["text"], "a\nb")
        failure = event["log_failure"]
        self.assertIs(failure.value, error)
        self.assertTrue(failure.check(ValueError))
        self.assertIn("in test_kept", failure.getTraceback())
        self.assertTrue(failure.getTraceback().endswith("ValueError: a b\n"))

    def test_unspeakable(self) -> None:
        """
        What cannot be made into text is told so, without any other value.
        """
        log = _log.Logger()
        error = mediating.Unspeakable()
        said = self.logs(lambda: log.info("{a} {b}", a=error, b="b", c=SECRET))
        self.assertIn("(RuntimeError when a was to be shown) b", said)
        self.assertNotIn(SECRET, said)

    def test_traceback(self) -> None:
        """
        A long traceback shows its beginning and its end.
        """

        def deep(levels: int) -> None:
            if not levels:
                raise ValueError("the end")
            deep(levels - 1)

        log = _log.Logger()
        try:
            deep(200)
        except ValueError:
            said = self.logs(lambda: log.failure("Oh."))
        self.assertIn("in test_traceback", said)
        self.assertIn("ValueError: the end", said)
        self.assertLess(len(said), 5_000)
        self.flushLoggedErrors(ValueError)

    def test_repeated(self) -> None:
        """
        A fault that is logged again and again is remembered by the text that is logged.
        """
        log, clock = _log.Logger(), Clock()
        for each in INJECTIONS:
            warning = RepeatedWarning(log, lambda: clock, "Oh", "Well")
            said = self.logs(warning.met, BrokerRefused(403, each))
            self.assertLess(len(said.encode()), LINE)
            self.assertLess(sum(map(len, warning._causes)), 1_000)
            warning.end()

    def test_worker(self) -> None:
        """
        What a worker logs can be printed by its supervisor, tracebacks in lines.
        """
        events: list[Any] = []
        log = Logger(observer=events.append)  # type: ignore[arg-type]
        for each in INJECTIONS:
            log.failure("{a}", Failure(ValueError(each)), a=each)
            _log.make_printable(events[-1])
            report = Report.parse(Report.of(events.pop()).line())
            assert report is not None
            said = self.logs(globalLogPublisher, report.event("worker 1"))
            self.assertLess(len(said.encode()), 3 * LINE)
            self.assertIn("\n\tTraceback", said)


class MediatorTests(mediating.Case, Case):
    """
    Whatever a task, or an answer to it, holds.
    """

    def mediators(self, http: FakeHTTP) -> Sequence[Mediator]:
        """
        One of each kind.
        """
        options: Any = {"http": http, "clock": self.clock, "now": lambda: mediating.NOW}
        return (
            DelayOnErrorMediator(**options, bury=True),
            PolicyMediator(**options, permanent=[500]),
        )

    def tell(self, http: FakeHTTP, **fields: Any) -> str:
        """
        What is logged, and given as a reason, of a task with these fields.
        """
        reasons: list[str] = []
        body = body_of(**fields)
        said = ""
        for mediator in self.mediators(http):

            def receive(mediator: Mediator = mediator) -> None:
                outcome = self.outcome(mediator, FakeMessage(body))
                if isinstance(outcome, (Bury, Discard)):
                    reasons.append(outcome.reason)

            once = self.logs(receive)
            self.assertLess(len(once.encode()), ONE_ATTEMPT)
            said += once
        for each in reasons:
            # It goes into a header; the log, and whoever shows the header, escape it.
            self.assertLess(len(each), 2_500)
        return said + "\n".join(reasons)

    def test_fields(self) -> None:
        """
        Any field of a task.
        """
        http = FakeHTTP(500)
        for each in INJECTIONS:
            text: Any = each
            for fields in (
                {"url": text},
                {"url": f"http://executor.example/{each}"},
                {"uuid": text},
                {"uuid": [text]},
                {"headers": {each: "x"}},
                {"headers": {"X-Name": each}},
                {"headers": text},
                {"method": text},
                {"timestamp": text, "ttl": 5},
                {"run_at": text},
                {"timeout": text},
                {"ttl": text},
                {"params": {each: text}},
                {"retry": {each: 1}},
                {"retry": {"jitter": text}},
                {"retry": text},
                {"failures": text, "traceback": text},
            ):
                said = self.tell(http, **fields)
                if "url" not in fields:  # where it is a path, nothing is wrong
                    continue
                self.assertNotIn("?key", said)

    def test_answers(self) -> None:
        """
        Any answer.
        """
        for each in INJECTIONS:
            body = each.encode("utf-8", "surrogatepass")
            for code, name in ((500, "X-Name"), (200, "Quebert-Outcome")):
                for value in (each, f"bury; {each}", f"discard; {each}"):
                    field = value.encode("latin-1", "replace").decode("latin-1")
                    clean = (
                        field.replace("\n", " ").replace("\r", " ").replace("\0", "")
                    )
                    self.tell(FakeHTTP(code, body, {name: clean}))

    def test_errors(self) -> None:
        """
        Any exception of an HTTP client, and of a hook.
        """
        for each in INJECTIONS:
            http = FakeHTTP(200)
            self.patch(http, "request", lambda *a, e=each, **k: fail(ExecutorError(e)))
            self.tell(http)
            mediator = DelayOnErrorMediator(http=http, clock=self.clock)
            mediator.add_prehook(raising(ValueError, each))
            self.logs(self.outcome, mediator, FakeMessage(body_of()))

    def test_query(self) -> None:
        """
        Neither the query of a URL nor a password is logged, nor a wrong value.
        """
        http = FakeHTTP(500)
        url = f"http://me:{SECRET}@executor.example/run?key={SECRET}#{SECRET}"
        for fields in (
            {"url": url, "headers": {"Authorization": SECRET}},
            {"url": url, "retry": SECRET},
            {"url": url, "retry": {"jitter": SECRET}},
            {"url": url, "retry": {"max_attempts": [SECRET]}},
            {"url": url, "method": SECRET},
            {"url": url, "timeout": SECRET},
            {"url": url, "ttl": SECRET},
            {"url": url, "headers": SECRET},
            {"url": url, "headers": {"X-Name": [SECRET]}},
            {"url": url, "ttl": 1, "timestamp": "2001-01-01T00:00:00Z"},
        ):
            self.assertNotIn(SECRET, self.tell(http, **fields))


class SettlementTests(test_watcher.WatcherTestCase, Case):
    """
    What is discarded or buried, by whatever message and for whatever reason.
    """

    def test_removed(self) -> None:
        """
        The id of a message, and the reason.
        """
        self.begin(prefetch=1000)
        for each in INJECTIONS:
            short = each.encode("utf-8", "replace")[:200].decode("utf-8", "replace")

            def discard(text: str = each, uuid: str = short) -> None:
                message = self.deliver(**{"message-id": uuid})
                self.finish(message, Discard(text))

            said = self.logs(discard)
            self.assertLess(len(said.encode()), LINE)
            self.assertEqual(said.count("\n"), 1)


class BrokerTests(test_wire.WireTestCase, Case):
    """
    Whatever a broker says.
    """

    def test_block(self) -> None:
        """
        Why it takes no messages.
        """
        for each in INJECTIONS:
            self.wire._blockade.end()
            self.wire.blocked = None
            said = self.logs(self.wire.block, each)
            self.assertLess(len(said.encode()), LINE)
            self.assertEqual(said.count("\n"), 1)

    def test_close(self) -> None:
        """
        Why we close.
        """
        for each in INJECTIONS:
            self.make()
            reason = Failure(BrokerRefused(320, each))
            said = self.logs(self.wire.close, reason)
            self.assertLess(len(said.encode()), 2 * LINE)
            self.flushLoggedErrors(BrokerRefused)
            self.broker.lose()


class EmbeddedBrokerTests(Case):
    """
    Whatever a client of the embedded broker says.
    """

    def test_exchange(self) -> None:
        """
        Names that it asks for.
        """
        for each in INJECTIONS:
            name = each.encode("utf-8", "replace")[:100].decode("utf-8", "replace")
            broker = BrokerFactory(Clock())
            peer = Peer(broker).open()

            def ask(peer: Peer = peer, name: str = name) -> None:
                arguments: Any = (0, name, f"x-{name}", *([False] * 5), {})
                peer.send(method_frame(1, "exchange.declare", arguments))

            said = self.logs(ask)
            self.assertLess(len(said.encode()), LINE)
            peer.transport.loseConnection()
            self.successResultOf(broker.stop())


class ExecutorTests(test_executor.Case, Case):
    """
    Whatever a task of an executor holds, and a function raises.
    """

    def test_function(self) -> None:
        """
        An exception, the uuid, and what has no form in JSON.
        """
        for each in INJECTIONS:
            body = json.dumps({"uuid": each}).encode()

            def failing(task: Any, text: str = each) -> None:
                raise ValueError(text)

            said = self.logs(self.ask, failing, body)
            self.assertLess(len(said.encode()), LINE)
            self.flushLoggedErrors(ValueError)
            self.logs(self.ask, lambda task, text=each: {text: object()}, body)


class CommandTests(Case):
    """
    Whatever the commands show.
    """

    def test_one_place(self) -> None:
        """
        No module of the command line writes past L{quebert.cli._terminal}, but for the
        log that is written to standard error, and those that fill the screen, or write
        as fast as somebody reads; their users make each text printable.
        """
        writes = re.compile(
            r"click\.(echo|secho|confirm|prompt)|(?<![.\w])print\(|std\w+\.write\("
            r"|os\.write\("
        )
        folder = Path(cli.__file__).parent
        found = {p.name for p in folder.glob("*.py") if writes.search(p.read_text())}
        own = {"_full_screen.py", "_paced_output.py"}
        self.assertEqual(found - {"_running.py"}, {"_terminal.py", *own})

    def setUp(self) -> None:
        self.patch(_operating, "log_problems", lambda *ignored, level: None)
        self.patch(_operating, "run", lambda start: start("reactor"))

    def call(self, *line: str, code: int | None = None) -> Result:
        """
        What comes of a command line, which is checked.
        """
        result = CliRunner().invoke(cli.main, line)
        shown = result.output
        if "show" in line:  # a body that is no JSON is shown in its own lines
            shown, empty, body = shown.partition("\n\n")
            self.assertEqual((empty, unprintable(body)), ("\n\n", set()))
        self.assert_printable(shown)
        if code is not None:
            self.assertEqual(result.exit_code, code, result.output)
        return result

    def letters(self, text: str) -> Iterator[DeadLetter]:
        """
        Dead letters with C{text} anywhere.
        """
        data = text.encode("utf-8", "surrogatepass")
        names = ("kind", "reason", "last-status", "last-answer", "attempts", "own")
        for value in (text, data, [text], {text: data}):
            headers = {f"quebert-{name}": value for name in names}
            properties = {"headers": headers, text: value, "message-id": text}
            yield DeadLetter(properties, data)
            yield DeadLetter(properties, json.dumps({"uuid": text, text: 1}).encode())
            yield DeadLetter({"headers": {text: value}}, body_of(url=text, uuid=text))

    def browse(self, letters: list[DeadLetter], *asked: Any) -> Progress:
        """
        What stands in for this.
        """
        for each in letters:
            asked[-1](each)
        return Progress(ended=True)

    def test_dead(self) -> None:
        """
        C{dead list} and C{dead show}.
        """
        for each in INJECTIONS:
            letters = [*self.letters(each)]
            self.patch(operations, "browse", partial(self.browse, letters))
            text = self.call("dead", "list", "tasks", code=0).output
            self.assertLess(len(text.encode()), 200_000)
            for letter in letters[:3]:
                self.patch(operations, "find", lambda *a, x=letter: x)
                self.call("dead", "show", "tasks", code=0)
                self.call("dead", "show", "--secrets", "tasks", code=0)

    def test_status(self) -> None:
        """
        C{status}, and what a command fails with.
        """
        for each in INJECTIONS:
            now = Status(1, 2, False, 3, problems=(each,), unknown={"running": each})
            found = Overview({each: now, "other": now}, problems=(each,))
            for queues in ([each], [each, "other"]):
                self.patch(operations, "overview", lambda *a, x=found: x)
                self.call("status", *queues, code=1)
                self.call("status", *queues, "--json", code=1)
            for error in (QuebertError(each), ValueError(each)):
                self.patch(operations, "overview", raising(type(error), each))
                self.call("status", "tasks", code=1)
                self.call("dead", each, code=2)
                self.call("dead", "list", "tasks", "--match", each, code=2)

    def test_doctor(self) -> None:
        """
        C{doctor}, whose JSON has all of it.
        """
        for each in INJECTIONS:
            found = [Finding(level, each, each, each) for level in Level]
            self.patch(_doctor, "_examined", lambda *ignored, x=found: x)
            self.call("doctor", code=2)
            told = json.loads(self.call("doctor", "--json", code=2).output)
            self.assertEqual(told["findings"][0]["text"], each)

    def test_check(self) -> None:
        """
        C{check}, of a file that somebody else has written.
        """
        path = Path(self.enterContext(TemporaryDirectory())) / "a.toml"
        for each in INJECTIONS:
            text = json.dumps(each.encode("utf-8", "replace").decode())
            text = text.replace("\x7f", r"\u007f")
            path.write_text(f"{text} = 1\n[queues.{text}]\nkey = 1\n[x]\na = {text}")
            self.call("check", str(path), code=1)
            path.write_text(f"[queues.{text}]\n")
            self.call("check", str(path))

    def test_problems(self) -> None:
        """
        What is logged while a command runs is a line each.
        """
        for each in INJECTIONS:
            events: list[Any] = []
            log = Logger(observer=events.append)  # type: ignore[arg-type]
            log.failure("{a}", Failure(ValueError(each)), a=each)
            log.error(each)
            for event in events:
                _log.make_printable(event)
                line = _running._line(event)
                self.assert_printable(line, LINE)
                self.assertNotIn("\n", line)

    def test_dev(self) -> None:
        """
        C{dev}.
        """
        for each in INJECTIONS:
            out = StringIO()
            self.patch(sys, "stdout", out)
            for http in (FakeHTTP(500, each.encode("utf-8", "replace")), FakeHTTP(200)):
                clock = Clock()
                observer = DevLog(cli._say, "q")
                mediator = PolicyMediator(
                    http=http, clock=clock, observer=observer, defaulturl="http://a/"
                )
                for fields in ({"url": each}, {"uuid": each}, {"timeout": each}):
                    message: Any = FakeMessage(body_of(**fields))
                    outcome = mediator.messageReceived(message)
                    clock.advance(0)  # a large one is read in steps
                    self.successResultOf(outcome)
            cli._say(each, each)
            self.assert_printable(out.getvalue())
