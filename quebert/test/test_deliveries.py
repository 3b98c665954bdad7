"""
L{quebert.amqp.watch._deliveries} with whatever happens to deliveries, in any order.

C{QUEBERT_DELIVERIES_EXAMPLES} is how many sequences are tried.
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from quebert.amqp.watch import Budget, DeliveredMessage
from quebert.amqp.wire import ALONE, ENDS, FLIGHT, IN_QUESTION, NOT_BEFORE
from quebert.errors import BrokerError, ChannelLost, MessageRefused, PublishRefused
from quebert.outcome import Bury, Discard, Done, Retry
from quebert.test.checks import EXAMPLES, QUICK
from quebert.test.test_watcher import START, WatcherTestCase

TRIED = int(os.environ.get("QUEBERT_DELIVERIES_EXAMPLES", str(EXAMPLES)))
FLIGHTS = ("a" * 32, "b" * 32)
#: By their names, the headers of messages, and whether they are delivered anew.
KINDS: dict[str, tuple[dict[str, Any] | None, bool]] = {
    "plain": (None, False),
    "anew": (None, True),
    "early": ({NOT_BEFORE: START + 100}, False),
    "counted": ({"x-delivery-count": 1}, True),
    "copy": ({ENDS: 1, FLIGHT: FLIGHTS[0]}, False),
    "copy anew": ({ENDS: 1, FLIGHT: FLIGHTS[0]}, True),
    "suspect": ({ENDS: 3, FLIGHT: FLIGHTS[1]}, False),
    "suspect anew": ({ENDS: 3, FLIGHT: FLIGHTS[1]}, True),
    "in question": ({ENDS: 3, FLIGHT: FLIGHTS[1], IN_QUESTION: 1}, False),
    "poison": ({ENDS: 9, ALONE: 2, FLIGHT: "c" * 32, IN_QUESTION: 1}, False),
}


class Oops(Exception):
    """
    What a callback raises.
    """


ANSWERS: tuple[Any, ...] = (
    Done(),
    Discard("no"),
    Bury("why"),
    Retry(),
    Retry(after=3),
    Retry(after=2000, attempted=False),
    Retry(otherwise=Retry(after=1)),
    "other",
    7,
    Oops(),
)
REFUSALS = (
    None,
    None,
    PublishRefused("full"),
    MessageRefused(311, "large"),
    ChannelLost("gone"),
)
#: What a callback does: answers later, at once, as others do, or does something else.
MANNERS = (
    ("asks",) * 9
    + ("later", "shared") * 3
    + ("now", "fails", "stops", "loses", "keeps on")
)
ACTIONS = {
    "deliver": st.tuples(
        st.sampled_from((*KINDS, *["plain"] * 6)),
        st.sampled_from(MANNERS),
        st.booleans(),
    ),
    "finish": st.tuples(st.integers(0, 3), st.sampled_from(ANSWERS)),
    "request": st.tuples(st.integers(0, 3), st.sampled_from("ab")),
    "confirm": st.tuples(st.integers(0, 2), st.sampled_from(REFUSALS)),
    "wait": st.tuples(st.sampled_from([0.3, 0.6, 2.0, 6.0, 30.0, 30.0, 300.0])),
    "lose": st.tuples(st.booleans()),
    "pause": st.tuples(st.booleans()),
    "hold": st.tuples(
        st.sampled_from(["basic_cancel", "channel_flow", "queue_declare"])
    ),
    "answer": st.tuples(),
    "cancel_consumer": st.tuples(),
    "stop": st.tuples(st.sampled_from([0.0, 1.0, 30.0])),
}
OFTEN = ("deliver",) * 25 + ("finish", "confirm", "wait") * 12 + ("request",) * 5
STEPS = st.lists(
    st.sampled_from((*ACTIONS, *OFTEN)).flatmap(
        lambda name: st.tuples(st.just(name), ACTIONS[name])
    ),
    min_size=20,
    max_size=60,
)
OPTIONS = st.fixed_dictionaries(
    {
        "prefetch": st.sampled_from([0, 1, 2, 2, 4]),
        "slow_after": st.sampled_from([None, 1.0, 9.0]),
        "hang_after": st.sampled_from([0.0, 5.0, 5.0]),
        "hold_up_to": st.sampled_from([0.0, 5.0, 900.0]),
        "queue_type": st.sampled_from([None, "quorum"]),
        "rate": st.sampled_from([None, None, None, "1/s", "2/m"]),
    }
)
#: One of these.
QUIET = {
    "prefetch": 2,
    "slow_after": None,
    "hang_after": 0.0,
    "hold_up_to": 5.0,
    "queue_type": None,
    "rate": None,
}


class AnyOrderTests(WatcherTestCase):
    """
    Tests with all that may happen to deliveries.
    """

    @example(
        [
            ("deliver", ("copy", "shared", False)),
            ("deliver", ("copy", "shared", False)),
        ],
        QUIET,
    )
    @example(
        [("deliver", ("plain", "asks", False))] * 2 + [("wait", (30.0,))],
        {**QUIET, "slow_after": 9.0, "hang_after": 5.0},
    )
    @given(STEPS, OPTIONS)
    @settings(QUICK, max_examples=TRIED)
    def check_steps(self, steps: list[Any], options: dict[str, Any]) -> None:
        """
        Do all that, then stop; what must hold is checked after each step.
        """
        gc.freeze()  # nothing of before is looked at again
        self.setUp()
        self.client.budget = Budget(300_000)
        self.manners: dict[bytes, str] = {}
        self.answered: list[Deferred[Any]] = []
        self.shared: Deferred[Any] | None = None
        self.done: Counter[bytes] = Counter()
        self.watcher = self.make(share_rate=False, **options)
        self.successResultOf(Deferred.fromCoroutine(self.watcher.start()))
        self.stopped: Deferred[None] | None = None
        for name, arguments in steps:
            getattr(self, f"do_{name}")(*arguments)
            self.check_step()
        self.finally_stop()

    def check_step(self) -> None:
        """
        Counts add up, nothing is acknowledged too early, and no fault is logged.
        """
        self.check()
        acked: Counter[bytes] = Counter()
        for channel in self.client.channels:
            self.assertEqual(len(channel.acked), len(set(channel.acked)))
            acked.update(channel.delivered[tag].body for tag in channel.acked)
        confirmed = Counter(p.body for p in self.client.publisher.confirmed)
        for body, number in acked.items():
            others = confirmed[b"other"]  # one of these may replace it
            self.assertLessEqual(number, self.done[body] + confirmed[body] + others)
        for answer in self.answered:
            result = getattr(answer, "result", None)
            self.assertNotIsInstance(result, Failure)
        self.flushLoggedErrors(Oops, TypeError)
        cancelled = self.flushLoggedErrors(CancelledError)
        self.assertTrue(self.stopped is not None or not cancelled)
        self.assertEqual(self.flushLoggedErrors(), [])

    def finally_stop(self) -> None:
        """
        Stop it, and end all callbacks: nothing is left.
        """
        self.do_stop(1.0)
        self.client.held.clear()
        for _ in range(8):
            self.advance(5)
        assert self.stopped is not None
        self.successResultOf(self.stopped)
        for _, answer in list(self.running):
            answer.callback(None)
        self.check_step()
        self.assertEqual(self.watcher.in_flight, 0)
        self.assertEqual(
            (self.client.budget.taken, self.client.budget.parts), (0, set())
        )
        self.assertFalse(self.client.one_suspect.wanted)
        self.client.suspects.warn_no_more()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.do_answer()
        while self.client.publisher.unconfirmed:
            self.client.publisher.confirm(ChannelLost("the end"))
        gc.collect()  # which logs faults that nobody has seen
        self.check_step()

    # -- What happens

    def do_deliver(self, kind: str, manner: str, large: bool) -> None:
        """
        RabbitMQ delivers a message, where it may.
        """
        channel = self.channel
        if channel.closed or channel.room() is None:
            return
        headers, anew = KINDS[kind]
        body = b"%d." % len(self.manners) + bytes(1000 * large)
        self.manners[body] = manner
        exchange = "" if headers and ENDS in headers else "flow"
        channel.deliver(body, headers, redelivered=anew, exchange=exchange)

    def callback(self, message: DeliveredMessage) -> Any:
        """
        Do with a message as it says.
        """
        manner = self.manners.get(message.body, "later")
        if manner == "now":
            self.done[message.body] += 1
            return None
        if manner == "fails":
            raise Oops
        if manner == "asks" and not message.may_request("http://a/"):
            return Retry(attempted=False)
        if manner == "shared" and self.shared is not None and not self.shared.called:
            return self.shared
        if manner == "stops":
            self.do_stop(1.0)
        elif manner == "loses" and self.stopped is None:
            self.do_lose(False)
        answer: Deferred[Any] = super().callback(message)
        if manner == "keeps on":
            answer = Deferred.fromCoroutine(self.keep_on(message, answer))
        self.answered.append(answer)
        if manner == "shared":
            self.shared = answer
        return answer

    async def keep_on(self, message: DeliveredMessage, answer: Deferred[Any]) -> Any:
        """
        Wait for an answer, whoever cancels that.
        """
        while True:
            try:
                return await answer
            except CancelledError:
                answer = super().callback(message)

    def do_finish(self, number: int, answer: Any) -> None:
        """
        A callback ends.
        """
        if not self.running:
            return
        message, answered = self.running[number % len(self.running)]
        if isinstance(answer, (Done, Discard)):
            for body, manner in self.manners.items():  # others may share it
                self.done[body] += body == message.body or manner == "shared"
        if isinstance(answer, BaseException):
            answered.errback(answer)
        else:
            answered.callback(answer)

    def do_request(self, number: int, host: str) -> None:
        """
        A callback makes a request, or ends if it may not.
        """
        if self.running:
            message, answered = self.running[number % len(self.running)]
            if not message.may_request(f"http://{host}/"):
                answered.callback(Retry(attempted=False))

    def do_confirm(self, number: int, problem: BrokerError | None) -> None:
        """
        RabbitMQ takes what was published, or not.
        """
        waiting = len(self.client.publisher.unconfirmed)
        if waiting:
            self.client.publisher.confirm(problem, which=number % waiting)

    def do_wait(self, seconds: float) -> None:
        """
        Time passes.
        """
        for _ in range(10):
            self.clock.advance(seconds / 10)

    def do_lose(self, connection: bool) -> None:
        """
        The channel is lost, or the connection.
        """
        (self.channel.lose_connection if connection else self.channel.lose)()

    def do_pause(self, pause: bool) -> None:
        """
        The queue is paused or resumed.
        """
        paused = self.client.pauses.paused
        (paused.add if pause else paused.discard)("queue")
        if (look := self.client.pauses.looks.get("queue")) is not None:
            look()

    def do_hold(self, method: str) -> None:
        """
        RabbitMQ answers later.
        """
        self.client.held.add(method)

    def do_answer(self) -> None:
        """
        RabbitMQ answers everything.
        """
        self.client.held.clear()
        for channel in list(self.client.channels):
            while channel.pending:
                channel.answer()

    def do_cancel_consumer(self) -> None:
        """
        The queue is gone, and with it the consumer.
        """
        if not self.channel.closed and self.channel.consumers:
            self.channel.cancel_consumer()

    def do_stop(self, grace: float) -> None:
        """
        The watch is stopped.
        """
        if self.stopped is None:
            self.stopped = self.watcher.stop(grace)

    def check_running(self, limit: int) -> None:
        """
        Late callbacks have left their places.
        """

    def test_any_order(self) -> None:
        """
        Whatever happens, in any order.
        """
        self.addCleanup(gc.unfreeze)
        self.check_steps()
