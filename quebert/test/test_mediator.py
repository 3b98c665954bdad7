"""
Tests for L{quebert.mediator}: what becomes of a message, without any network.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import attrs
from treq.testing import StringStubbingResource, StubTreq
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import formatEvent
from twisted.python.failure import Failure

from quebert import task as tasks
from quebert._bounds import memory_of
from quebert.clock import SteadyClock
from quebert.errors import ConfigError, Forbidden, IncompleteAnswer
from quebert.guard import Guard
from quebert.mediator import (
    DEFAULT_TIMEOUT,
    MAX_TIMEOUT,
    DelayOnErrorMediator,
    Mediator,
    PolicyMediator,
)
from quebert.mediator._judging import DOUBT
from quebert.outcome import Bury, Discard, Done, Outcome, Retry
from quebert.signatures import Signer, Verifier
from quebert.task import Task, decode, encode, format_time
from quebert.test.checks import one_turn, refusal
from quebert.test.doubles import MemoryReactor
from quebert.test.mediating import (
    NOW,
    URL,
    Case,
    FakeHTTP,
    FakeMessage,
    FakeRequest,
    FakeResponse,
    Noting,
    Outlaw,
    UnreadableMessage,
    Unspeakable,
    appending,
    body_of,
    first_retry,
    message,
    noting_results,
    raising,
    returning,
)


def ways_to_fail() -> Iterator[tuple[str, Callable[..., object]]]:
    """
    Each way in which a hook can fail, with its name.
    """

    def raises(*args: Any) -> None:
        raise RuntimeError("hook failed")

    async def coroutine(*args: Any) -> None:
        raise RuntimeError("hook failed")

    async def late_coroutine(*args: Any) -> None:
        await succeed(None)
        raise RuntimeError("hook failed")

    def exits(*args: Any) -> None:
        raise SystemExit(3)

    async def is_cancelled(*args: Any) -> None:
        raise asyncio.CancelledError

    def breaks_out(*args: Any) -> None:
        raise Outlaw("hook failed")

    def cannot_be_told(*args: Any) -> None:
        raise Unspeakable

    def takes_no_arguments() -> None:
        raise AssertionError("not to be reached")

    yield "raises", raises
    yield "failed Deferred", lambda *args: fail(RuntimeError("hook failed"))
    yield "Failure", lambda *args: Failure(RuntimeError("hook failed"))
    yield "coroutine", coroutine
    yield "late coroutine", late_coroutine
    yield "exits", exits
    yield "cancelled coroutine", is_cancelled
    yield "BaseException", breaks_out
    yield "failed with BaseException", lambda *args: fail(Outlaw("hook failed"))
    yield "no text", cannot_be_told
    yield "wrong signature", takes_no_arguments


# -- Hooks


class HookOrderTests(Case):
    """
    Hooks run one after the other, in the announced order.
    """

    def test_prehooks_as_added(self) -> None:
        """
        Pre-hooks run in the order in which they were added.
        """
        calls: list[str] = []
        mediator = self.mediator()
        for name in ("first", "second", "third"):
            mediator.add_prehook(appending(calls, name))
        self.assertEqual(self.outcome(mediator, message()), Done())
        self.assertEqual(calls, ["first", "second", "third"])

    def test_posthooks_last_added_first(self) -> None:
        """
        Of the post-hooks, the one added last runs first.
        """
        calls: list[str] = []
        mediator = self.mediator()
        for name in ("first", "second", "third"):
            mediator.add_posthook(appending(calls, name))
        self.assertEqual(self.outcome(mediator, message()), Done())
        self.assertEqual(calls, ["third", "second", "first"])

    def test_prehooks_wait(self) -> None:
        """
        A pre-hook waits for the Deferred of the one before, and the request
        for the last one's.
        """
        gates: list[Deferred[None]] = [Deferred(), Deferred()]
        calls: list[int] = []
        mediator = self.mediator()
        for number, gate in enumerate(gates):
            mediator.add_prehook(appending(calls, number, gate))
        outcome = mediator.messageReceived(message())
        self.assertEqual((calls, self.http.requests), ([0], []))
        gates[0].callback(None)
        self.assertEqual((calls, self.http.requests), ([0, 1], []))
        self.assertNoResult(outcome)
        gates[1].callback(None)
        self.assertEqual(len(self.http.requests), 1)
        self.assertEqual(self.successResultOf(outcome), Done())

    def test_posthooks_wait(self) -> None:
        """
        A post-hook waits for the one before, and the task is not done before
        the last one is.
        """
        gates: list[Deferred[None]] = [Deferred(), Deferred()]
        calls: list[int] = []
        mediator = self.mediator()
        for number, gate in enumerate(gates):
            mediator.add_posthook(appending(calls, number, gate))
        outcome = mediator.messageReceived(message())
        self.assertEqual(calls, [1])
        gates[1].callback(None)
        self.assertEqual(calls, [1, 0])
        self.assertNoResult(outcome)
        gates[0].callback(None)
        self.assertEqual(self.successResultOf(outcome), Done())

    def test_coroutines(self) -> None:
        """
        A hook may be a coroutine function; the next one waits for it.
        """
        gate: Deferred[None] = Deferred()
        calls: list[str] = []

        async def slow(*args: Any) -> None:
            calls.append("begins")
            await gate
            calls.append("ends")

        mediator = self.mediator()
        mediator.add_prehook(slow)
        mediator.add_prehook(appending(calls, "next"))
        mediator.add_posthook(slow)
        outcome = mediator.messageReceived(message())
        self.assertEqual(calls, ["begins"])
        gate.callback(None)
        self.assertEqual(calls, ["begins", "ends", "next", "begins", "ends"])
        self.assertEqual(self.successResultOf(outcome), Done())

    def test_results_of_hooks_do_not_matter(self) -> None:
        """
        What a hook returns or fires with is not used for anything.
        """
        mediator = self.mediator()
        for value in (False, "text", {"url": "http://other.example/"}):
            mediator.add_prehook(returning(value))
            mediator.add_prehook(returning(succeed(value)))
            mediator.add_posthook(returning(value))
        self.assertEqual(self.outcome(mediator, message()), Done())
        self.assertEqual(self.http.requests[0].url, URL)

    def test_the_same_task(self) -> None:
        """
        All hooks get the same task, with the changes of those before.
        """
        seen: list[Any] = []
        mediator = self.mediator()
        mediator.add_prehook(lambda task: task.update(n=1))
        mediator.add_prehook(lambda task: task.update(n=task["n"] + 1))
        mediator.add_posthook(lambda task, result: seen.append(task["n"]))
        self.outcome(mediator, message())
        self.assertEqual(seen, [2])

    def test_tasks_do_not_wait_for_each_other(self) -> None:
        """
        The hooks of one task do not wait for those of another.
        """
        gates: dict[str, Deferred[None]] = {"a": Deferred(), "b": Deferred()}
        mediator = self.mediator()
        mediator.add_prehook(lambda task: gates[task["uuid"]])
        first = mediator.messageReceived(message(uuid="a"))
        second = mediator.messageReceived(message(uuid="b"))
        gates["b"].callback(None)
        self.assertEqual(self.successResultOf(second), Done())
        self.assertNoResult(first)
        gates["a"].callback(None)
        self.assertEqual(self.successResultOf(first), Done())

    def test_twisted_names(self) -> None:
        """
        Hooks can be added under the camelCase names, too.
        """
        calls: list[str] = []
        mediator = self.mediator()
        mediator.addPrehook(appending(calls, "pre"))
        mediator.addPosthook(appending(calls, "post"))
        self.outcome(mediator, message())
        self.assertEqual(calls, ["pre", "post"])


class FailingHookTests(Case):
    """
    A hook that fails makes its task a failure.
    """

    def test_prehook(self) -> None:
        """
        However a pre-hook fails, the task is put back after the usual delay.
        """
        for name, hook in ways_to_fail():
            mediator = self.mediator()
            mediator.add_prehook(hook)
            outcome = mediator.messageReceived(message())
            self.assertEqual(
                first_retry(self.fired_with(outcome)), Retry(after=1.0), name
            )

    def test_posthook(self) -> None:
        """
        However a post-hook fails, the task is put back after the usual delay.
        """
        for name, hook in ways_to_fail():
            mediator = self.mediator()
            mediator.add_posthook(hook)
            outcome = mediator.messageReceived(message())
            self.assertEqual(
                first_retry(self.fired_with(outcome)), Retry(after=1.0), name
            )

    def test_backing_off(self) -> None:
        """
        However a hook fails, the mediator that backs off counts it.
        """
        for name, hook in ways_to_fail():
            mediator = self.backing_off()
            mediator.add_prehook(hook)
            retry = self.fired_with(mediator.messageReceived(message()))
            self.assertEqual(getattr(retry, "after", retry), 1.5, name)
            self.assertEqual(json.loads(retry.body)["failures"], 1, name)

    def fired_with(self, outcome: Deferred[Outcome]) -> Any:
        """
        What it fired with, be it a failure.
        """
        results: list[Any] = []
        outcome.addBoth(results.append)
        return results[0] if results else "nothing yet"

    def test_nothing_after_a_prehook(self) -> None:
        """
        After a pre-hook that fails there are no pre-hooks, no request, and no
        post-hooks.
        """
        calls: list[str] = []
        mediator = self.mediator()
        mediator.add_prehook(raising(RuntimeError, "hook failed"))
        mediator.add_prehook(appending(calls, "pre"))
        mediator.add_posthook(appending(calls, "post"))
        self.put_back(mediator, message())
        self.assertEqual((calls, self.http.requests), ([], []))

    def test_nothing_after_a_posthook(self) -> None:
        """
        After a post-hook that fails the others are not run.
        """
        calls: list[str] = []
        mediator = self.mediator()
        mediator.add_posthook(appending(calls, "added first"))
        mediator.add_posthook(raising(RuntimeError, "hook failed"))
        self.put_back(mediator, message())
        self.assertEqual(calls, [])

    def test_no_posthooks_after_failure(self) -> None:
        """
        After a request that fails no post-hook is run.
        """
        calls: list[str] = []
        mediator = self.mediator(http=FakeHTTP(500, b'{"a": 1}'))
        mediator.add_posthook(appending(calls, "post"))
        self.put_back(mediator, message())
        self.assertEqual(calls, [])

    def test_later(self) -> None:
        """
        A hook whose Deferred fails later has failed just as well.
        """
        gate: Deferred[None] = Deferred()
        mediator = self.mediator()
        mediator.add_prehook(returning(gate))
        outcome = mediator.messageReceived(message())
        gate.errback(RuntimeError("hook failed"))
        self.assertEqual(first_retry(self.successResultOf(outcome)), Retry(after=1.0))

    def test_spoiled_task(self) -> None:
        """
        A task that a hook makes one that cannot be requested is not lost: it
        comes back as one that can.
        """
        spoil: list[Callable[[Task], object]] = [
            Task.clear,
            lambda task: task.update(ttl="60"),
            lambda task: task.update(run_at="in 5 minutes"),
            lambda task: task.update(timestamp=5, ttl=60),
            lambda task: task.update(url="/" + "x" * 9_000),
        ]
        makers: list[Callable[[], Mediator]] = [self.mediator, self.backing_off]
        for make, hook in product(makers, spoil):
            mediator = make()
            mediator.add_prehook(hook)
            received = message(uuid="x")
            retry = self.put_back(mediator, received)
            again = FakeMessage(received.body if retry.body is None else retry.body)
            self.assertEqual(self.outcome(self.mediator(), again), Done())


class FilterTests(Case):
    """
    A filtered task is done without a request.
    """

    def filtering(self, calls: list[object]) -> Noting:
        """
        A mediator with hooks around one that filters.
        """
        mediator = self.mediator()
        mediator.add_prehook(appending(calls, "before"))
        mediator.add_prehook(lambda task: task.update(filter=True))
        mediator.add_prehook(appending(calls, "after"))
        mediator.add_posthook(noting_results(calls))
        return mediator

    def test_by_a_hook(self) -> None:
        """
        When a hook sets C{filter}, the other pre-hooks and the post-hooks
        run, with no result, and there is no request.
        """
        calls: list[object] = []
        outcome = self.outcome(self.filtering(calls), message())
        self.assertEqual(outcome, Done())
        self.assertEqual(calls, ["before", "after", None])
        self.assertEqual(self.http.requests, [])

    def test_in_the_message(self) -> None:
        """
        C{filter} in the published JSON does the same.
        """
        for hooks in (0, 1):
            calls: list[object] = []
            mediator = self.mediator()
            for _ in range(hooks):
                mediator.add_prehook(appending(calls, "pre"))
            mediator.add_posthook(noting_results(calls))
            self.assertEqual(self.outcome(mediator, message(filter=True)), Done())
            self.assertEqual(calls, ["pre"] * hooks + [None])
            self.assertEqual(self.http.requests, [])

    def test_unset(self) -> None:
        """
        A later hook may take the filter away again.
        """
        mediator = self.filtering([])
        mediator.add_prehook(lambda task: task.update(filter=False))
        self.assertEqual(self.outcome(mediator, message()), Done())
        self.assertEqual(len(self.http.requests), 1)

    def test_posthook_fails(self) -> None:
        """
        A post-hook that fails makes a filtered task a failure, too.
        """
        mediator = self.mediator()
        mediator.add_posthook(raising(RuntimeError, "hook failed"))
        retry = self.put_back(mediator, message(filter=True))
        self.assertEqual(first_retry(retry), Retry(after=1.0))

    def test_unencodable(self) -> None:
        """
        A filtered task is done even when hooks have left in it what cannot be
        encoded: nobody is to get it.
        """
        seen: list[object] = []
        mediator = self.filtering([])
        mediator.add_prehook(lambda task: task.update(started=object()))
        mediator.add_posthook(lambda task, result: seen.append(task["started"]))
        self.assertEqual(self.outcome(mediator, message()), Done())
        self.assertEqual(len(seen), 1)


# -- Requests and responses


class ResultTests(Case):
    """
    What post-hooks get as the result.
    """

    def test_forms(self) -> None:
        """
        The result is the JSON of the response's body, else its text, and
        C{None} when it is empty.
        """
        cases: list[tuple[bytes, object]] = [
            (b'{"name": "\xc3\xa9", "n": [1, 2.5]}', {"name": "é", "n": [1, 2.5]}),
            (b" [1]\r\n", [1]),
            (b'"text"', "text"),
            (b"0", 0),
            (b"false", False),
            (b"null", None),
            (b"", None),
            (b"OK", "OK"),
            ("schön".encode(), "schön"),
            (b"{'not': 'JSON'}", "{'not': 'JSON'}"),
            (b"NaN", "NaN"),
            (b"sch\xf6n", "sch\ufffdn"),
            (b"\xff\xfe", "\ufffd\ufffd"),
            (b"\x1f\x8b\x08", "\x1f\ufffd\x08"),
        ]
        for body, expected in cases:
            results: list[object] = []
            mediator = self.mediator(http=FakeHTTP(200, body))
            mediator.add_posthook(noting_results(results))
            self.assertEqual(self.outcome(mediator, message()), Done(), body)
            self.assertEqual(results, [expected], body)

    def test_too_deep(self) -> None:
        """
        JSON nested too deeply to be read is text, and the task done.
        """
        results: list[Any] = []
        mediator = self.mediator(http=FakeHTTP(200, b"[" * 200_000))
        mediator.add_posthook(noting_results(results))
        self.assertEqual(self.outcome(mediator, message()), Done())
        self.assertEqual(len(results[0]), 200_000)

    def test_decode_plug_in(self) -> None:
        """
        The result is decoded the way the task was.
        """
        results: list[object] = []
        http = FakeHTTP(200, b"answer")
        mediator = self.mediator(
            http=http, decode=lambda body: {"url": "/", "body": body}
        )
        mediator.add_posthook(noting_results(results))
        self.outcome(mediator, message())
        self.assertEqual(results, [{"url": "/", "body": b"answer"}])


class StatusTests(Case):
    """
    The status decides, once the body is complete.
    """

    def test_success(self) -> None:
        """
        A task that is answered 2xx is done.
        """
        for code in (200, 201, 202, 203, 204, 206, 226, 299):
            mediator = self.mediator(http=FakeHTTP(code, b"OK"))
            self.assertEqual(self.outcome(mediator, message()), Done(), code)

    def test_failure(self) -> None:
        """
        Any other status is a failure; its text names the status and the URL.
        """
        codes = (100, 101, 199, 300, 301, 302, 303, 304, 307, 308, 400, 401, 404)
        for code in (*codes, 408, 410, 429, 499, 500, 502, 503, 504, 599, 600, 999, 0):
            mediator = self.mediator(http=FakeHTTP(code, b"OK"))
            self.assertEqual(
                first_retry(self.outcome(mediator, message())), Retry(after=1.0), code
            )
            text = mediator.failures[0].getErrorMessage()
            self.assertIn(str(code), text)
            self.assertIn(URL, text)

    def test_not_before_the_body(self) -> None:
        """
        A task is not done before the last byte of the response is there.
        """
        http = FakeHTTP()
        results: list[object] = []
        mediator = self.mediator(http=http)
        mediator.add_posthook(noting_results(results))
        outcome = mediator.messageReceived(message())
        response = http.requests[0].begin(200)
        self.assertNoResult(outcome)
        self.assertEqual(results, [])
        response.body.callback(b"{}")
        self.assertEqual(self.successResultOf(outcome), Done())
        self.assertEqual(results, [{}])

    def test_cut_short(self) -> None:
        """
        A response that is cut short is a failure, whatever its status.
        """
        for code in (200, 500):
            http = FakeHTTP()
            mediator = self.mediator(http=http)
            outcome = mediator.messageReceived(message())
            http.requests[0].begin(code).body.errback(IncompleteAnswer("cut short"))
            self.assertEqual(
                first_retry(self.successResultOf(outcome)), Retry(after=1.0)
            )

    def test_no_answer(self) -> None:
        """
        A request that gets no answer is a failure.
        """
        http = FakeHTTP()
        outcome = self.mediator(http=http).messageReceived(message())
        http.requests[0].answered.errback(ConnectionError("lost"))
        self.assertEqual(first_retry(self.successResultOf(outcome)), Retry(after=1.0))

    def test_client_raises(self) -> None:
        """
        A request that cannot even be made is a failure.
        """

        class Broken(FakeHTTP):
            def request(self, *args: Any, **fields: Any) -> Deferred[Any]:
                raise RuntimeError("cannot")

        self.assertEqual(
            first_retry(self.outcome(self.mediator(http=Broken()), message())),
            Retry(after=1.0),
        )


class RequestTests(Case):
    """
    What is requested, and with which body.
    """

    def request(self, received: Any, **options: Any) -> FakeRequest:
        """
        The one request that a message leads to.
        """
        self.http.requests.clear()
        self.assertEqual(self.outcome(self.mediator(**options), received), Done())
        (request,) = self.http.requests
        return request

    def test_post(self) -> None:
        """
        A task is POSTed to its URL as JSON, and redirects are not followed.
        """
        request = self.request(message())
        self.assertEqual((request.method, request.url), ("POST", URL))
        self.assertEqual(request.headers, {"Content-Type": "application/json"})
        self.assertIs(request.allow_redirects, False)

    def test_bounds(self) -> None:
        """
        Bounds that are set later hold for all fields.
        """
        mediator = self.mediator()
        mediator.bounds = attrs.evolve(mediator.bounds, url=len(URL) - 1)
        self.assertIsInstance(self.outcome(mediator, message()), Discard)
        mediator.bounds = attrs.evolve(mediator.bounds, url=len(URL))
        self.assertEqual(self.outcome(mediator, message()), Done())

    def test_body_untouched(self) -> None:
        """
        Without pre-hooks the executor gets the message's body byte for byte,
        with its odd spaces, order, escapes and repetitions.
        """
        body = b' {"z":1, "url" :"%s",\t"a":"\\u00e9\xc3\xa9", "z":1.0}\r\n'
        body %= URL.encode()
        self.assertEqual(self.request(FakeMessage(body)).data, body)

    def test_body_with_prehooks(self) -> None:
        """
        With pre-hooks the executor gets the task as they left it, in UTF-8.
        """
        mediator = self.mediator()
        mediator.add_prehook(lambda task: task.update(name="é", n=2))
        self.assertEqual(self.outcome(mediator, message(n=1)), Done())
        data = self.http.requests[0].data
        self.assertEqual(data, encode({"url": URL, "n": 2, "name": "é"}))

    def test_body_with_idle_prehooks(self) -> None:
        """
        Where the pre-hooks have changed nothing the body is the message's, byte
        for byte: it may have been signed.
        """
        body = b' {"n" : 1.0e2, "url":"%s", "a":"\\u00e9"}\n' % URL.encode()
        mediator = self.mediator()
        mediator.add_prehook(lambda task: task.setdefault("n", 5))
        self.assertEqual(self.outcome(mediator, FakeMessage(body)), Done())
        self.assertEqual(self.http.requests[0].data, body)

    def test_body_with_subtle_prehooks(self) -> None:
        """
        What equals the value before but is another in JSON is a change, deep
        inside, too.
        """
        for change in (True, 1.0):
            mediator = self.mediator()

            def hook(task: Task, change: object = change) -> None:
                task["params"]["n"] = change

            mediator.add_prehook(hook)
            self.assertEqual(self.outcome(mediator, message(params={"n": 1})), Done())
            data = self.http.requests[-1].data
            self.assertEqual(data, encode({"url": URL, "params": {"n": change}}))

    def test_body_too_deep_for_prehooks(self) -> None:
        """
        What can be read but not written again, since it is nested too deeply, is
        no task where there are pre-hooks: it would fail again and again.
        """
        mediator = self.mediator()
        mediator.add_prehook(returning(None))
        for depth in range(900, 1100, 10):
            nested = b"[" * depth + b"]" * depth
            body = b'{"url":"%s","params":%s}' % (URL.encode(), nested)
            outcome = self.outcome(mediator, FakeMessage(body))
            if isinstance(outcome, Discard):
                self.assertIn("JSON", outcome.reason)
            else:
                self.assertEqual(outcome, Done())

    def test_large_body(self) -> None:
        """
        The executor gets a large body byte for byte, too, whatever is in it.
        """
        body = b' {"a" : [%b1.0e2], "b":"%b", "url":"%b", "a":"\\u00e9\xc3\xa9"}\n'
        body %= (b"{ }, " * 5_000, b"[,{" * 5_000, URL.encode())
        for mediator in (self.mediator(), self.backing_off()):
            self.assertEqual(self.outcome(mediator, FakeMessage(body)), Done())
            self.assertEqual(self.http.requests.pop().data, body)

    def test_large_payload(self) -> None:
        """
        A large payload is sent byte for byte, whether or not the other fields are
        decoded; its memory is reckoned with.
        """
        payload = bytes(range(256)) * 4_000
        text = b64encode(payload).decode("ascii")
        received = message(params=[{}] * 1_000, payload=text)
        mediator, hooked = self.mediator(), self.mediator()
        hooked.add_prehook(returning(None))
        for each in (mediator, hooked):
            self.assertEqual(self.outcome(each, received), Done())
            self.assertEqual(self.http.requests.pop().data, payload)
        size = len(received.body)
        self.assertEqual(mediator.memory_of(received.body), 3 * size)
        memory = memory_of(received.body) + 2 * size
        self.assertEqual(hooked.memory_of(received.body), memory)

    def test_large_body_is_read_in_steps(self) -> None:
        """
        Small tasks do not wait for a large one, which takes no memory for its values.
        """
        mediator, large = self.mediator(), message(params=[{}] * 50_000)
        reading = mediator.messageReceived(large)
        one_turn(self.clock)
        self.assertEqual(self.outcome(mediator, message()), Done())
        one_turn(self.clock)
        self.assertNoResult(reading)
        self.read(large.body)
        self.assertEqual(self.successResultOf(reading), Done())
        self.assertEqual(mediator.memory_of(large.body), 2 * len(large.body))
        mediator.add_prehook(returning(None))
        self.assertEqual(mediator.memory_of(large.body), memory_of(large.body))

    def test_large_body_without_msgspec(self) -> None:
        """
        Without msgspec a large body is decoded at once.
        """
        self.patch(tasks, "CAN_READ_PART", False)
        mediator, large = self.mediator(), message(params=[{}] * 50_000)
        self.assertEqual(mediator.memory_of(large.body), memory_of(large.body))
        outcome = mediator.messageReceived(large)
        self.assertEqual(self.successResultOf(outcome), Done())

    def test_large_body_cancelled(self) -> None:
        """
        A large task that nobody waits for any more is not requested.
        """
        mediator, large = self.mediator(), message(params=[{}] * 50_000)
        reading = mediator.messageReceived(large)
        one_turn(self.clock)
        reading.cancel()
        self.failureResultOf(reading, CancelledError)
        self.read(large.body)
        self.assertEqual(self.http.requests, [])

    def test_large_body_put_back(self) -> None:
        """
        A large task that has failed is put back with all its fields; so it is when a
        hook was added while it was requested.
        """
        params = [{"a": [n]} for n in range(5_000)]
        received = message(params=params, mine="x")
        self.http = FakeHTTP()
        mediator = self.backing_off()
        outcome = mediator.messageReceived(received)
        self.read(received.body)
        mediator.add_posthook(returning(None))
        self.http.requests[0].answer(500)
        retry: Any = self.successResultOf(outcome)
        task = decode(retry.body)
        del task["traceback"]
        expected = {"url": URL, "params": params, "mine": "x", "failures": 1}
        self.assertEqual(task, expected)

    def test_large_body_cannot_be_put_back(self) -> None:
        """
        A large task that has failed, and holds a number of more digits than Python
        reads, is set aside.
        """
        self.http = FakeHTTP(500)
        body = b'{"url": "%b", "params": [%b]}' % (URL.encode(), b"1" * 20_000)
        outcome = self.outcome(self.backing_off(bury=True), FakeMessage(body))
        assert isinstance(outcome, Bury), outcome
        self.assertIn("not JSON in UTF-8: Exceeds the limit", outcome.reason)

    def test_large_body_is_no_task(self) -> None:
        """
        A large body that is no task is set aside as a small one is.
        """
        long = b"[%b0]" % (b"0," * 20_000)
        for body, told in (
            (long, "a task is a JSON object"),
            (b'{"params": %b}' % long, "url is missing"),
            (b'{"params": %b' % long, "the body is not JSON in UTF-8: "),
            (b'{"params": %b}' % (b"[" * 20_000), "nested too deeply: more than 400"),
            (b'{"params": %b}' % (b"[]," * 200_001), "JSON of more than 400000 values"),
            (b'{"params": "%b\xff"}' % long, "the body is not JSON in UTF-8: "),
        ):
            outcome = self.outcome(self.mediator(bury=True), FakeMessage(body))
            assert isinstance(outcome, Bury), outcome
            self.assertIn(told, outcome.reason)

    def test_large_body_seen(self) -> None:
        """
        Hooks, and C{failed}, get all of a large task.
        """
        seen: list[Task] = []

        class Seeing(Mediator):
            def failed(self, task: Task, failure: Failure) -> Outcome:
                seen.append(dict(task))
                return super().failed(task, failure)

        received = message(params=[{}] * 10_000)
        expected = decode(received.body)
        self.http = FakeHTTP(500)
        options: Any = {"http": self.http, "clock": self.clock}
        self.put_back(Seeing(**options), received)
        self.assertEqual(seen, [expected])
        hooked = self.mediator(http=FakeHTTP(200))
        hooked.add_prehook(lambda task: seen.append(dict(task)))
        self.assertEqual(self.outcome(hooked, received), Done())
        hooked = self.mediator(http=FakeHTTP(200))
        hooked.add_posthook(lambda task, result: seen.append(dict(task)))
        self.assertEqual(self.outcome(hooked, received), Done())
        self.assertEqual(seen, [expected] * 3)

    def test_large_body_hook_added(self) -> None:
        """
        A hook that is added while a large task is read gets all of it, too.
        """
        seen: list[Task] = []
        mediator, received = self.mediator(), message(params=[{}] * 50_000)
        outcome = mediator.messageReceived(received)
        one_turn(self.clock)
        mediator.add_prehook(lambda task: seen.append(dict(task)))
        self.read(received.body)
        self.assertEqual(self.successResultOf(outcome), Done())
        self.assertEqual(seen, [decode(received.body)])

    def test_large_body_filtered(self) -> None:
        """
        A large task is left out, too, where it says so itself.
        """
        received = message(params=[{}] * 10_000, filter=True)
        self.assertEqual(self.outcome(self.mediator(), received), Done())
        self.assertEqual(self.http.requests, [])

    def test_coroutine_client(self) -> None:
        """
        The client's C{request} may be a coroutine.
        """

        class Client:
            async def request(self, *arguments: Any, **options: Any) -> FakeResponse:
                response = FakeResponse(200)
                response.body.callback(b"")
                return response

        mediator = self.mediator(http=Client())
        self.assertEqual(self.outcome(mediator, message()), Done())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_body(self) -> None:
        """
        Methods that carry no body send none, with pre-hooks or without.
        """
        for method in ("GET", "DELETE", "HEAD", "OPTIONS", "get"):
            request = self.request(message(method=method))
            self.assertEqual((request.method, request.data), (method.upper(), None))
        mediator = self.mediator()
        mediator.add_prehook(lambda task: task.update(method="DELETE"))
        self.outcome(mediator, message())
        self.assertIsNone(self.http.requests[-1].data)

    def test_methods_with_body(self) -> None:
        """
        POST, PUT and PATCH send the task.
        """
        for method in ("POST", "PUT", "PATCH", "put"):
            request = self.request(message(method=method))
            self.assertEqual(request.data, body_of(method=method))
            self.assertEqual(request.method, method.upper())

    def test_headers(self) -> None:
        """
        A task's headers are sent, and replace the mediator's own whatever
        their case.
        """
        headers = {"content-type": "text/plain", "X-Name": "Jürgen"}
        self.assertEqual(self.request(message(headers=headers)).headers, headers)

    def test_partial_urls(self) -> None:
        """
        Partial URLs are completed from C{defaulturl}.
        """
        cases = {
            "/run": "http://other.example:81/run",
            "run": "http://other.example:81/run",
            "/run?a=1&b=%20": "http://other.example:81/run?a=1&b=%20",
            "//third.example/x": "http://third.example/x",
            URL: URL,
        }
        for url, expected in cases.items():
            request = self.request(
                message(url=url), defaulturl="http://other.example:81/"
            )
            self.assertEqual(request.url, expected)

    def test_default_defaulturl(self) -> None:
        """
        Unless told otherwise, partial URLs are on C{localhost:8000}.
        """
        self.assertEqual(
            self.request(message(url="/run")).url, "http://localhost:8000/run"
        )

    def test_no_defaulturl(self) -> None:
        """
        Where no default URL is set, a task with a partial URL is buried by any
        mediator: one with a default could do it.
        """
        for make in (self.mediator, self.backing_off, PolicyMediator):
            for none in (None, ""):
                mediator = make(defaulturl=none, bury=False)
                for url in ("/run", "run", "//host/run", "?a"):
                    outcome = self.outcome(mediator, message(url=url, uuid="u"))
                    assert isinstance(outcome, Bury), outcome
                    self.assertEqual(
                        outcome.reason,
                        "a task (uuid u) that another mediator may do: url cannot be"
                        " requested: it is partial, and this mediator has no default"
                        " URL",
                    )

    def test_wrong_defaulturl(self) -> None:
        """
        A default URL that completes nothing is refused, with one that would.
        """
        cases = {
            "localhost:8004": "http://localhost:8004/",
            "localhost": "http://localhost/",
            "//localhost:8004/api": "http://localhost:8004/api",
            "ftp://h/": "http://h/",
            "http:/h": "http://localhost:8000/",
            "http://h:0/": "http://localhost:8000/",
            "http://http://localhost:8004": "http://localhost:8004/",
            "http://$HOST:8000/": "http://localhost:8000/",
            "http://[::::]:8000/": "http://localhost:8000/",
            "http://[1.2.3]/": "http://localhost:8000/",
            "http://u:p[w@h/": "http://localhost:8000/",
            "http://a..b/": "http://localhost:8000/",
            "http://-/": "http://localhost:8000/",
            "http://localhost:8000\n": "http://localhost:8000/",
            "me:hunter2@h": "http://localhost:8000/",
        }
        for url, right in cases.items():
            for make in (self.mediator, self.backing_off, PolicyMediator):
                text = refusal(ConfigError, make, defaulturl=url)
                self.assertIn(f"must be an HTTP URL, such as {right}", text)
                self.assertIn("defaulturl=", text)
                self.assertNotIn("hunter2", text)

    def test_impossible_defaulturl(self) -> None:
        """
        Where its host is what cannot be requested, the reason is told.
        """
        cases = {
            "https://my_service/a": "such as http://my_service/a: its host must",
            "http://2130706433/": "such as http://localhost:8000/: its host ends in",
            "http://u:hunter2@a..b/": "its host must be letters",
        }
        for url, right in cases.items():
            text = refusal(ConfigError, self.mediator, defaulturl=url)
            self.assertIn(right, text)
            self.assertNotIn("hunter2", text)

    def test_another_defaulturl(self) -> None:
        """
        One that is set later is checked, too.
        """
        mediator = self.mediator()
        with self.assertRaises(ConfigError):
            mediator.defaulturl = "localhost:8004"
        mediator.defaulturl = "http://localhost:8004"
        self.assertEqual(mediator.defaulturl, "http://localhost:8004")

    def test_wrong_max_url_length(self) -> None:
        """
        No task could have such a URL.
        """
        wrong: list[Any] = [0, -1, None, "8192", True]
        for length in wrong:
            text = refusal(ConfigError, self.mediator, max_url_length=length)
            self.assertIn("must be a whole number from 1", text)

    def test_long_urls(self) -> None:
        """
        A URL of more than 8,192 characters, or of what else is set, is no task.
        """
        whole = "http://h/".ljust(8192, "x")
        self.assertEqual(self.request(message(url=whole)).url, whole)
        why = self.discarded(self.mediator(), message(url=whole + "x"))
        self.assertIn("url must have at most 8192 characters, not 8193", why)
        self.assertLess(len(why), 200)
        why = self.discarded(
            self.mediator(max_url_length=10), message(url="http://h/ab")
        )
        self.assertIn("url must have at most 10 characters, not 11", why)

    def test_large_bodies(self) -> None:
        """
        A message of more than 16 MiB, or of what else is set, is no task, and is not
        decoded.
        """
        wrong: list[Any] = [0, -1, None, "8192", True]
        for size in wrong:
            text = refusal(ConfigError, self.mediator, max_body=size)
            self.assertIn("max_body", text)
        bodies: list[bytes] = []
        mediator = self.mediator(decode=bodies.append, max_body=10)
        why = self.discarded(mediator, FakeMessage(b"x" * 11))
        self.assertIn("the body must have at most 10 bytes, not 11", why)
        self.assertEqual(bodies, [])
        self.discarded(mediator, FakeMessage(b"x" * 10))
        self.assertEqual(bodies, [b"x" * 10])
        why = self.discarded(self.mediator(), FakeMessage(b"x" * (2**24 + 1)))
        self.assertIn("at most 16777216 bytes, not 16777217", why)

    def test_never_requested(self) -> None:
        """
        A task that can never be requested, or with a field of any length, is set aside
        at once.  The reason names the field, and is short.
        """
        long = "secret" * 10_000
        wrong: list[dict[str, Any]] = [
            {"url": "http://{secret}/"},
            {"url": "https://123456789012/secret"},
            {"url": "http://secret\\@executor.example/"},
            {"url": "http://[::1/secret"},
            {"url": f"data:{long}"},
            {"uuid": long},
            {"uuid": [long]},
            {"method": long},
            {"run_at": long},
            {"headers": {long: ""}},
            {"headers": {"A": long}},
            {"headers": {f"A-{n}": "" for n in range(100)}},
        ]
        for make in (self.mediator, self.backing_off, PolicyMediator):
            for fields in wrong:
                (name,) = fields
                mediator = make(bury=True, clock=self.clock)
                outcome = self.outcome(mediator, message(**fields))
                assert isinstance(outcome, Bury), outcome
                self.assertEqual(outcome.kind, "poison")
                self.assertIn(f": {name}", outcome.reason)
                self.assertNotIn("secret", outcome.reason)
                self.assertLess(len(outcome.reason), 300)

    def test_non_ascii_urls(self) -> None:
        """
        URLs that are not in ASCII are sent as the standard rules encode them.
        """
        cases = {
            "http://bücher.example/": "http://xn--bcher-kva.example/",
            "http://executor.example/é?q=ü": (
                "http://executor.example/%C3%A9?q=%C3%BC"
            ),
            # Letters that Unicode folds to ASCII's k, s and i.
            "http://executor.example/\u212a": "http://executor.example/%E2%84%AA",
            "http://executor.example/\u017f": "http://executor.example/%C5%BF",
            "http://executor.example/\u0131": "http://executor.example/%C4%B1",
        }
        sent = {url: self.request(message(url=url)).url for url in cases}
        self.assertEqual(sent, cases)

    def test_credentials(self) -> None:
        """
        A user and password in the URL are sent as a header, not in the URL.
        """
        request = self.request(message(url="http://me:se%40cret@executor.example/"))
        self.assertEqual(request.url, "http://executor.example/")
        self.assertEqual(request.headers["Authorization"], "Basic bWU6c2VAY3JldA==")

    def test_changed_by_a_prehook(self) -> None:
        """
        The request is the one that the task asks for after the pre-hooks.
        """
        mediator = self.mediator()
        mediator.add_prehook(lambda task: task.update(url="/there", method="PUT"))
        self.outcome(mediator, message())
        (request,) = self.http.requests
        self.assertEqual(
            (request.method, request.url), ("PUT", "http://localhost:8000/there")
        )

    def test_encode_plug_in(self) -> None:
        """
        An encode plug-in may give bytes, or text that is sent in UTF-8.
        """
        for encoded in ("schön", "schön".encode()):
            mediator = self.mediator(encode=returning(encoded))
            mediator.add_prehook(returning(None))
            self.outcome(mediator, message())
            self.assertEqual(self.http.requests[-1].data, "schön".encode())

    def test_plug_ins_of_the_original(self) -> None:
        """
        The original's codec, C{json.loads} and C{json.dumps}, works.
        """
        mediator = self.mediator(decode=json.loads, encode=json.dumps)
        mediator.add_prehook(lambda task: task.update(name="é"))
        self.assertEqual(self.outcome(mediator, message()), Done())
        data = self.http.requests[0].data
        assert data is not None
        self.assertEqual(json.loads(data), {"url": URL, "name": "é"})

    def test_unencodable(self) -> None:
        """
        A task that its pre-hooks made impossible to encode is a failure.
        """
        mediator = self.mediator()
        mediator.add_prehook(lambda task: task.update(x=object()))
        self.assertEqual(
            first_retry(self.put_back(mediator, message())), Retry(after=1.0)
        )
        self.assertEqual(self.http.requests, [])


class SigningTests(Case):
    """
    A mediator that has a signer.
    """

    SECRET = "whsec_Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5"

    def setUp(self) -> None:
        """
        Both sides.
        """
        super().setUp()
        self.signer = Signer([self.SECRET], now=self.clock.seconds)
        self.verifier = Verifier([self.SECRET], now=self.clock.seconds)

    def signed(self, mediator: Mediator, received: Any) -> FakeRequest:
        """
        The request that a message leads to, which is signed.
        """
        self.assertEqual(self.outcome(mediator, received), Done())
        request = self.http.requests.pop()
        self.verifier.verify(request.headers, request.data or b"")
        return request

    def test_signed(self) -> None:
        """
        What is signed are the bytes that are sent, and the id is the task's uuid.
        """
        mediator = self.mediator(signer=self.signer)
        body = b' {"url":"%s",\t"a":"\\u00e9\xc3\xa9", "uuid":"u-1"}\n' % URL.encode()
        request = self.signed(mediator, FakeMessage(body))
        self.assertEqual((request.data, request.headers["webhook-id"]), (body, "u-1"))
        self.assertEqual(request.headers["Content-Type"], "application/json")

    def test_prehooks(self) -> None:
        """
        So it is where pre-hooks have changed the task.
        """
        mediator = self.mediator(signer=self.signer)
        mediator.add_prehook(lambda task: task.update(n="é", uuid="u-2"))
        request = self.signed(mediator, message(uuid="u-1"))
        self.assertIn("é".encode(), request.data or b"")
        self.assertEqual(request.headers["webhook-id"], "u-2")

    def test_no_body(self) -> None:
        """
        A request without a body is signed as if its body were empty.
        """
        mediator = self.mediator(signer=self.signer)
        self.assertIsNone(self.signed(mediator, message(method="GET")).data)

    def test_own_headers(self) -> None:
        """
        A task cannot sign itself.
        """
        headers = {"Webhook-Id": "a", "webhook_signature": "v1,", "X": "y"}
        mediator = self.mediator(signer=self.signer)
        request = self.signed(mediator, message(uuid="b", headers=headers))
        self.assertEqual(request.headers["webhook-id"], "b")
        self.assertEqual(len(request.headers), 5)

    def test_attempts(self) -> None:
        """
        Each attempt has its own time, however soon it comes, and the same id.
        """
        http = FakeHTTP(503)
        mediator = self.mediator(http=http, signer=self.signer)
        for _ in range(3):
            self.put_back(mediator, message(uuid="u"))
        self.clock.advance(1_000)
        self.put_back(mediator, message(uuid="u"))
        times = [r.headers["webhook-timestamp"] for r in http.requests]
        self.assertEqual(times, ["0", "1", "2", "1000"])
        self.assertEqual({r.headers["webhook-id"] for r in http.requests}, {"u"})

    def test_slow_prehook(self) -> None:
        """
        The time is that of the request, not that at which its message came.
        """
        mediator = self.mediator(signer=self.signer)
        waiting: Deferred[None] = Deferred()
        mediator.add_prehook(returning(waiting))
        outcome = mediator.messageReceived(message(uuid="u"))
        self.clock.advance(77)
        waiting.callback(None)
        self.assertEqual(self.successResultOf(outcome), Done())
        self.assertEqual(self.http.requests[0].headers["webhook-timestamp"], "77")

    def test_secret(self) -> None:
        """
        The secret is in no log, and in nothing that becomes of a failure.
        """
        events = self.events()
        http = FakeHTTP(500, self.SECRET[:6].encode())
        mediator = self.mediator(http=http, signer=self.signer)
        retry = self.put_back(mediator, message(uuid="u"))
        said = repr([retry, mediator.failures, vars(mediator), list(events)])
        said += "".join(formatEvent(e) for e in events)
        said += "".join(f.getTraceback(detail="verbose") for f in mediator.failures)
        self.assertIn("500", said)
        self.assertNotIn(self.SECRET[6:], said)
        self.assertNotIn("canarycanary", said)


class TreqTests(Case):
    """
    A treq client can make the requests.
    """

    def stub(
        self, code: int, headers: dict[str, str], body: bytes, **options: Any
    ) -> Noting:
        """
        A mediator whose requests L{requests} gets to hold.
        """
        self.requests: list[tuple[Any, ...]] = []

        def answer(*request: Any) -> tuple[int, dict[str, str], bytes]:
            self.requests.append(request)
            return code, headers, body

        http = StubTreq(StringStubbingResource(answer))
        return self.mediator(http=http, **options)

    def test_success(self) -> None:
        """
        A task goes out and its result comes back.
        """
        mediator = self.stub(200, {"Content-Type": "application/json"}, b'{"a": 1}')
        results: list[object] = []
        mediator.add_posthook(noting_results(results))
        self.assertEqual(self.outcome(mediator, message(n=1)), Done())
        ((method, url, _, headers, data),) = self.requests
        self.assertEqual((method, url, data), (b"POST", URL, body_of(n=1)))
        self.assertEqual(headers[b"Content-Type"], [b"application/json"])
        self.assertEqual(results, [{"a": 1}])

    def test_signed(self) -> None:
        """
        What it requests is signed.
        """
        secret = SigningTests.SECRET
        mediator = self.stub(200, {}, b"", signer=Signer([secret]))
        self.assertEqual(self.outcome(mediator, message(uuid="u")), Done())
        ((_, _, _, headers, data),) = self.requests
        pairs = {name.decode(): value.decode() for name, (value,) in headers.items()}
        self.assertEqual(Verifier([secret]).verify(pairs, data), "u")

    def test_redirects(self) -> None:
        """
        A redirect is not followed: it is a failure.
        """
        for code in (301, 302, 303, 307, 308):
            mediator = self.stub(code, {"Location": "http://other.example/"}, b"")
            self.assertEqual(
                first_retry(self.outcome(mediator, message())), Retry(after=1.0)
            )
            self.assertEqual(len(self.requests), 1)

    def test_no_body(self) -> None:
        """
        A GET goes out without a body.
        """
        mediator = self.stub(204, {}, b"")
        self.assertEqual(self.outcome(mediator, message(method="GET")), Done())
        self.assertEqual(self.requests[0][4], b"")


class TimeoutTests(Case):
    """
    A task has limited time for its whole exchange.
    """

    def setUp(self) -> None:
        """
        Nobody answers.
        """
        super().setUp()
        self.http = FakeHTTP()

    def assert_times_out_after(
        self, seconds: float, mediator: Noting, **f: Any
    ) -> None:
        """
        A task with these fields fails then, not before, and in these words.
        """
        outcome = mediator.messageReceived(message(**f))
        request = self.http.requests[-1]
        self.clock.advance(seconds - 0.01)
        self.assertNoResult(outcome)
        self.assertFalse(request.cancelled)
        self.clock.advance(0.01)
        self.assertTrue(request.cancelled)
        self.assertEqual(first_retry(self.successResultOf(outcome)), Retry(after=1.0))
        self.assertIn(f" {seconds:g} s", mediator.failures[-1].getErrorMessage())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_of_the_task(self) -> None:
        """
        After the task's own C{timeout} the request is cancelled and the task
        a failure, whose text says so.
        """
        for seconds in (5, 0.5, 601, 1500):
            self.assert_times_out_after(seconds, self.mediator(), timeout=seconds)

    def test_default(self) -> None:
        """
        A task without a C{timeout}, or with 0, gets the default 600 s.
        """
        self.assertEqual(DEFAULT_TIMEOUT, 600)
        self.assert_times_out_after(600, self.mediator())
        self.assert_times_out_after(600, self.mediator(), timeout=0)
        self.assert_times_out_after(600, self.mediator(), timeout=None)
        self.assert_times_out_after(600, self.mediator(), timeout=0.0)

    def test_other_default(self) -> None:
        """
        The mediator may have another default.
        """
        self.assert_times_out_after(7, self.mediator(defaultTimeout=7))
        self.assert_times_out_after(9, self.mediator(defaultTimeout=7), timeout=9)

    def test_cut(self) -> None:
        """
        A larger C{timeout} is cut to the maximum, 1,500 s by default.
        """
        self.assertEqual(MAX_TIMEOUT, 1500)
        self.assert_times_out_after(1500, self.mediator(), timeout=1501)
        self.assert_times_out_after(1500, self.mediator(), timeout=10**300)
        self.assert_times_out_after(20, self.mediator(maxTimeout=20), timeout=21)
        self.assert_times_out_after(20, self.mediator(maxTimeout=20))

    def test_infinite(self) -> None:
        """
        A C{timeout} beyond what a float holds is cut like any other.
        """
        mediator = self.mediator()
        body = b'{"url": "/", "timeout": 1e999}'
        outcome = mediator.messageReceived(FakeMessage(body))
        self.clock.advance(1500)
        self.assertEqual(first_retry(self.successResultOf(outcome)), Retry(after=1.0))

    def test_by_a_prehook(self) -> None:
        """
        A pre-hook may set the C{timeout}.
        """
        mediator = self.mediator()
        mediator.add_prehook(lambda task: task.update(timeout=3))
        self.assert_times_out_after(3, mediator, timeout=30)

    def test_body(self) -> None:
        """
        The time for headers and body is one: a body that is late is cancelled
        once both have taken C{timeout} seconds.
        """
        mediator = self.mediator()
        outcome = mediator.messageReceived(message(timeout=5))
        self.clock.advance(4)
        response = self.http.requests[0].begin(200)
        self.clock.advance(0.99)
        self.assertNoResult(outcome)
        self.clock.advance(0.01)
        self.assertTrue(response.cancelled)
        self.assertEqual(first_retry(self.successResultOf(outcome)), Retry(after=1.0))
        self.assertIn(" 5 s", mediator.failures[0].getErrorMessage())

    def test_hooks_have_their_own_time(self) -> None:
        """
        The time that hooks take is not the request's.
        """
        pre: Deferred[None] = Deferred()
        post: Deferred[None] = Deferred()
        mediator = self.mediator()
        mediator.add_prehook(returning(pre))
        mediator.add_posthook(returning(post))
        outcome = mediator.messageReceived(message(timeout=5))
        self.clock.advance(100)
        pre.callback(None)
        self.clock.advance(4)
        self.http.requests[0].answer(200)
        self.clock.advance(100)
        post.callback(None)
        self.assertEqual(self.successResultOf(outcome), Done())

    def test_nothing_left(self) -> None:
        """
        Once the answer is there, nothing waits for the time to be over.
        """
        for code in (200, 500):
            self.mediator().messageReceived(message())
            self.http.requests[-1].answer(code)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_told_in_the_traceback(self) -> None:
        """
        The mediator that backs off puts the reason into the task.
        """
        outcome = self.backing_off().messageReceived(message(timeout=5))
        self.clock.advance(5)
        retry: Any = self.successResultOf(outcome)
        task = json.loads(retry.body)
        self.assertEqual(task["failures"], 1)
        self.assertIn("no complete answer within 5 s", task["traceback"])

    def test_connecting(self) -> None:
        """
        The time in which a connection is made counts as well.
        """
        reactor = MemoryReactor()
        mediator = Noting(reactor=reactor, now=returning(NOW))
        received = message(url="http://127.0.0.1:8000/", timeout=5)
        outcome = mediator.messageReceived(received)
        self.assertEqual(reactor.tcpClients[0][:2], ("127.0.0.1", 8000))
        reactor.advance(5)
        self.assertEqual(first_retry(self.successResultOf(outcome)), Retry(after=1.0))
        self.assertTrue(reactor.connectors[0].stoppedConnecting)

    def test_cancelled_by_the_caller(self) -> None:
        """
        When the caller cancels, the request is cancelled and the task put
        back.
        """
        outcome = self.mediator().messageReceived(message())
        outcome.cancel()
        self.assertTrue(self.http.requests[0].cancelled)
        self.assertIsInstance(self.successResultOf(outcome), Retry)


# -- Times and bad messages


class ScheduleTests(Case):
    """
    Tasks that are too old or too young are not requested.
    """

    def assert_expired(self, received: FakeMessage) -> None:
        """
        It is discarded unseen by the hooks and the executor.
        """
        calls: list[Task] = []
        for mediator in (self.mediator(), self.backing_off()):
            mediator.add_prehook(calls.append)
            mediator.add_posthook(lambda task, result: calls.append(task))
            self.assertIn("expired", self.discarded(mediator, received))
        self.assertEqual((calls, self.http.requests), ([], []))

    def test_expired(self) -> None:
        """
        A task whose C{timestamp} is more than C{ttl} seconds ago is discarded.
        """
        self.assert_expired(message(timestamp=format_time(NOW - 61), ttl=60))
        self.assert_expired(message(timestamp=format_time(NOW - 1), ttl=0.5))

    def test_reason_names_the_task(self) -> None:
        """
        The reason names the task by its uuid.
        """
        old = message(timestamp=format_time(NOW - 61), ttl=60, uuid="1234-5678")
        self.assertIn("1234-5678", self.discarded(self.mediator(), old))

    def test_not_yet_expired(self) -> None:
        """
        A task whose C{ttl} is not over is executed.
        """
        young = message(timestamp=format_time(NOW - 59), ttl=60)
        self.assertEqual(self.outcome(self.mediator(), young), Done())

    def test_no_ttl(self) -> None:
        """
        A C{ttl} that is missing, 0 or negative is none.
        """
        for ttl in (None, 0, 0.0, -1, -(10**300)):
            old = message(timestamp="1970-01-01T00:00:00Z", ttl=ttl)
            self.assertEqual(self.outcome(self.mediator(), old), Done(), ttl)

    def test_property(self) -> None:
        """
        The AMQP property stands in for a C{timestamp}.
        """
        for timestamp in ({}, {"timestamp": None}):
            body = body_of(ttl=60, **timestamp)
            self.assert_expired(FakeMessage(body, {"timestamp": int(NOW) - 61}))
            young = FakeMessage(body, {"timestamp": int(NOW) - 59})
            self.assertEqual(self.outcome(self.mediator(), young), Done())
            self.http.requests.clear()

    def test_own_timestamp_counts(self) -> None:
        """
        The task's own C{timestamp} counts more than the AMQP property.
        """
        old = body_of(ttl=60, timestamp=format_time(NOW - 61))
        self.assert_expired(FakeMessage(old, {"timestamp": int(NOW)}))
        young = body_of(ttl=60, timestamp=format_time(NOW))
        self.assertEqual(
            self.outcome(self.mediator(), FakeMessage(young, {"timestamp": 0})), Done()
        )

    def test_neither(self) -> None:
        """
        With neither, the task does not expire.
        """
        self.assertEqual(self.outcome(self.mediator(), message(ttl=1)), Done())

    def test_forms_of_times(self) -> None:
        """
        A time without an offset is UTC; offsets count.
        """
        # NOW is 2027-01-15T08:00:00Z.
        self.assert_expired(message(timestamp="2027-01-15T07:58:59", ttl=60))
        self.assert_expired(message(timestamp="2027-01-15T08:58:59+01:00", ttl=60))
        for young in ("2027-01-15T07:59:01", "2027-01-15T02:59:01-05:00"):
            received = message(timestamp=young, ttl=60)
            self.assertEqual(self.outcome(self.mediator(), received), Done())

    def test_judged_at_each_delivery(self) -> None:
        """
        A task that expires while it waits for a retry is discarded when it
        comes back.
        """
        now = [NOW]
        http = FakeHTTP(500)
        mediator = self.backing_off(http=http, now=lambda: now[0])
        received = message(timestamp=format_time(NOW), ttl=60)
        retry = self.put_back(mediator, received)
        assert retry.body is not None
        now[0] += 61
        self.assertIn("expired", self.discarded(mediator, FakeMessage(retry.body)))
        self.assertEqual(len(http.requests), 1)

    def test_early(self) -> None:
        """
        A task whose C{run_at} is to come goes back for so long, unchanged and
        uncounted, unseen by hooks and executor.
        """
        calls: list[Task] = []
        for mediator in (self.mediator(), self.backing_off()):
            mediator.add_prehook(calls.append)
            received = message(run_at=format_time(NOW + 90.5))
            put_off = Retry(after=90.5, attempted=False)
            self.assertEqual(self.outcome(mediator, received), put_off)
        self.assertEqual((calls, self.http.requests), ([], []))

    def test_clock_set_back(self) -> None:
        """
        A task that was due, or soon would be, before the clock of the machine was set
        back is judged again in a moment: the clock may be set right until then.
        One that was early before waits for as long as it would have.
        """
        mediator = self.mediator(now=self.set_clock(NOW - 3_600))
        for early, after in ((-60, DOUBT), (0.5, DOUBT), (90.5, 90.5), (-3_597, 3)):
            received = message(run_at=format_time(NOW + early))
            put_off = Retry(after=after, attempted=False)
            self.assertEqual(self.outcome(mediator, received), put_off, early)
        self.assertEqual(self.http.requests, [])

    def test_clock_set_forward(self) -> None:
        """
        Once the clock of the machine was set forward, that clock counts; but a task
        that has expired only since then is judged again in a moment.
        """
        mediator = self.mediator(now=self.set_clock(NOW + 3_600))
        for early, wanted in (
            (3_690.5, Retry(after=90.5, attempted=False)),
            (3_600, Done()),
        ):
            received = message(run_at=format_time(NOW + early))
            self.assertEqual(self.outcome(mediator, received), wanted)
        put_off, stamp = Retry(after=DOUBT, attempted=False), format_time(NOW)
        for ttl, wanted in ((3_600.5, Done()), (3_599, put_off), (1, put_off)):
            received = message(timestamp=stamp, ttl=ttl)
            self.assertEqual(self.outcome(mediator, received), wanted)
        dead = message(timestamp=format_time(NOW - 2), ttl=1)
        self.assertIn("expired", self.discarded(mediator, dead))

    def test_clock_set_forward_meanwhile(self) -> None:
        """
        The same is so if the clock is set forward while hooks run.
        """
        now = self.set_clock(NOW)
        mediator = self.mediator(now=lambda: now())
        received = message(timestamp=format_time(NOW), ttl=60)

        def hook(task: Task) -> None:
            nonlocal now
            now = self.set_clock(NOW + 3_600)
            task["changed"] = True

        mediator.add_prehook(hook)
        put_off = Retry(after=DOUBT, attempted=False)
        self.assertEqual(self.outcome(mediator, received), put_off)
        self.assertEqual(self.http.requests, [])

    def set_clock(self, time: float) -> Callable[[], float]:
        """
        Set the clock of the machine, which was at L{NOW}, while timers go by a
        monotonic clock; gives the clock of the machine.
        """
        clock = [NOW]
        steady = SteadyClock(lambda: clock[0], lambda: 0.0)
        self.patch(self.clock, "seconds", steady.seconds)
        clock[0] = time
        return lambda: clock[0]

    def test_due(self) -> None:
        """
        A task whose C{run_at} has come is executed.
        """
        for run_at in (None, format_time(NOW), format_time(NOW - 1), "1970-01-01"):
            received = message(run_at=run_at)
            self.assertEqual(self.outcome(self.mediator(), received), Done())

    def test_early_and_expired(self) -> None:
        """
        A task that has expired does not wait for its C{run_at}.
        """
        stamp, run_at = format_time(NOW - 61), format_time(NOW + 60)
        self.assert_expired(message(timestamp=stamp, ttl=60, run_at=run_at))


class BadMessageTests(Case):
    """
    What is not a task is discarded, with a reason that names what is wrong.
    """

    def assert_bad(self, body: bytes, word: str) -> None:
        """
        It is discarded by any mediator, in one line that has the word in it.
        """
        calls: list[Task] = []
        for mediator in (self.mediator(), self.backing_off()):
            mediator.add_prehook(calls.append)
            reason = self.discarded(mediator, FakeMessage(body))
            self.assertIn(word, reason, body[:80])
            self.assertEqual(len(reason.splitlines()), 1, reason)
            self.assertLess(len(reason), 500)
        self.assertEqual((calls, self.http.requests), ([], []))

    def test_not_json(self) -> None:
        """
        A body that is not JSON is discarded.
        """
        for body in (
            b"",
            b" ",
            b"{",
            b"url=/run",
            b"{'url': '/'}",
            b'{"url": "/",}',
            b'{"url": "/"} {}',
            b'{"url": "\xff"}',
            b'\xef\xbb\xbf{"url": "/"}',
            '{"url": "/"}'.encode("utf-16"),
            b'{"url": "/", "n": NaN}',
            b'{"url": "/", "n": Infinity}',
            b'{"url": "/", "n": -Infinity}',
            b'{"url": "/", "n": ' + b"9" * 10_000 + b"}",
            b'{"url": "a\nb"}',
            b"\x00" * 1000,
        ):
            self.assert_bad(body, "JSON")

    def test_nested(self) -> None:
        """
        JSON nested beyond what the codec reads is discarded.
        """
        self.assert_bad(b"[" * 200_000, "deep")
        deep = b'{"url": "/", "params": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
        self.assert_bad(deep, "deep")

    def test_not_an_object(self) -> None:
        """
        JSON that is no object is discarded.
        """
        for body in (
            b"[]",
            b'"/run"',
            b"5",
            b"1.5",
            b"null",
            b"true",
            b'[{"url":"/"}]',
        ):
            self.assert_bad(body, "object")

    def test_fields(self) -> None:
        """
        A field that is wrong is named.
        """
        wrong: dict[str, list[object]] = {
            "url": [
                *(None, "", 5, True, [], {}, ["/run"]),
                *("ftp://executor.example/", "javascript:alert(1)", "mailto:a@b"),
                *("file:///etc/passwd", "localhost:8000/run", "http:", "http://"),
                *("http:///run", "http://executor.example:0/", "http://a:65536/"),
                *("http://a:port/", "http://[::1/", "http://executor.example/a b"),
                *(" /run", "/run ", "/a\nb", "/a\r\nHost: b", "/a\tb", "/a\x00b"),
                *("/a\x7fb", "/a\x80b", "/a\u2028b", "/\ud800", "x" * 5000 + " "),
            ],
            "ttl": ["60", "", True, False, [], {}, [60], 10**400],
            "timestamp": [
                *("", "yesterday", "60", 0, 1_800_000_000, 1.5, True, [], {}),
                *("2027-13-01T00:00:00Z", "2027-01-15T25:00:00Z", "x" * 5000),
            ],
            "run_at": ["", "tomorrow", 0, 1_800_000_000, 1.5, False, [], {}],
            "timeout": ["5", "", True, [], {}, 10**400],
            "method": ["", "BREW", 5, True, [], "POST /\r\nX: y", "CONNECT"],
            "headers": [
                *(5, "X: y", [], True, {"X": 5}, {"X": None}, {"X": ["y"]}),
                *({"": "y"}, {"X Y": "y"}, {"X:": "y"}, {"X": "a\nb"}),
                *({"X": "a\r\nY: b"}, {"X": "\x00"}, {"X\r\n": "y"}, {"\xdc": "y"}),
                *({"Content-Length": "5"}, {"transfer-encoding": "chunked"}),
            ],
        }
        for field, values in wrong.items():
            for value in values:
                self.assert_bad(body_of(**{field: value}), field)

    def test_no_url(self) -> None:
        """
        A task without a C{url} is discarded.
        """
        self.assert_bad(b"{}", "url")
        self.assert_bad(b'{"params": {"url": "/"}}', "url")

    def test_filtered(self) -> None:
        """
        C{filter} does not make a task of what is none.
        """
        self.assert_bad(b'{"filter": true}', "url")

    def test_before_expiry(self) -> None:
        """
        A bad message is told as such even when it has expired, too.
        """
        stamp = format_time(NOW - 61)
        self.assert_bad(body_of(url=5, ttl=60, timestamp=stamp), "url")

    def test_decode_plug_in(self) -> None:
        """
        Whatever a decode plug-in raises, the message is discarded, and the
        reason says what it was.
        """
        for error in (ValueError, KeyError, RuntimeError, UnicodeError, RecursionError):
            mediator = self.mediator(decode=raising(error, "cannot decode"))
            self.assertIn("cannot decode", self.discarded(mediator, message()))

    def test_error_without_text(self) -> None:
        """
        So it is when what the decode plug-in raises has no text.
        """
        mediator = self.mediator(decode=raising(Unspeakable))
        self.discarded(mediator, message())

    def test_decoded_to_nothing(self) -> None:
        """
        A message that a decode plug-in makes nothing of is discarded.
        """
        for nothing in (None, False, "", [], b"x", object()):
            mediator = self.mediator(decode=returning(nothing))
            self.assertIn("object", self.discarded(mediator, message()))

    def test_secrets(self) -> None:
        """
        Neither a reason nor the log has the password of a URL in it.
        """
        events = self.events()
        url = "http://me:s3cret@executor.example/"
        stamp = format_time(NOW - 61)
        reasons = [
            self.discarded(self.mediator(), message(url=url + " ")),
            self.discarded(self.mediator(), message(url=url, timestamp=stamp, ttl=60)),
        ]
        for mediator in (self.mediator, self.backing_off):
            retry = self.put_back(mediator(http=FakeHTTP(500)), message(url=url))
            if retry.body is not None:
                self.assertNotIn("s3cret", json.loads(retry.body)["traceback"])
        for text in (*reasons, *map(repr, events)):
            self.assertNotIn("s3cret", text)

    def test_secrets_read_by_an_executor(self) -> None:
        """
        An executor may tell of a password or a token by itself, as it reads it.
        """
        query = "?page=seven&a_token=s3%2Fcr%2Bet#x"
        url = f"http://me:p%40ssw%C3%B6rd@executor.example/{query}"
        http = FakeHTTP()
        mediator = PolicyMediator(http=http, clock=self.clock, permanent=[500])
        received = mediator.messageReceived(message(url=url))
        answer = "no p@sswörd, p%40ssw%C3%B6rd, s3/cr+et or s3%2Fcr%2Bet for seven"
        http.requests[0].begin(500).body.callback(answer.encode())
        buried = self.successResultOf(received)
        assert isinstance(buried, Bury)
        kept = buried.headers["quebert-last-answer"]
        self.assertEqual(kept, "no ..., ..., ... or ... for seven")

    def test_secrets_in_an_answer(self) -> None:
        """
        However often an answer has a secret, and wherever the answer is cut off, what
        is kept of it has no part of the secret.
        """
        secret = "".join(f"<{n}>" for n in range(600))
        once = secret.encode()
        short = b"<0><1><2><3><4><5>"
        for body, kept in (
            (once * 10, b"..." * 4),
            (b"said: " + once * 10, b"said: " + b"..." * 4),
            (b"x" * 2040 + once, b"x" * 2040 + b"..."),
            (b"x" * 2030 + once, b"x" * 2030 + b"..."),
            (b"x" * 2045 + once, b"x" * 2045 + b"..."),
            (b"said: " + short, b"said: ..."),
            (b"said: " + short + b".", b"said: " + short + b"."),
            (b"said: <0", b"said: <0"),
        ):
            http = FakeHTTP()
            mediator = PolicyMediator(http=http, clock=self.clock, permanent=[500])
            received = mediator.messageReceived(message(headers={"X-Token": secret}))
            http.requests[0].begin(500).body.callback(body)
            buried = self.successResultOf(received)
            assert isinstance(buried, Bury)
            answer = buried.headers["quebert-last-answer"]
            self.assertEqual(answer, kept.decode(), body[:20])


# -- Failures


class ForbiddenTests(Case):
    """
    A task whose request the guard refuses is buried at once.
    """

    def test_buried(self) -> None:
        """
        By any mediator, whether or not it buries bad messages, with its name and why.
        """
        for bury in (False, True):
            for mediator in (
                self.mediator(http=FakeHTTP(), bury=bury),
                self.backing_off(http=FakeHTTP(), bury=bury),
                PolicyMediator(http=FakeHTTP(), clock=self.clock, bury=bury),
            ):
                received = mediator.messageReceived(message(uuid="u7", failures=3))
                http: Any = mediator.http
                http.requests[0].answered.errback(Forbidden("the guard refuses it"))
                buried = self.successResultOf(received)
                assert isinstance(buried, Bury)
                self.assertEqual((buried.kind, buried.headers), ("forbidden", {}))
                wanted = f"task u7 for {URL} is given up at once: the guard refuses it"
                self.assertEqual(buried.reason, wanted)

    def test_guard(self) -> None:
        """
        A mediator makes its own client with its guard.
        """
        guard = Guard(deny=["executor.example"])
        mediator = Mediator(reactor=MemoryReactor(), clock=self.clock, guard=guard)
        self.assertEqual(self.kind_of(mediator, message()), "forbidden")
        local = message(url="http://127.0.0.1/")
        mediator = Mediator(
            reactor=MemoryReactor(), clock=self.clock, guard=Guard(private="refuse")
        )
        self.assertEqual(self.kind_of(mediator, local), "forbidden")
        self.assertFalse(mediator.keep_answers)

    def test_default(self) -> None:
        """
        Without a guard, what no executor has is forbidden, and nothing else.
        """
        mediator = Mediator(reactor=MemoryReactor(), clock=self.clock)
        metadata = message(url="http://169.254.169.254/latest/")
        self.assertEqual(self.kind_of(mediator, metadata), "forbidden")
        received = mediator.messageReceived(message(url="http://10.0.0.1/"))
        self.assertNoResult(received)
        self.assertTrue(mediator.keep_answers)

    def test_one_guard(self) -> None:
        """
        A client has its own guard, so that another one would be of no use.
        """
        with self.assertRaisesRegex(ConfigError, "guard and http exclude each other"):
            self.mediator(http=FakeHTTP(), guard=Guard())

    def kind_of(self, mediator: Mediator, received: FakeMessage) -> str:
        """
        Why a task is buried.
        """
        buried = self.successResultOf(mediator.messageReceived(received))
        assert isinstance(buried, Bury), buried
        return buried.kind


class MediatorTests(Case):
    """
    A plain mediator puts a failed task back as it was, at a steady pace.
    """

    def test_steady(self) -> None:
        """
        A failed task goes back unchanged after a second, each time.
        """
        mediator = self.mediator(http=FakeHTTP(500))
        for failures in (0, 1, 50):
            received = message(failures=failures)
            retry = self.put_back(mediator, received)
            self.assertEqual((retry.body, retry.after), (None, 1.0))
            self.assertEqual(retry.headers["quebert-attempts"], failures + 1)

    def test_other_delay(self) -> None:
        """
        The delay can be another; 0 is at once.
        """
        for delay in (0, 0.0, 2.5, 3600):
            mediator = self.mediator(http=FakeHTTP(500), retryDelay=delay)
            self.assertEqual(
                first_retry(self.outcome(mediator, message())), Retry(None, delay)
            )

    def test_changes_are_dropped(self) -> None:
        """
        What hooks changed in a task that fails does not go back with it.
        """
        mediator = self.mediator(http=FakeHTTP(500))
        mediator.add_prehook(lambda task: task.update(n=1))
        self.assertEqual(
            first_retry(self.outcome(mediator, message())), Retry(None, 1.0)
        )

    def test_logged(self) -> None:
        """
        A failure is logged with the task's uuid, the reason and the delay.
        """
        events = self.events()
        self.put_back(self.mediator(http=FakeHTTP(503)), message(uuid="1234"))
        (event,) = [event for event in events if "why" in event]
        self.assertIn("1234", event["name"])
        self.assertIn("503", event["why"])
        self.assertEqual(event["after"], 1.0)

    def test_one_line(self) -> None:
        """
        Whatever text is in a task, what is told about it is one line that a
        log file can take.
        """
        events = self.events()
        old = {"timestamp": format_time(NOW - 61), "ttl": 60}
        reasons = []
        for uuid in ("a\r\nb", "a\u2028b", "\ud800"):
            reasons.append(self.discarded(self.mediator(), message(uuid=uuid, **old)))
            failing = self.mediator(http=FakeHTTP(500))
            self.put_back(failing, message(uuid=uuid))
        for text in (*reasons, *map(formatEvent, events)):
            self.assertEqual(len(text.splitlines()), 1, text)
            self.assertEqual(text.encode("utf-8", "replace").decode(), text)

    def test_unreadable_properties(self) -> None:
        """
        A task whose properties cannot be read has none, and is executed.
        """
        received = UnreadableMessage(body_of(ttl=60, timestamp=format_time(NOW)))
        self.assertEqual(self.outcome(self.mediator(), received), Done())

    def test_odd_timestamp_property(self) -> None:
        """
        A timestamp property that is no number of seconds never makes
        C{messageReceived} fail.
        """
        for timestamp in ("now", b"0", [], {}, object()):
            received = FakeMessage(body_of(ttl=60), {"timestamp": timestamp})
            outcome = self.outcome(self.mediator(), received)
            self.assertIsInstance(outcome, (Done, Discard), timestamp)

    def test_unspeakable_task(self) -> None:
        """
        A hook that leaves in a task what has no text, and fails, makes it a
        failure like any other.
        """

        class Thing:
            __str__ = __repr__ = Unspeakable.__str__

        def hook(task: Task) -> None:
            task["uuid"] = task["url"] = Thing()
            raise RuntimeError("hook failed")

        mediator = self.mediator()
        mediator.add_prehook(hook)
        self.assertEqual(
            first_retry(self.outcome(mediator, message())), Retry(after=1.0)
        )


class DelayOnErrorMediatorTests(Case):
    """
    The mediator that backs off counts failures, and waits longer each time.
    """

    def setUp(self) -> None:
        """
        The executor always fails.
        """
        super().setUp()
        self.http = FakeHTTP(500)

    def retried(self, received: FakeMessage, **options: Any) -> tuple[Task, float]:
        """
        The task that was put back, and after how long.
        """
        retry = self.put_back(self.backing_off(**options), received)
        assert retry.body is not None
        task: Task = json.loads(retry.body)
        return task, retry.after

    def test_full_body(self) -> None:
        """
        A task that the count and the traceback would make larger than a body may be is
        put back as it was, so that it is tried again.
        """
        received = message()
        mediator = self.backing_off(max_body=len(received.body) + 10)
        retry = self.put_back(mediator, received)
        self.assertEqual((retry.body, retry.after), (None, 1.5))

    def test_backs_off(self) -> None:
        """
        The n-th retry comes after 1.5 ** n seconds.
        """
        received, waits, counts = message(), [], []
        for _ in range(5):
            task, after = self.retried(received)
            waits.append(after)
            counts.append(task["failures"])
            received = FakeMessage(json.dumps(task).encode())
        self.assertEqual(waits, [1.5, 2.25, 3.375, 5.0625, 7.59375])
        self.assertEqual(counts, [1, 2, 3, 4, 5])

    def test_maximum(self) -> None:
        """
        No wait is longer than C{maxDelay}, 120 s by default.
        """
        waits = [self.retried(message(failures=n))[1] for n in (10, 11, 12, 1000)]
        self.assertEqual(waits, [1.5**11, 120, 120, 120])
        self.assertEqual(self.retried(message(), maxDelay=1)[1], 1)
        self.assertEqual(self.retried(message(failures=2), maxDelay=3)[1], 3)

    def test_constant(self) -> None:
        """
        Another C{constant} is another pace.
        """
        waits = [self.retried(message(failures=n), constant=2)[1] for n in range(4)]
        self.assertEqual(waits, [2, 4, 8, 16])
        self.assertEqual(self.retried(message(failures=5), constant=1)[1], 1)

    def test_missing_and_odd_counts(self) -> None:
        """
        A count that is missing, no number or negative is taken for 0.
        """
        odd: list[object] = [None, "3", "", True, False, [], [3], {}, -1, -0.5, -1e300]
        for failures in (*odd, -(10**300)):
            task, after = self.retried(message(failures=failures))
            self.assertEqual((task["failures"], after), (1, 1.5), failures)
        self.assertEqual(self.retried(message())[0]["failures"], 1)

    def test_fractions(self) -> None:
        """
        A count with a fraction is taken for the whole number in it.
        """
        task, after = self.retried(message(failures=2.9))
        self.assertEqual((task["failures"], after), (3, 3.375))

    def test_huge_counts(self) -> None:
        """
        However large the count, the wait is C{maxDelay}.
        """
        for failures in (10**6, 2**31, 2**64, 10**300, 1e300):
            for constant in (1.5, 1e300):
                task, after = self.retried(
                    message(failures=failures), constant=constant
                )
                self.assertEqual(after, 120, failures)
                self.assertGreater(task["failures"], 10**5)

    def test_infinite_counts(self) -> None:
        """
        A count beyond what a float holds never makes C{messageReceived} fail.
        """
        for failures, expected in ((b"1e999", 120), (b"-1e999", 1.5)):
            body = b'{"url": "/", "failures": %s}' % failures
            retry = self.put_back(self.backing_off(), FakeMessage(body))
            self.assertEqual(retry.after, expected)

    def test_not_a_number(self) -> None:
        """
        C{NaN}, which C{json.loads} reads, is taken for 0.
        """
        body = b'{"url": "/", "failures": NaN}'
        retry = self.put_back(self.backing_off(decode=json.loads), FakeMessage(body))
        self.assertEqual(retry.after, 1.5)

    def test_whole_constants(self) -> None:
        """
        A huge count costs no time with a C{constant} that is a whole number:
        its power is not computed to the last digit.
        """

        class Whole(int):
            def __pow__(self, exponent: Any, modulus: Any = None) -> Any:
                if exponent > 100_000:
                    raise AssertionError("this would take minutes and gigabytes")
                return int(self) ** exponent

        received = message(failures=2**31)
        _, after = self.retried(received, constant=Whole(3))
        self.assertEqual(after, 120)

    def test_traceback(self) -> None:
        """
        The task goes back with the reason in C{traceback}, as text.
        """
        traceback = self.retried(message())[0]["traceback"]
        self.assertIsInstance(traceback, str)
        self.assertIn("BadStatus", traceback)
        self.assertIn("500", traceback)

    def test_traceback_of_a_hook(self) -> None:
        """
        A hook's exception is in the C{traceback}, with its type and text.
        """
        mediator = self.backing_off(http=FakeHTTP(200))
        mediator.add_posthook(raising(ZeroDivisionError, "by nothing é"))
        retry = self.put_back(mediator, message())
        assert retry.body is not None
        traceback = json.loads(retry.body)["traceback"]
        self.assertIn("ZeroDivisionError", traceback)
        self.assertIn("by nothing", traceback)

    def test_traceback_is_bounded(self) -> None:
        """
        The C{traceback} stays short whatever is raised, and does not grow with
        each failure.
        """
        mediator = self.backing_off()
        mediator.add_prehook(lambda task: fail(RuntimeError("x" * 1_000_000)))
        received = message()
        for _ in range(3):
            retry = self.put_back(mediator, received)
            assert retry.body is not None
            self.assertLess(len(retry.body), 10_000)
            received = FakeMessage(retry.body)

    def test_the_rest_stays(self) -> None:
        """
        All other fields go back as they were.
        """
        fields = {"params": {"é": [1, None]}, "uuid": "1", "mine": 1.5}
        task, _ = self.retried(message(**fields))
        del task["failures"], task["traceback"]
        self.assertEqual(task, {"url": URL, **fields})

    def test_changes_go_back(self) -> None:
        """
        What hooks changed in the task goes back with it.
        """
        mediator = self.backing_off()
        mediator.add_prehook(lambda task: task.update(tries=1))
        retry = self.put_back(mediator, message())
        assert retry.body is not None
        self.assertEqual(json.loads(retry.body)["tries"], 1)

    def test_sent_with_the_count(self) -> None:
        """
        The executor gets to see the count of the failures before.
        """
        retry = self.put_back(self.backing_off(), message())
        assert retry.body is not None
        self.put_back(self.backing_off(), FakeMessage(retry.body))
        self.assertEqual(self.http.requests[1].data, retry.body)

    def test_encode_plug_in(self) -> None:
        """
        The task is put back as the encode plug-in has it, text in UTF-8.
        """
        for encoded in ("schön", "schön".encode()):
            mediator = self.backing_off(encode=returning(encoded))
            retry = self.put_back(mediator, message())
            self.assertEqual((retry.body, retry.after), ("schön".encode(), 1.5))

    def test_unencodable(self) -> None:
        """
        A task that cannot be encoded any more is put back as it was.
        """
        mediator = self.backing_off()
        mediator.add_prehook(lambda task: task.update(x=object()))
        self.assertEqual(
            first_retry(self.outcome(mediator, message())), Retry(None, 1.5)
        )

    def test_encode_plug_in_fails(self) -> None:
        """
        So it is when the encode plug-in fails, whatever it raises.
        """
        for error in (ValueError, RecursionError, Unspeakable, CancelledError):
            mediator = self.backing_off(encode=raising(error))
            self.assertEqual(
                first_retry(self.outcome(mediator, message())), Retry(None, 1.5)
            )

    def test_circular(self) -> None:
        """
        So it is when a hook has put the task into itself.
        """
        mediator = self.backing_off()
        mediator.add_prehook(lambda task: task.update(task=task))
        self.assertEqual(
            first_retry(self.outcome(mediator, message())), Retry(None, 1.5)
        )

    def test_success(self) -> None:
        """
        A task that succeeds after failures is done.
        """
        mediator = self.backing_off(http=FakeHTTP(200))
        self.assertEqual(self.outcome(mediator, message(failures=7)), Done())

    def test_arguments_of_the_original(self) -> None:
        """
        The codec and the default URL can be given by position, too.
        """
        mediator = DelayOnErrorMediator(
            json.loads,
            json.dumps,
            "http://other.example/",
            constant=2,
            maxDelay=3,
            http=self.http,
            clock=self.clock,
            now=returning(NOW),
        )
        self.assertEqual(self.put_back(mediator, message(url="/x")).after, 2)
        self.assertEqual(self.http.requests[0].url, "http://other.example/x")
