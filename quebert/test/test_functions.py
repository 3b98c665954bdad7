"""
Tests for L{quebert.functions}: what functions get, and what their results, their
errors and their wishes are answered.
"""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase

from quebert import outcome
from quebert import task as tasks
from quebert.errors import BadTask, ConfigError
from quebert.functions import (
    AnsweredError,
    Discard,
    ExecutorAnswer,
    Functions,
    GiveUp,
    NoFunction,
    ReceivedTask,
    Retry,
    all_functions,
    task,
)
from quebert.functions.answers import answer_to_error, answer_to_result, error_line
from quebert.functions.calling import call, call_alone, call_async, is_async, log
from quebert.policy import Directive, directive
from quebert.task import Task

TEXT = ("Content-Type", "text/plain; charset=utf-8")


def header(answer: ExecutorAnswer, name: str) -> str | None:
    """
    The value of a header, as a mediator reads it.
    """
    found = [v for k, v in answer.headers if k == name]
    return found[0].encode("latin-1").decode("utf-8") if found else None


def wish(answer: ExecutorAnswer) -> Directive:
    """
    What a mediator with a policy makes of an answer.
    """
    value = header(answer, "Quebert-Outcome")
    assert value is not None
    return directive(value)


class WishTests(SynchronousTestCase):
    """
    L{Retry}, L{GiveUp} and L{Discard}.
    """

    def test_retry(self) -> None:
        """
        It is a failure that says nothing of the host: 409, with both headers.
        """
        answer = Retry("it is locked", after=30).answer
        self.assertEqual((answer.status, answer.body), (409, b"it is locked"))
        self.assertEqual(wish(answer), Directive("retry-after", 30.0, "it is locked"))
        self.assertEqual(header(answer, "Retry-After"), "30")

    def test_retry_without_a_time(self) -> None:
        """
        Then the mediator decides when.
        """
        answer = Retry().answer
        self.assertEqual((answer.status, answer.headers), (409, (TEXT,)))
        self.assertEqual(answer.sentence, "the task is to be tried again")

    def test_times(self) -> None:
        """
        Seconds, a span, or a time; one that has passed is now, and one that is far away
        can still be written.
        """
        soon = datetime.now(UTC) + timedelta(seconds=100)
        for after, least, most in (
            (0, 0, 0),
            (0.25, 0.25, 0.25),
            (timedelta(minutes=2), 120, 120),
            (soon, 90, 100),
            (soon.replace(tzinfo=None), 90, 100),
            (datetime(2009, 1, 1), 0, 0),
            (-5, 0, 0),
            (1e300, 10**9, 10**9),
            (10**400, 10**9, 10**9),
            (float("inf"), 10**9, 10**9),
        ):
            answer = Retry(after=after).answer
            seconds = wish(answer).seconds
            self.assertTrue(least <= seconds <= most, (after, seconds))
            later = header(answer, "Retry-After")
            self.assertTrue(later is not None and int(later) >= seconds, later)

    def test_no_times(self) -> None:
        """
        Anything else is an error of the function.
        """
        wrong: Any
        for wrong in ("30", True, [], datetime):
            self.assertRaises(TypeError, Retry, after=wrong)
        self.assertRaises(ValueError, Retry, after=float("nan"))

    def test_give_up(self) -> None:
        """
        It is 422, which is no success to any mediator, and burial to one with a policy.
        """
        answer = GiveUp("no such user").answer
        self.assertEqual((answer.status, answer.body), (422, b"no such user"))
        self.assertEqual(wish(answer), Directive("bury", 0.0, "no such user"))
        self.assertEqual(wish(GiveUp().answer), Directive("bury"))

    def test_discard(self) -> None:
        """
        It is 200: any mediator is done with the task.
        """
        answer = Discard("a duplicate").answer
        self.assertEqual((answer.status, answer.body), (200, b"a duplicate"))
        self.assertEqual(wish(answer), Directive("discard", 0.0, "a duplicate"))

    def test_reasons(self) -> None:
        """
        Whatever a reason is, the header has one line of it, and the body all.
        """
        for reason, told in (
            ("kein Platz für 日本", "kein Platz für 日本"),
            ("one\r\nSet-Cookie: a=b", "one Set-Cookie: a=b"),
            ("\x1b[2Jgone\x00", "?[2Jgone?"),
            ("half \ud83d", r"half \ud83d"),
            ("a; b", "a; b"),
            ("x" * 5_000, "x" * 399 + "…"),
        ):
            answer = GiveUp(reason).answer
            self.assertEqual(wish(answer).reason, told)
            body = reason.encode("utf-8", "backslashreplace")
            self.assertEqual(answer.body, body)
        unusual: Any = KeyError("name")
        self.assertEqual(wish(GiveUp(unusual).answer).reason, "'name'")

    def test_copied(self) -> None:
        """
        They survive the way from one process to another.
        """
        for each in (Retry("r", after=3), GiveUp("é"), Discard(), NoFunction("/", [])):
            copied = pickle.loads(pickle.dumps(each))
            self.assertIs(type(copied), type(each))
            self.assertEqual((copied.answer, str(copied)), (each.answer, str(each)))


