"""
Whoever may publish to one queue must not stop the mediators: no function that a
message, an answer or a dead letter reaches takes more than linear time.

Each case calls a function with hostile texts of 10, 100 and 1,000 times the length of
a common one, and with bounds that let them through.  What is measured is the CPU time
of this process, so that other processes do not matter; the least of several tries
counts.  A step to a text 10 times as long may take 30 times as long: a linear function
takes 10, and a quadratic one 100.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from time import process_time
from types import SimpleNamespace
from typing import Any, AnyStr, NamedTuple

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from quebert import task as tasks
from quebert._bounds import Bounds, memory_of
from quebert._host import to_ascii, wrong_with
from quebert._pipe_lines import PipeLines
from quebert._protocol.properties import amend_properties, decode_properties
from quebert._protocol.values import CodecError, decode_table, encode_table
from quebert._secrets import (
    LONGEST,
    hide,
    hide_in_beginning,
    hide_tokens,
    in_headers,
    in_url,
)
from quebert._text import printable
from quebert._url import absolute, check_default, origin_of, without_userinfo
from quebert.amqp.wire import Message, amended_properties, copied_properties
from quebert.broker.protocol._channel import ServerChannel
from quebert.broker.state._death_header import dead_properties, goes_in_circles
from quebert.broker.state._exchange import TYPES, Binding, Exchange
from quebert.cli import _running
from quebert.cli._dead import Listing, whole
from quebert.cli._dev_log import DevLog
from quebert.errors import BadStatus, BadTask, ExecutorError, QuebertError
from quebert.functions import answers
from quebert.functions.admission import Unsigned
from quebert.http import Agent
from quebert.http._reader import Reader
from quebert.http._response import Response
from quebert.mediator import DelayOnErrorMediator, Mediator, PolicyMediator
from quebert.mediator._adapters import MESSAGES
from quebert.mediator._describe import name_of, one_line
from quebert.mediator._redaction import ANSWER
from quebert.operations import DeadLetter, Match
from quebert.outcome import Retry
from quebert.policy import (
    History,
    RetryPolicy,
    directive,
    exponential,
    overridden,
    retry_after,
)
from quebert.signatures import SharedSecret, Signer, Verifier
from quebert.task_events import AttemptEnded, TaskAttempt
from quebert.test.checks import in_one_go
from quebert.test.doubles import MemoryReactor
from quebert.test.mediating import FakeMessage, FakeResponse

#: Characters, bytes or members.  The common text has 200.
SIZES = (2_000, 20_000, 200_000)
#: How many times as long a step may take.
MOST = 30.0
#: Seconds that are too few to be judged.
LEAST = 0.005
#: Tries, until one is quick enough.
TRIES = 6
#: What lets everything through to the functions behind the bounds.
ENDLESS = Bounds(**{field.name: 2**40 for field in attrs.fields(Bounds)})
DEFAULT = "http://localhost:8000/base/file?query"
_EXPECTED = (QuebertError, ValueError, TypeError)


class Case(NamedTuple):
    """
    A function, and what it is called with.

    @ivar make: gives a hostile argument of a size.
    """

    name: str
    function: Callable[[Any], object]
    make: Callable[[int], Any]


def seconds(case: Case, size: int) -> float:
    """
    The CPU time of one call.
    """
    argument = case.make(size)
    began = process_time()
    with contextlib.suppress(*_EXPECTED):
        case.function(argument)
    return process_time() - began


def least(case: Case, size: int, allowed: float, fewest: int) -> float:
    """
    The least CPU time of several calls; after so many, no more are tried once it is
    allowed.
    """
    best = math.inf
    for tries in range(TRIES):
        # Each text is another one, since some functions remember results.
        best = min(best, seconds(case, size + 50 * tries))
        if tries + 1 >= fewest and best <= allowed:
            break
    return best


def too_steep(case: Case, sizes: Sequence[int] = SIZES) -> str:
    """
    How a case grows faster than linearly; empty if it does not.
    """
    before = math.inf
    for size in sizes:
        allowed = max(LEAST, MOST * before)
        # Nothing is compared with the time of the last one.
        took = least(case, size, allowed, 1 if size == sizes[-1] else 2)
        if took > allowed:
            return f"{case.name}: {took:.3f} s for {size}, {before:.5f} s for a tenth"
        before = took
    return ""


def repeated(start: AnyStr, piece: AnyStr, end: AnyStr) -> Callable[[int], AnyStr]:
    """
    What makes texts of a size.
    """
    return lambda size: start + piece * (size // len(piece)) + end


def then(
    make: Callable[[int], Any], step: Callable[[Any], Any]
) -> Callable[[int], Any]:
    """
    What makes a thing, and another of it.
    """
    return lambda size: step(make(size))


class GrowthTests(SynchronousTestCase):
    """
    No function is worse than linear.
    """

    def setUp(self) -> None:
        """
        Collect no garbage: that takes as long as there are objects in the process.
        """
        gc.disable()
        self.addCleanup(gc.enable)

    def check(self, cases: Iterable[Case]) -> None:
        """
        Each case grows linearly at most.
        """
        for case in cases:
            self.assertEqual(too_steep(case), "")

    def test_quadratic(self) -> None:
        """
        A function that is quadratic is found.
        """
        case = Case("", re.compile("a*a*b").fullmatch, repeated("", "a", ""))
        self.assertNotEqual(too_steep(case, (1_000, 10_000)), "")

    # -- URLs

    PIECES = (
        "a", "@", ":", "/", "//", "?", "#", "[", "]", ".", "%", "-", "é", " ", "\\",
        "http://", "a@", "a:", "a.", "a/", "../", "./", "a:@", "@a", "xn--", "%zz",
        "\u0315\u0300", "\N{SNOWMAN}", "1.", "0x", "{",
    )  # fmt: skip
    STARTS = ("", "//", "//a", "http://", "http://h/", "https://a@", "data:")

    def urls(self, *functions: Callable[[str], object]) -> Iterable[Case]:
        """
        Each function with URLs of any form.
        """
        for function in functions:
            for start in self.STARTS:
                for piece in self.PIECES:
                    name = f"{function.__name__} {start!r} {piece!r}"
                    yield Case(name, function, repeated(start, piece, ""))

    def test_completed(self) -> None:
        """
        Completing and checking a URL.
        """

        def request(url: str) -> object:
            return absolute(url, DEFAULT)

        self.check(self.urls(request))

    def test_shown(self) -> None:
        """
        Leaving out the password of a URL.
        """
        self.check(self.urls(without_userinfo))

    def test_secrets(self) -> None:
        """
        Finding and hiding the secrets of a request.
        """

        def hidden(text: str) -> None:
            secrets = [*in_headers({"Cookie": text, "X-Token": text}), *in_url(text)]
            hide(text.encode("utf-8", "replace"), secrets)
            hide(text, secrets)
            hide_tokens(text)
            hide_in_beginning(text.encode("utf-8", "replace")[1:], secrets, ANSWER)

        self.check(self.urls(hidden))
        pieces = ("a=1234;", "abcd", " ", "=", ";", "eyJ", "eyJ.")
        self.check(Case(f"{p!r}", hidden, repeated("", p, "")) for p in pieces)

    def test_other_urls(self) -> None:
        """
        What else is done with URLs and hosts.
        """

        def send(url: str) -> None:
            sent: Any = Agent(MemoryReactor()).send("GET", url)
            sent.addErrback(lambda failure: None)

        def tls(host: str) -> object:
            return wrong_with(host, tls=True)

        starts = ("http://", "https://h/", "http://[", "http+unix://%2F")
        self.check(
            Case(f"{function.__name__} {piece!r}", function, repeated(start, piece, ""))
            for function in (send, origin_of, check_default, to_ascii, tls)
            for start in (starts if function is send else ("", "http://"))
            for piece in ("a", ".", "a.", ":", "1", "/", "%", "[", "é", "-", "\u06f5")
        )

    # -- Tasks

    def test_decoded(self) -> None:
        """
        Reading a body.
        """

        def in_part(body: bytes) -> object:
            return in_one_go(tasks.read_part(b'{"params":%b}' % body))

        bodies: dict[str, tuple[bytes, bytes, bytes]] = {
            "digits": (b"", b"1", b""),
            "fraction": (b"0.", b"1", b""),
            "exponent": (b"1e", b"1", b""),
            "open": (b"", b"[", b""),
            "arrays": (b"[", b"[],", b"1]"),
            "objects": (b"[", b"{},", b"1]"),
            "members": (b"{", b'"a":1,', b'"b":2}'),
            "quotes": (b"", b'"', b""),
            "escapes": (b'"', b'\\"', b'"'),
            "backslashes": (b'"', b"\\", b""),
            "surrogates": (b'"', b"\\ud800", b'"'),
            "no UTF-8": (b'"', b"\xff", b'"'),
            "spaces": (b"", b" ", b""),
            "lines": (b"", b"\n", b"x"),
            "wrong at the end": (b"[", b"1,", b"x]"),
            "strings": (b"[", b'"a",', b'["'),
        }
        self.check(
            Case(
                f"{function.__name__} {name}",
                function,
                repeated(start, piece, end),
            )
            for name, (start, piece, end) in bodies.items()
            for function in (tasks.decode, in_part, memory_of)
        )

    def test_fields(self) -> None:
        """
        Reading the fields of a task, and telling of it.
        """

        def read(task: dict[str, Any]) -> None:
            for step in (
                lambda: tasks.schedule(task, bounds=ENDLESS),
                lambda: tasks.request(task, DEFAULT, ENDLESS),
                lambda: overridden(RetryPolicy(), task.get("retry")),
            ):
                with contextlib.suppress(BadTask):
                    step()
            History.read({}, 3).failed(1.0, 500)
            name_of(task)
            answers.name_of(task)

        self.check(
            Case(f"task {name}", read, then(make, _task))
            for name, make in FIELDS.items()
        )

    def test_mediators(self) -> None:
        """
        All that becomes of a message with such a task.
        """
        for kind in (Mediator, DelayOnErrorMediator, PolicyMediator):
            mediator = kind(http=_Refusing(), clock=MemoryReactor())

            def received(body: bytes, mediator: Mediator = mediator) -> None:
                mediator.messageReceived(FakeMessage(body))

            self.check(
                Case(
                    f"{kind.__name__} {name}",
                    received,
                    then(make, _body),
                )
                for name, make in FIELDS.items()
            )

    def test_answers_and_secrets(self) -> None:
        """
        An answer with as many wishes as its task has secrets, and some of these in it.
        """

        def failed(size: int) -> tuple[dict[str, Any], BadStatus]:
            count = size // 20
            headers = {f"token-{n}": "a=1234; b=12/4;" for n in range(count)}
            response = FakeResponse(500)
            response.headers.setRawHeaders(b"quebert-outcome", [b"bury; 12"] * count)
            error = BadStatus(500, "text", response, b"1234" * (size // 4))
            return {"url": "http://h/", "headers": headers}, error

        def decided(given: tuple[dict[str, Any], BadStatus]) -> None:
            task, error = given
            error.body = error.body[: ANSWER + LONGEST]  # no more is kept of it
            mediator.failed(task, Failure(error))
            mediator._failures.outcome(Failure(error), task, message, 1.0, True)

        mediator = PolicyMediator(http=_Refusing(), clock=MemoryReactor())
        mediator.bounds, message = ENDLESS, MESSAGES.adapt(FakeMessage(b"{}"))
        self.check([Case("failed", decided, failed)])

    def test_lines(self) -> None:
        """
        Lines of a log and of a terminal.
        """

        def executor(text: str) -> object:
            return answers.error_line(ValueError(text))

        def telling(text: str) -> object:
            event = AttemptEnded(TaskAttempt("", "", 1), 500, 0.0, Retry(), text, text)
            return DevLog(lambda word, line: None, "q")(event)

        self.check(
            Case(f"{function.__name__} {piece!r}", function, repeated("", piece, ""))
            for function in (printable, one_line, _running.one_line, executor, telling)
            for piece in ("\x1b", "\n", " ", "é", "@", "a:", "\ud800")
        )

    def test_signatures(self) -> None:
        """
        Signing, verifying, and whatever else an executor looks at in a request.
        """
        secret = SharedSecret.generate()
        signer, verifier = Signer([secret]), Verifier([secret])
        headers = signer.headers("u", b"")

        def field(name: str) -> Callable[[str], object]:
            return lambda text: verifier.verify({**headers, name: text}, b"")

        def request(name: str) -> Callable[[str], object]:
            def judged(text: str) -> object:
                fields = {"Host": "a", "Content-Type": "application/json", name: text}
                return Unsigned().refusal(list(fields.items()), b"")

            return judged

        functions: dict[str, Callable[[str], object]] = {
            "sign": lambda text: signer.headers(text, text.encode()),
            **{name: field(name) for name in headers},
            "host": request("Host"),
            "type": request("Content-Type"),
        }
        self.check(
            Case(f"{name} {start}{piece!r}", function, repeated(start, piece, "!"))
            for name, function in functions.items()
            for start in ("", "application/", "v1,")
            for piece in ("a", "1", "a.", "+", "a+", " ", "v1,A ", "A=", "[", "a:")
        )

    def test_backoff(self) -> None:
        """
        The wait before a retry.
        """

        def wait(attempts: int) -> None:
            RetryPolicy(max_doublings=attempts).backoff(attempts)
            exponential(attempts, constant=1.5, maximum=120.0)
            History.read({"quebert-attempts": attempts}, attempts)

        self.check([Case("backoff", wait, lambda size: 10**size)])

    # -- Dead letters

    def test_dead_letters(self) -> None:
        """
        Listing and showing dead letters.
        """

        def shown(letter: DeadLetter) -> None:
            listing = Listing(20)
            listing.add(letter)
            for line in (*whole(letter), *listing.lines()):
                printable(line)

        self.check(
            Case(f"dead {name}", shown, then(make, _letter))
            for name, make in LETTERS.items()
        )

    def test_matched(self) -> None:
        """
        Telling whether a dead letter is meant.
        """
        patterns = (
            "url=*a*a*a*b", f"url={'*a' * 50}*b", f"url={'a*' * 50}b", "url=*a*b*a*",
            f"url~{'a' * 50}b", f"url!~b{'a' * 50}", f"url=*{'a' * 50}b*", "url=***b",
            "reason~\N{LATIN SMALL LETTER SHARP S}x", "status=5*", "uuid!=a*",
        )  # fmt: skip
        self.check(
            Case(
                f"--match {pattern} {piece!r}",
                Match.parse(pattern),
                then(repeated("", piece, ""), _letter_with),
            )
            for pattern in patterns
            for piece in ("a", "ab", "aab", "é", "\N{LATIN SMALL LETTER SHARP S}")
        )

    # -- Answers

    def test_answers_fields(self) -> None:
        """
        What an answer wants done.
        """

        def asked(value: str) -> object:
            return retry_after(value, 0.0)

        directives = ("", "retry-after", "retry-after=", "retry-after=1.", "bury;")
        dates = ("", "Fri, ", "Fri, 27 Nov 2026 ", "27 Nov 2026 10:00:00 ")
        for function, starts in ((directive, directives), (asked, dates)):
            self.check(
                Case(
                    f"{name} {start!r} {piece!r}", function, repeated(start, piece, "x")
                )
                for name in [function.__name__]
                for start in starts
                for piece in ("1", " ", "\t", "a", ";", "=", "-", ":", "+", ", ", "(")
            )

    def test_answers(self) -> None:
        """
        Reading the head of an answer, whole or byte by byte.
        """

        def read(pieces: list[bytes]) -> None:
            reader = Reader()
            reader.begin(_Nowhere(), False, 1_000)
            for piece in pieces:
                reader.feed(piece)
                if reader.error is not None:
                    break
            response = Response(200, pieces, _Nowhere(), 1_000)
            response.headers.getRawHeaders("a")
            response.may_have(b"quebert-outcome")
            _ = response.length, response.phrase

        pieces = (
            b"a: b\r\n", b"a", b"a: ", b"a:\r\n b\r\n", b"\r\nHTTP/1.1 100 A\r\n\r\n",
        )  # fmt: skip
        self.check(
            Case(
                f"{split.__name__} of answer {piece!r}",
                read,
                then(repeated(b"HTTP/1.1 200 OK\r\n", piece, b"\r\n\r\n"), split),
            )
            for piece in pieces
            for split in (_whole, _bytewise)
        )

    def test_request_heads(self) -> None:
        """
        Writing the head of a request.
        """

        def send(fields: list[tuple[str, str]]) -> None:
            sent: Any = Agent(MemoryReactor()).send("POST", "http://h/", fields)
            sent.addErrback(lambda failure: None)

        self.check(
            [
                Case(
                    "heads", send, lambda n: [(f"a{i}", "é€"[i % 2]) for i in range(n)]
                ),
                Case("head", send, lambda n: [("a" * n, "\n" * n)]),
            ]
        )

    # -- Properties and headers of a message

    def test_properties(self) -> None:
        """
        Reading and amending properties.
        """

        def read(raw: bytes) -> None:
            with contextlib.suppress(CodecError):
                decode_properties(raw)
            with contextlib.suppress(CodecError):
                amend_properties(raw, changes={"priority": 1}, headers={"a": 1})
            message = Message("", 1, False, "", "")
            message.encoded_properties = raw
            _ = message.was_put_back, message.died_in, message.id_for_log
            message.text_in("quebert-flight")
            message.number_in("quebert-errors")
            amended_properties(message, errors=1, not_before=1.0, delayed=True)
            copied_properties(message, {"quebert-flight": "a"})

        self.check(
            Case(f"properties {name}", read, then(make, _raw))
            for name, make in TABLES.items()
        )

    def test_tables(self) -> None:
        """
        Reading and writing tables.
        """

        def copied(raw: bytes) -> None:
            encode_table(decode_table(raw))

        self.check(
            Case(f"table {name}", copied, then(make, _long))
            for name, make in TABLES.items()
        )

    def test_broker(self) -> None:
        """
        What the embedded broker does with headers and routing keys.
        """

        def dies(raw: bytes) -> None:
            goes_in_circles(decode_properties(raw).get("headers", {}), "q")
            dead_properties(
                raw,
                reason="rejected",
                queue="q",
                exchange="",
                routing_keys=["q"],
                now=1.0,
                keeps_copies=False,
            )

        topic = TYPES["topic"]("#.a.#.b.#.*.#.c", {})

        def routed(key: str) -> object:
            return topic(key, {})

        self.check(
            Case(f"death {name}", dies, then(make, _raw))
            for name, make in TABLES.items()
        )
        self.check(
            Case(f"topic {piece!r}", routed, repeated("a.", piece, ""))
            for piece in (".", "a.", "a", "a.b.")
        )

        def matched(pattern: str) -> object:
            return TYPES["topic"](pattern, {})("a.b.c", {})

        self.check(
            Case(f"pattern {piece!r}", matched, repeated("", piece, "a"))
            for piece in ("#.", "*.", "#.*.", "#.a.")
        )

    def test_bindings(self) -> None:
        """
        Removing bindings of the embedded broker that have the same key.
        """

        def bound(size: int) -> tuple[Exchange, list[Binding]]:
            source = Exchange("source", "topic")
            destination = Exchange("destination", "topic")
            made = [
                source.binding(destination, "key", {}, encode_table({"n": n}))
                for n in range(size)
            ]
            for each in made:
                source.add(each)
            return source, made[::-1]

        def unbound(argument: tuple[Exchange, list[Binding]]) -> None:
            source, made = argument
            for each in made:
                source.remove(each)

        self.check([Case("bindings", unbound, lambda size: bound(size // 10))])

    def test_pipes(self) -> None:
        """
        One line of a worker that comes in many pieces.
        """

        def heard(pieces: list[bytes]) -> None:
            lines = PipeLines()
            for each in pieces:
                lines.feed(each)
            lines.feed(b"\n")

        self.check([Case("pipes", heard, lambda size: [b"a" * 50] * size)])

    def test_settling(self) -> None:
        """
        Settling the deliveries of a channel of the embedded broker one by one, each
        with all before it.
        """
        router = SimpleNamespace(settle=lambda queue, entry: None)
        peer: Any = SimpleNamespace(vhost=SimpleNamespace(router=router))
        nothing: Any = None

        def delivered(size: int) -> tuple[ServerChannel, int]:
            channel = ServerChannel(1, peer)
            for _ in range(size):
                channel.got(nothing, nothing, no_ack=False)
            return channel, size

        def settled(argument: tuple[ServerChannel, int]) -> None:
            channel, size = argument
            for tag in range(1, size + 1):
                channel.ack(tag, multiple=True)

        self.check([Case("settling", settled, delivered)])


def _task(fields: dict[str, Any]) -> dict[str, Any]:
    return {"url": "/", **fields}


def _body(fields: dict[str, Any]) -> bytes:
    return json.dumps(_task(fields)).encode()


def _letter(told_and_task: tuple[dict[str, Any], dict[str, Any]]) -> DeadLetter:
    told, task = told_and_task
    headers = {f"quebert-{name}": value for name, value in told.items()}
    return DeadLetter({"headers": headers}, json.dumps(task).encode())


def _letter_with(text: str) -> DeadLetter:
    return _letter(({"reason": text, "last-status": text}, {"url": text, "uuid": text}))


def _whole(head: bytes) -> list[bytes]:
    return [head]


def _bytewise(head: bytes) -> list[bytes]:
    return [bytes((each,)) for each in head]


class _Refusing:
    """
    An HTTP client to which nobody answers.
    """

    def request(self, method: str, url: str, **options: Any) -> Deferred[Any]:
        """
        Fail at once.
        """
        return fail(ExecutorError("nobody answers"))


class _Nowhere:
    """
    A connection that nothing comes over.
    """

    def abort(self) -> None:
        """
        It is not there.
        """

    pause = resume = abort


def _long(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _raw(fields: bytes) -> bytes:
    """
    Encoded properties with these headers alone.
    """
    return b"\x20\x00" + _long(fields)


def _nested(opening: bytes, depth: int, inner: bytes) -> bytes:
    for _ in range(depth):
        inner = opening[:1] + _long(opening[1:] + inner)
    return inner


def _opened(opening: bytes, size: int) -> bytes:
    """
    As many levels as fit.
    """
    step = len(opening) + 4
    count = size // step
    sizes = (struct.pack(">I", step * left - 5) for left in range(count, 0, -1))
    return b"".join(opening[:1] + each + opening[1:] for each in sizes)


_DEATH = b"F" + _long(b"\x05queueS" + _long(b"q") + b"\x06reasonS" + _long(b"expired"))

#: The fields of tables, by what is special about them.
TABLES: dict[str, Callable[[int], bytes]] = {
    "many": lambda n: b"".join(b"\x08%08xV" % i for i in range(n // 10)),
    "the same": lambda n: b"\x01aV" * (n // 3),
    "unknown": lambda n: b"\x01aV" * (n // 3) + b"\x01a?",
    "string": lambda n: b"\x01aS" + _long(b"\xff" * n),
    "array": lambda n: b"\x01aA" + _long(b"V" * n),
    "decimals": lambda n: b"\x01aA" + _long(b"D\xff\x7f\xff\xff\xff" * (n // 6)),
    "times": lambda n: b"\x01aA" + _long((b"T" + b"\xff" * 8) * (n // 9)),
    "deep": lambda n: b"\x01a" + _opened(b"A", n),
    "deep tables": lambda n: b"\x01a" + _opened(b"F\x01a", n),
    "large within": lambda n: b"\x01a" + _nested(b"A", 100, b"x" + _long(b"y" * n)),
    "deaths": lambda n: b"\x07x-deathA" + _long(_DEATH * (n // len(_DEATH))),
    "deep deaths": lambda n: b"\x07x-death" + _opened(b"A", n),
    "ours": lambda n: b"\x0equebert-flightS" + _long(b"a" * n),
}

#: Fields of a task, by what is special about them.
FIELDS: dict[str, Callable[[int], dict[str, Any]]] = {
    "url": lambda n: {"url": "http://h/" + "@" * n},
    "partial": lambda n: {"url": "//a" + "\u0315\u0300" * (n // 2)},
    "method": lambda n: {"method": "ß" * n},
    "name": lambda n: {"headers": {"a" * n: "x"}},
    "no name": lambda n: {"headers": {"a" * n + "(": "x"}},
    "value": lambda n: {"headers": {"a": "x" * n + "\n"}},
    "headers": lambda n: {"headers": {f"a{i}": "x" for i in range(n)}},
    "no value": lambda n: {"headers": {"a": [[]] * n}},
    "timestamp": lambda n: {"timestamp": "2" * n, "ttl": 1},
    "run_at": lambda n: {"run_at": "2026-11-23T20:15:00." + "1" * n},
    "no time": lambda n: {"run_at": [1] * n},
    "ttl": lambda n: {"ttl": [1] * n},
    "timeout": lambda n: {"timeout": "1" * n},
    "retry": lambda n: {"retry": {f"a{i}": 1 for i in range(n)}},
    "retry name": lambda n: {"retry": {"a" * n: 1}},
    "retry value": lambda n: {"retry": {"max_attempts": [[1] * n]}},
    "jitter": lambda n: {"retry": {"jitter": "a" * n}},
    "no retry": lambda n: {"retry": [1] * n},
    "uuid": lambda n: {"uuid": "\x1b" * n},
    "no uuid": lambda n: {"uuid": [[]] * n},
    "failures": lambda n: {"failures": [1] * n},
    "filter": lambda n: {"filter": [0] * n},
    "own": lambda n: {f"a{i}": None for i in range(n)},
}

#: The headers and the task of a dead letter, by what is special about them.
LETTERS: dict[str, Callable[[int], tuple[dict[str, Any], dict[str, Any]]]] = {
    "url": lambda n: ({"reason": "x" * n}, {"url": "a@" * (n // 2), "uuid": "b"}),
    "reason": lambda n: ({"reason": "task ab" * (n // 7)}, {"uuid": "a"}),
    "part of it": lambda n: (
        {"reason": "a" * n},
        {"url": "a" * (n // 2) + "b" + "a" * (n // 4)},
    ),
    "given up": lambda n: (
        {"reason": "task " + " is given up " * (n // 13), "last-status": "500"},
        {},
    ),
    "status": lambda n: ({"last-status": "5" * n, "attempts": "1" * n}, {}),
    "kind": lambda n: ({"kind": [1] * n, "buried-at": "1" * n}, {"uuid": [1] * n}),
    "lines": lambda n: ({"last-answer": b"\xff" * n}, {"params": "\n" * n}),
    "params": lambda n: ({}, {"params": [{}] * n}),
}