class AnswerTests(SynchronousTestCase):
    """
    L{answer_to_result} and L{answer_to_error}.
    """

    def test_results(self) -> None:
        """
        C{None}, text, bytes and JSON.
        """
        octets = ("Content-Type", "application/octet-stream")
        json = ("Content-Type", "application/json")
        result: Any
        for result, status, body, headers in (
            (None, 204, b"", ()),
            ("é", 200, "é".encode(), (TEXT,)),
            (b"\xff", 200, b"\xff", (octets,)),
            (bytearray(b"ab"), 200, b"ab", (octets,)),
            ({"a": [1, None]}, 200, b'{"a":[1,null]}', (json,)),
            (ReceivedTask({"a": 1}), 200, b'{"a":1}', (json,)),
            (0, 200, b"0", (json,)),
        ):
            answer = ExecutorAnswer(status, body, headers)
            self.assertEqual(answer_to_result(result), answer)

    def test_what_cannot_be_sent(self) -> None:
        """
        Another result is 500, with the reason.
        """
        for result in (object(), {1, 2}, float("nan"), "\ud83d"):
            answer = answer_to_result(result)
            self.assertEqual(answer.status, 500)
            start = "the function's result cannot be sent: "
            self.assertTrue(answer.sentence.startswith(start), answer)

    def test_own_answers(self) -> None:
        """
        An answer that no web server could send is an error of who makes it; its body
        may be any bytes.
        """
        for headers in (("X", "\u20ac"), ("\xfc", "a"), ("X", "a\r\nY: b"), ("", "a")):
            self.assertRaises(ValueError, ExecutorAnswer, 200, b"", (headers,))
        for status in (100, 199, 600, -1):
            self.assertRaises(ValueError, ExecutorAnswer, status)
        header = ("X-Y", "a\tb \xff")
        error = AnsweredError(ExecutorAnswer(418, b"a\xff", (header,)))
        self.assertEqual(str(error), "a\ufffd")
        self.assertEqual(answer_to_error(error).headers, (header,))

    def test_outcomes(self) -> None:
        """
        Who takes Retry from the wrong module is told so.
        """
        answer = answer_to_result(outcome.Retry(after=30))
        said = "Retry of quebert.outcome is for mediators: see quebert.functions"
        self.assertEqual((answer.status, answer.sentence), (500, said))

    def test_wishes(self) -> None:
        """
        A wish is the same returned and raised.
        """
        for each in (Retry(after=1), GiveUp("x"), Discard()):
            self.assertEqual(answer_to_result(each), each.answer)
            self.assertEqual(answer_to_error(each), each.answer)

    def test_errors(self) -> None:
        """
        An error is 500, with one line of its text.
        """

        class Mute(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        self.assertEqual(error_line(ValueError("a\nb\x00")), "ValueError: a b?")
        self.assertEqual(error_line(KeyError()), "KeyError")
        self.assertEqual(error_line(Mute()), "Mute: (its text cannot be had)")
        self.assertLess(len(error_line(ValueError("x" * 10**6))), 1_100)
        self.assertEqual(
            answer_to_error(ValueError("é")).body, "ValueError: é".encode()
        )


# -- Functions of all kinds


def plain(task: Task) -> object:
    """
    Returns.
    """
    return task["params"]


def pieces(task: Task) -> Iterator[str | None]:
    """
    Yields.
    """
    yield "a"
    yield None
    yield task["params"]


def returning(task: Task) -> Any:
    """
    A generator that yields no pieces.
    """
    yield
    return {"got": task["params"]}


def both(task: Task) -> Any:
    """
    Yields, and returns, too.
    """
    yield "a"
    return 1


async def coroutine(task: Task) -> object:
    """
    Awaits.
    """
    await asyncio.sleep(0)
    return task["params"]


async def async_pieces(task: Task) -> AsyncIterator[bytes]:
    """
    Awaits, and yields.
    """
    yield b"a"
    await asyncio.sleep(0)
    yield str(task["params"]).encode()


class Called:
    """
    An object that is called like a coroutine function.
    """

    async def __call__(self, task: Task) -> object:
        return task["params"]


def given_back(task: Task) -> object:
    """
    Returns a coroutine.
    """
    return coroutine(task)


def numbers(task: Task) -> Iterator[int]:
    """
    Yields no text.
    """
    yield 1


def mixed(task: Task) -> Iterator[Any]:
    """
    Yields text and bytes.
    """
    yield "a"
    yield b"b"


def leaving(task: Task) -> object:
    """
    Ends its process, it thinks.
    """
    sys.exit(3)


async def leaving_loop(task: Task) -> object:
    """
    Likewise.
    """
    raise SystemExit(3)


async def awaiting_cancelled(task: Task) -> object:
    """
    Waits for something that is cancelled.
    """
    waiting: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    waiting.cancel()
    return await waiting


async def giving_up(task: Task) -> object:
    """
    Wishes.
    """
    raise GiveUp("never")


class CallTests(SynchronousTestCase):
    """
    L{call}, L{call_alone} and L{call_async}.
    """

    def check(self, function: Any, status: int, body: bytes) -> None:
        """
        Expect the same answer of both.
        """
        given = ReceivedTask({"params": "x", "uuid": "u"})
        self.patch(log, "disabled", True)
        answers = call(function, given), asyncio.run(call_async(function, given))
        for answer in answers:
            self.assertEqual((answer.status, answer.body), (status, body))

    def test_kinds(self) -> None:
        """
        Functions, generators, coroutine functions, asynchronous generators, and
        objects.
        """
        self.check(plain, 200, b"x")
        self.check(pieces, 200, b"ax")
        self.check(returning, 200, b'{"got":"x"}')
        self.check(coroutine, 200, b"x")
        self.check(async_pieces, 200, b"ax")
        self.check(Called(), 200, b"x")
        self.check(given_back, 200, b"x")
        self.check(giving_up, 422, b"never")

    def test_failures(self) -> None:
        """
        Whatever fails is 500, an exit too.
        """
        text = b"TypeError: a generator must yield "
        self.check(numbers, 500, text + b"str, bytes or None, not int")
        self.check(mixed, 500, text + b"either str or bytes")
        either = b"TypeError: a generator must either yield pieces or return a result"
        self.check(both, 500, either)
        self.check(leaving, 500, b"SystemExit: 3")
        self.check(leaving_loop, 500, b"SystemExit: 3")
        self.check(awaiting_cancelled, 500, b"CancelledError")
        self.check(lambda task: 1 / 0, 500, b"ZeroDivisionError: division by zero")
        deferred = b"TypeError: a Deferred needs Twisted: twistd quexecutor"
        self.check(lambda task: succeed(1), 500, deferred)

    def test_other_exits(self) -> None:
        """
        A Ctrl-C is the server's.
        """

        def interrupted(task: Task) -> None:
            raise KeyboardInterrupt

        self.assertRaises(KeyboardInterrupt, call, interrupted, {})

    def test_server_cancels(self) -> None:
        """
        A server that ends the request ends a coroutine function.
        """
        ended: list[str] = []

        async def waits(task: Task) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append("waits")

        async def main() -> None:
            running = asyncio.create_task(call_async(waits, {}))
            await asyncio.sleep(0)
            running.cancel()
            await running

        self.assertRaises(asyncio.CancelledError, asyncio.run, main())
        self.assertEqual(ended, ["waits"])

    def test_alone(self) -> None:
        """
        Where no server can be interrupted, whatever is raised is answered.
        """

        def raises(error: BaseException) -> Callable[[Task], None]:
            def function(task: Task) -> None:
                raise error

            return function

        self.patch(log, "disabled", True)
        for error in (asyncio.CancelledError(), KeyboardInterrupt(), StopIteration()):
            kind = type(error).__name__.encode()
            waiting = asyncio.wait_for(call_async(raises(error), {}), 60)
            for answer in (call_alone(raises(error), {}), asyncio.run(waiting)):
                self.assertEqual((answer.status, answer.body), (500, kind))

    def test_loop_within_a_loop(self) -> None:
        """
        A coroutine function cannot be waited for where a loop runs: it says so.
        """

        async def within() -> ExecutorAnswer:
            return call(coroutine, {"params": 1})

        with self.assertLogs("quebert.functions"):
            answer = asyncio.run(within())
        self.assertEqual(answer.status, 503)
        self.assertIn("it needs an ASGI server", answer.sentence)

    def test_where(self) -> None:
        """
        What is asynchronous runs in the loop, all else in a thread.
        """
        for function in (coroutine, async_pieces, Called()):
            self.assertTrue(is_async(function))
        for other in (plain, pieces, given_back, lambda task: 1, object()):
            self.assertFalse(is_async(other))  # type: ignore[arg-type]

    def test_logged(self) -> None:
        """
        A failure is logged with its traceback and the uuid, a wish and a result that
        cannot be sent in one line.
        """
        given = {"uuid": "u-1"}
        with self.assertLogs("quebert.functions", "INFO") as logged:
            call(lambda task: 1 / 0, given)
            call(lambda task: Retry("later", after=3), given)
            call(lambda task: object(), given)
            call(lambda task: GiveUp("a\nb\x1b" + "c" * 10_000), given)
        failed, wished, wrong, long = logged.records
        self.assertEqual(long.getMessage()[:21], "Task u-1: 422: a b?cc")
        self.assertLess(len(long.getMessage()), 500)
        self.assertEqual(failed.getMessage(), "Task u-1 failed.")
        self.assertIsNotNone(failed.exc_info)
        self.assertEqual(wished.getMessage(), "Task u-1: 409: later")
        self.assertIn("Task u-1: 500: the function's result", wrong.getMessage())
        self.assertEqual([r.exc_info for r in (wished, wrong)], [None, None])


class RegistryTests(SynchronousTestCase):
    """
    L{Functions}.
    """

    def test_chosen(self) -> None:
        """
        The path chooses; a slash at its end makes no difference.
        """
        functions = Functions()

        @functions.task("/thumbnail")
        def thumbnail(task: Task) -> str:
            return "thumbnail"

        @functions.task("/a/b/")
        def nested(task: Task) -> str:
            return "nested"

        self.assertEqual(thumbnail({}), "thumbnail")
        for path, result in (
            ("/thumbnail", "thumbnail"),
            ("/thumbnail/", "thumbnail"),
            ("/a/b", "nested"),
        ):
            self.assertEqual(functions(ReceivedTask({}, path=path)), result)
        self.assertEqual((functions.paths, len(functions)), (["/a/b", "/thumbnail"], 2))

    def test_url(self) -> None:
        """
        A task that did not come by a request is chosen for by its URL.
        """
        functions = Functions()
        functions.add(lambda task: "x", "/x")
        self.assertEqual(functions({"url": "http://h/x?y=1"}), "x")
        for other in ({}, {"url": None}, {"url": "http://[/x"}):
            self.assertRaises(NoFunction, functions, other)

    def test_none(self) -> None:
        """
        Where there is no function the answer is 404, and names those that there are.
        """
        functions = Functions()
        functions.add(plain, "/x")
        answer = call(functions, ReceivedTask({}, path="/y\n"))
        said = "no function does tasks at /y: there is /x"
        self.assertEqual((answer.status, answer.sentence), (404, said))
        functions.add(lambda task: "rest")
        self.assertEqual(functions(ReceivedTask({}, path="/y")), "rest")
        functions.add(Functions(), "/z")  # it has none yet
        self.assertRaises(NoFunction, functions, ReceivedTask({}, path="/z"))

    def test_many(self) -> None:
        """
        A long path and many functions are told shortly.
        """
        names = [f"/{n:060}" for n in range(1_000)]
        self.assertLess(len(str(NoFunction("/" + "x" * 10_000, names))), 2_000)

    def test_twice(self) -> None:
        """
        A path has one function, but for the same one of a module that is loaded again,
        or of an application that is made again.
        """

        def make_application() -> Any:
            def inner(task: Task) -> None:
                pass

            return inner

        functions = Functions()
        functions.add(plain, "/x")
        functions.add(plain, "/x/")
        wrong = self.assertRaises(ConfigError, functions.add, pieces, "/x")
        self.assertEqual(str(wrong), "/x has a function already: plain")
        functions.add(make_application(), "/inner")
        functions.add(make_application(), "/inner")
        functions.add(lambda task: 1)
        self.assertRaises(ConfigError, functions.add, lambda task: 1)

    def test_reloading(self) -> None:
        """
        While modules are loaded again their functions may change; if that fails,
        nothing has.
        """
        functions = Functions()
        functions.add(plain, "/x")
        functions.add(pieces, "/y")
        functions.add(error_line, "/other")
        with functions.reloading({__name__}):
            self.assertEqual(functions.paths, ["/other"])
            functions.add(pieces, "/x")
        self.assertEqual(functions.paths, ["/other", "/x"])
        self.assertIs(functions.find("/x"), pieces)

        def failing() -> None:
            with functions.reloading({__name__}):
                functions.add(plain, "/x")
                raise KeyboardInterrupt

        self.assertRaises(KeyboardInterrupt, failing)
        self.assertIs(functions.find("/x"), pieces)

    def test_wrong(self) -> None:
        """
        What is no path is refused, a decorator without parentheses, too.
        """
        for path in ("x", "", "/x?y", "/x#y"):
            self.assertRaises(ConfigError, Functions().task(path), plain)
        bare: Any = Functions().task
        self.assertRaises(ConfigError, bare, plain)

    def test_default(self) -> None:
        """
        C{@task} adds to all_functions.
        """
        before = dict(all_functions._functions)
        self.addCleanup(all_functions._functions.update, before)
        self.addCleanup(all_functions._functions.clear)
        self.assertIs(task("/of-a-test")(plain), plain)
        self.assertIn("/of-a-test", all_functions.paths)


class ReceivedTaskTests(SynchronousTestCase):
    """
    L{ReceivedTask}.
    """

    def test_dict(self) -> None:
        """
        It is a dict, to JSON as well, and survives the way to another process.
        """
        found = ReceivedTask.decode(b'{"a": 1}', path="/x")
        self.assertEqual(found, {"a": 1})
        self.assertEqual(tasks.encode(found), b'{"a":1}')
        copied = pickle.loads(pickle.dumps(found))
        self.assertEqual((copied, copied.path), (found, "/x"))
        self.assertGreater(copied.seconds_left(), 500)

    def test_attempt(self) -> None:
        """
        The header tells which attempt it is, or else what failed before.
        """
        for value, body, attempt in (
            ("3", b"{}", 3),
            ("3", b'{"failures": 7}', 3),
            (None, b'{"failures": 7}', 8),
            ("x", b'{"failures": "many"}', 1),
            ("9" * 5_000, b'{"failures": -3}', 1),
            ("\u0663", b"{}", 1),
        ):
            headers = [] if value is None else [("quebert-Attempt", value)]
            found = ReceivedTask.decode(body, headers)
            self.assertEqual(found.attempt, attempt)
        twice = [("Quebert-Attempt", "2")] * 2
        self.assertEqual(ReceivedTask.decode(b"{}", twice).attempt, 1)

    def test_seconds_left(self) -> None:
        """
        They count from when the request came, by what the task says, or mediators do.
        """
        for timeout, seconds in (
            (30, 30.0),
            (0.5, 0.5),
            (None, 600.0),
            (0, 600.0),
            (-3, 600.0),
            ("30", 600.0),
            (True, 600.0),
            (10**400, 1_500.0),
            (1e300, 1_500.0),
        ):
            times = iter([100.0, 2_100.0])
            given = {"timeout": timeout}
            found = ReceivedTask(given, began=90.0, now=times.__next__)
            self.assertAlmostEqual(found.seconds_left(), seconds - 10)
            self.assertLess(found.seconds_left(), 0)

    def test_no_task(self) -> None:
        """
        What is no object in JSON, or too deep, or too much, is none.
        """
        for body in (b"", b"[]", b"{", b"null", b"\xff", b"[" * 500 + b"]" * 500):
            self.assertRaises(BadTask, ReceivedTask.decode, body)
        many = b'{"a": [' + b"1," * 400_000 + b"1]}"
        self.assertRaises(BadTask, ReceivedTask.decode, many)


class LightnessTests(SynchronousTestCase):
    """
    What a program has to load.
    """

    def test_no_twisted(self) -> None:
        """
        A program of another framework loads no Twisted.
        """
        code = (
            "import sys, quebert.functions, quebert.functions.calling as c;"
            "c.call(lambda t: 1, {});"
            "print([n for n in sys.modules if n.split('.')[0] in"
            " ('twisted', 'zope', 'treq', 'txamqp', 'pika', 'django')])"
        )
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True)
        self.assertEqual((ran.stdout, ran.stderr), (b"[]\n", b""))
