"""
Tests for C{quebert.amqp.watch._consumer}: each row of the table of its states.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from quebert._machine import Machine, WrongEvent
from quebert.amqp.watch._consumer import Consumer
from quebert.amqp.watch._consumer_states import (
    DELIVERING,
    TABLE,
    WANTED,
    ConsumerEvent,
    ConsumerState,
)
from quebert.errors import ChannelLost


class FakeChannel:
    """
    A channel of which the test answers the calls.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self._answers: list[Deferred[None]] = []

    async def call(self, method: str, **arguments: Any) -> None:
        """
        Make a call.
        """
        if method == "basic_qos":
            return
        self.calls.append((method, arguments["consumer_tag"]))
        answer: Deferred[None] = Deferred()
        self._answers.append(answer)
        await answer

    def answer(self) -> None:
        """
        Answer the first call.
        """
        self._answers.pop(0).callback(None)

    def answer_all(self) -> None:
        """
        Answer all calls, and those that follow.
        """
        while self._answers:
            self.answer()

    def close(self) -> None:
        """
        The channel is gone.
        """
        answers, self._answers = self._answers, []
        for each in answers:
            each.errback(ChannelLost("gone"))


class FakeThrottles:
    """
    A rate.

    @ivar are_far: whether no message may begin soon.
    @ivar wakes: what is to be called when one may.
    """

    def __init__(self) -> None:
        self.are_far = False
        self.wakes: list[Callable[[], None]] = []

    def call_when_near(self, wake: Callable[[], None]) -> None:
        """
        The test calls it.
        """
        self.wakes.append(wake)

    def prefetch(self, most: int) -> int:
        """
        As many as the watch wants.
        """
        return most


def is_lost(failure: Failure) -> None:
    """
    The channel may be gone.
    """
    failure.trap(ChannelLost)


class ConsumerTestCase(SynchronousTestCase):
    """
    The consumer of a watch with a prefetch of 2.
    """

    def setUp(self) -> None:
        """
        Have a channel.
        """
        self.may_widen = True
        self.throttles = FakeThrottles()
        self.unsettled: dict[str, int] = {}
        self.waiting = 0
        self.crowded = False
        self.rested = 0
        self.consumer = self.made()
        self.prepare()

    def made(self, *, single: bool = False) -> Consumer:
        """
        A consumer of this watch.
        """
        return Consumer(
            "q",
            2,
            cast(Any, self.throttles),
            self.unsettled,
            may_widen=lambda: self.may_widen,
            waiting=lambda: self.waiting,
            crowded=lambda: self.crowded,
            rested=self.note_rest,
            single=single,
        )

    def prepare(self) -> None:
        """
        There is a channel.
        """
        self.channel = FakeChannel()
        self.addCleanup(self.channel.answer_all)  # nobody is to wait on
        self.successResultOf(
            Deferred.fromCoroutine(self.consumer.prepare(cast(Any, self.channel)))
        )

    def note_rest(self) -> None:
        """
        There is no consumer for now.
        """
        self.rested += 1

    @property
    def state(self) -> ConsumerState:
        """
        Where the consumer stands.
        """
        return self.consumer._machine.state

    @property
    def methods(self) -> list[str]:
        """
        What was called.
        """
        return [method for method, _ in self.channel.calls]

    def begin(self) -> Deferred[None]:
        """
        The watch wants deliveries.
        """
        return Deferred.fromCoroutine(self.consumer.begin()).addErrback(is_lost)

    def end(self) -> Deferred[None]:
        """
        It wants none.
        """
        return Deferred.fromCoroutine(self.consumer.end()).addErrback(is_lost)

    def use_up(self) -> None:
        """
        The messages of the consumer wait, and it can fetch no more.
        """
        self.unsettled[self.channel.calls[-1][1]] = self.waiting = 2
        self.consumer.adapt()

    def rest(self) -> None:
        """
        No message may begin soon.
        """
        self.throttles.are_far = True
        self.consumer.adapt()

    def wake(self) -> None:
        """
        A message may begin soon.
        """
        self.throttles.are_far = False
        self.throttles.wakes.pop()()

    def cancel(self) -> None:
        """
        RabbitMQ ends the consumer.
        """
        [*_, (_, tag)] = [each for each in self.channel.calls if "consume" in each[0]]
        self.assertTrue(self.consumer.was_ended(tag))

    def replace(self) -> None:
        """
        The queue is declared anew.
        """
        Deferred.fromCoroutine(self.consumer.replace())

    def lose(self) -> None:
        """
        The channel is gone.
        """
        self.channel.close()
        self.consumer.lost()

    def reach(self, state: ConsumerState) -> None:
        """
        A new consumer, in a state.
        """
        self.setUp()
        if state is ConsumerState.ABSENT:
            return
        self.begin()
        if state is not ConsumerState.STARTING:
            self.channel.answer()
        if state is ConsumerState.RENEWING:
            self.use_up()
        elif state is ConsumerState.RESTING:
            self.rest()
        elif state is ConsumerState.CANCELLED:
            self.cancel()
        elif state is ConsumerState.ENDING:
            self.end()
        self.assertIs(self.state, state)


class TableTests(ConsumerTestCase):
    """
    The states of a consumer.
    """

    def happen(self, event: ConsumerEvent) -> None:
        """
        Have an event happen, by what leads to it.
        """
        calls: dict[ConsumerEvent, Callable[[], object]] = {
            ConsumerEvent.BEGIN: self.begin,
            ConsumerEvent.RENEW: self.use_up,
            ConsumerEvent.REST: self.rest,
            ConsumerEvent.WAKE: self.consumer._wake,
            ConsumerEvent.CANCEL: self.cancel,
            ConsumerEvent.REPLACE: self.replace,
            ConsumerEvent.END: self.end,
            ConsumerEvent.LOSE: self.lose,
        }
        calls[event]()

    def test_rows(self) -> None:
        """
        Each event leads to the state that the table has.
        """
        elsewhere = {  # each has a test below
            (ConsumerEvent.REST, ConsumerState.STARTING),
            (ConsumerEvent.REST, ConsumerState.RENEWING),
            (ConsumerEvent.CANCEL, ConsumerState.ENDING),
            (ConsumerEvent.CANCEL, ConsumerState.RESTING),
            (ConsumerEvent.END, ConsumerState.CANCELLED),
        }
        answers = (ConsumerEvent.CONSUME, ConsumerEvent.RENEWED, ConsumerEvent.ENDED)
        for event, row in TABLE.items():
            for before, after in row.items():
                if event in answers:  # of RabbitMQ's
                    machine = Machine(TABLE, before)
                    machine.move(event)
                    self.assertIs(machine.state, after)
                elif (event, before) not in elsewhere:
                    self.reach(before)
                    self.happen(event)
                    self.assertIs(self.state, after, (event, before))

    def test_not_in_the_table(self) -> None:
        """
        No other event can be.
        """
        for event, row in TABLE.items():
            for before in set(ConsumerState) - set(row):
                machine = Machine(TABLE, before)
                self.assertRaises(WrongEvent, machine.move, event)

    def test_told(self) -> None:
        """
        It tells whether RabbitMQ delivers, and whether the watch wants that.
        """
        for state in ConsumerState:
            self.reach(state)
            self.assertEqual(self.consumer.consuming, state in DELIVERING)
            self.assertEqual(self.consumer.wanted, state in WANTED)


class ConsumingTests(ConsumerTestCase):
    """
    What RabbitMQ is asked for.
    """

    def test_before_there_is_a_channel(self) -> None:
        """
        As many messages are to be fetched as the watch wants.
        """
        consumer = self.made()
        self.assertEqual((consumer.prefetch_count, consumer.is_wide), (2, False))

    def test_ended_before_it_rests(self) -> None:
        """
        RabbitMQ may end a consumer that is to be cancelled, since the rate lets no
        message begin, while it answers another call.
        """
        self.reach(ConsumerState.RENEWING)
        self.end()
        self.begin()
        self.channel.answer()  # that there is another consumer
        self.rest()
        self.assertIs(self.state, ConsumerState.RESTING)
        self.cancel()
        self.assertIs(self.state, ConsumerState.RESTING)

    def test_far_at_the_beginning(self) -> None:
        """
        Where no message may begin soon, no consumer is asked for until one may.
        """
        self.throttles.are_far = True
        self.successResultOf(self.begin())
        self.assertEqual((self.state, self.methods), (ConsumerState.RESTING, []))
        self.wake()
        self.channel.answer()
        self.assertEqual(
            (self.state, self.methods), (ConsumerState.CONSUMING, ["basic_consume"])
        )

    def test_much_too_wide(self) -> None:
        """
        A consumer that fetches more than twice as many as wait is replaced, once no
        other has messages left.
        """
        for waiting, is_replaced in ((5, False), (4, True)):
            self.reach(ConsumerState.CONSUMING)
            self.unsettled[self.channel.calls[-1][1]] = 2
            self.waiting = 9
            self.consumer.adapt()
            self.channel.answer_all()
            self.assertTrue(self.consumer.is_wide)
            number = len(self.methods)
            self.waiting = waiting
            self.consumer.adapt()
            self.assertEqual(len(self.methods), number)  # the first has messages left
            self.unsettled.clear()
            self.consumer.adapt()
            self.assertEqual(len(self.methods) > number, is_replaced, waiting)

    def test_not_much_too_wide(self) -> None:
        """
        A consumer that fetches at most twice as many as usual is not wide: it stays,
        however few messages wait.
        """
        for waiting, is_wide in ((4, False), (5, True)):
            self.reach(ConsumerState.CONSUMING)
            self.assertFalse(self.consumer.is_wide)
            self.unsettled[self.channel.calls[-1][1]] = 2
            self.waiting = waiting
            self.consumer.adapt()
            self.channel.answer_all()
            self.assertIs(self.consumer.is_wide, is_wide, waiting)
            self.unsettled.clear()
            self.waiting, number = 0, len(self.methods)
            self.consumer.adapt()
            self.assertIs(len(self.methods) > number, is_wide, waiting)

    def test_crowded(self) -> None:
        """
        A consumer that has fetched messages in vain is replaced if it fetches any more
        than usual.
        """
        for waiting, crowded, is_replaced in (
            (3, False, False),
            (3, True, True),
            (2, True, False),
        ):
            self.reach(ConsumerState.CONSUMING)
            self.unsettled[self.channel.calls[-1][1]] = 2
            self.waiting = waiting
            self.consumer.adapt()
            self.channel.answer_all()
            self.unsettled.clear()
            self.waiting, self.crowded, number = 0, crowded, len(self.methods)
            self.consumer.adapt()
            self.assertIs(len(self.methods) > number, is_replaced, (waiting, crowded))

    def test_not_rested_while_renewing(self) -> None:
        """
        What waits is not given back while there is a consumer.
        """
        self.reach(ConsumerState.RENEWING)
        self.rest()
        self.assertEqual(self.rested, 0)
        self.channel.answer_all()
        self.assertEqual(self.rested, 1)

    def test_used_up(self) -> None:
        """
        Another consumer takes over when all of the prefetch is used up, not before.
        """
        for unsettled, is_renewed in ((1, False), (2, True), (3, True)):
            self.reach(ConsumerState.CONSUMING)
            self.unsettled[self.channel.calls[-1][1]] = unsettled
            self.waiting = 1
            self.consumer.adapt()
            self.assertEqual(self.state is ConsumerState.RENEWING, is_renewed)

    def test_no_room(self) -> None:
        """
        Nor where the watch does not want more.
        """
        self.reach(ConsumerState.CONSUMING)
        self.may_widen = False
        self.use_up()
        self.assertIs(self.state, ConsumerState.CONSUMING)

    def test_channel_gone_while_another_takes_over(self) -> None:
        """
        Where the channel is lost before it is the turn of the call, none is made.
        """
        self.reach(ConsumerState.CONSUMING)
        self.successResultOf(self.consumer._calling.acquire())
        self.use_up()
        self.consumer.lost()
        number = len(self.methods)
        self.consumer._calling.release()
        self.assertEqual(
            (len(self.methods), self.state), (number, ConsumerState.ABSENT)
        )

    def test_fault(self) -> None:
        """
        A fault that is not the broker's is not hidden.
        """
        self.reach(ConsumerState.CONSUMING)
        self.use_up()
        self.channel._answers.pop(0).errback(ValueError("fault"))
        gc.collect()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_single(self) -> None:
        """
        Where RabbitMQ delivers to one consumer at a time, another does not take over.
        """
        self.consumer = self.made(single=True)
        self.prepare()
        self.reach_consuming()
        self.use_up()
        self.assertIs(self.state, ConsumerState.CONSUMING)

    def reach_consuming(self) -> None:
        """
        It consumes.
        """
        self.begin()
        self.channel.answer()

    def test_far_while_renewing(self) -> None:
        """
        Where that is found as another consumer is to take over, there is none.
        """
        self.reach(ConsumerState.CONSUMING)
        self.successResultOf(self.consumer._calling.acquire())  # another call is made
        self.use_up()
        self.assertIs(self.state, ConsumerState.RENEWING)
        self.throttles.are_far = True
        self.consumer._calling.release()
        self.channel.answer_all()
        self.assertIs(self.state, ConsumerState.RESTING)
        self.assertEqual(self.methods, ["basic_consume", "basic_cancel"])

    def test_ended_before_another_takes_over(self) -> None:
        """
        Nor where the watch wants no deliveries any more by then.
        """
        self.reach(ConsumerState.CONSUMING)
        self.successResultOf(self.consumer._calling.acquire())  # another call is made
        self.use_up()
        ended = self.end()
        self.consumer._calling.release()
        self.channel.answer_all()
        self.successResultOf(ended)
        self.assertEqual(self.methods, ["basic_consume", "basic_cancel"])

    def test_renewed(self) -> None:
        """
        Another consumer takes over, and then the one before is cancelled.
        """
        self.reach(ConsumerState.RENEWING)
        self.channel.answer()
        self.assertIs(self.state, ConsumerState.RENEWING)
        self.channel.answer()
        self.assertIs(self.state, ConsumerState.CONSUMING)
        (_, first), (_, second), cancelled = self.channel.calls
        self.assertNotEqual(first, second)
        self.assertEqual(cancelled, ("basic_cancel", first))

    def test_ended_while_renewing(self) -> None:
        """
        Both are cancelled when the watch wants no deliveries any more.
        """
        self.reach(ConsumerState.RENEWING)
        ended = self.end()
        self.channel.answer_all()
        self.successResultOf(ended)
        self.assertIs(self.state, ConsumerState.ABSENT)
        (_, first), (_, second), *cancelled = self.channel.calls
        self.assertEqual(cancelled, [("basic_cancel", first), ("basic_cancel", second)])

    def test_begun_again_while_renewing(self) -> None:
        """
        The consumer that has taken over remains if the watch wants deliveries again
        before it was cancelled.
        """
        self.reach(ConsumerState.RENEWING)
        self.channel.answer()
        ended, begun = self.end(), self.begin()
        self.channel.answer_all()
        self.successResultOf(ended)
        self.successResultOf(begun)
        self.assertIs(self.state, ConsumerState.CONSUMING)
        self.assertEqual(
            self.methods, ["basic_consume", "basic_consume", "basic_cancel"]
        )

    def test_cancelled_while_ending(self) -> None:
        """
        RabbitMQ may end a consumer that is to be cancelled: it need not be.
        """
        self.reach(ConsumerState.STARTING)
        ended = self.end()
        self.cancel()
        self.assertIs(self.state, ConsumerState.ENDING)
        self.channel.answer()
        self.successResultOf(ended)
        self.assertEqual(
            (self.state, self.methods), (ConsumerState.ABSENT, ["basic_consume"])
        )

    def test_not_renewed(self) -> None:
        """
        The channel may be lost before another consumer has taken over.
        """
        self.reach(ConsumerState.RENEWING)
        self.channel.close()
        self.assertIs(self.state, ConsumerState.CONSUMING)
        self.lose()
        self.prepare()
        self.begin()
        self.channel.answer()
        self.assertIs(self.state, ConsumerState.CONSUMING)

    def test_ended_while_starting(self) -> None:
        """
        A consumer is not cancelled before RabbitMQ has told that there is one.
        """
        self.reach(ConsumerState.STARTING)
        ended = self.end()
        self.assertEqual(self.methods, ["basic_consume"])
        self.channel.answer()
        self.assertIs(self.state, ConsumerState.ENDING)
        self.assertEqual(self.methods, ["basic_consume", "basic_cancel"])
        self.channel.answer()
        self.successResultOf(ended)
        self.assertIs(self.state, ConsumerState.ABSENT)

    def test_begun_again_while_starting(self) -> None:
        """
        One that is wanted again before it was cancelled remains.
        """
        self.reach(ConsumerState.STARTING)
        ended, begun = self.end(), self.begin()
        self.channel.answer()
        self.successResultOf(ended)
        self.successResultOf(begun)
        self.assertEqual(
            (self.state, self.methods), (ConsumerState.CONSUMING, ["basic_consume"])
        )

    def test_begun_again_while_ending(self) -> None:
        """
        There is another one once the one before is cancelled.
        """
        self.reach(ConsumerState.ENDING)
        begun = self.begin()
        self.channel.answer_all()
        self.successResultOf(begun)
        self.assertIs(self.state, ConsumerState.CONSUMING)
        self.assertEqual(
            self.methods, ["basic_consume", "basic_cancel", "basic_consume"]
        )

    def test_woken_while_resting(self) -> None:
        """
        So it is where a message may begin soon after all.
        """
        self.reach(ConsumerState.RESTING)
        self.wake()
        self.channel.answer_all()
        self.assertIs(self.state, ConsumerState.CONSUMING)
        self.assertEqual(
            self.methods, ["basic_consume", "basic_cancel", "basic_consume"]
        )

    def test_ended_while_resting(self) -> None:
        """
        It is cancelled once, and does not wake.
        """
        self.reach(ConsumerState.RESTING)
        ended = self.end()
        self.channel.answer()
        self.successResultOf(ended)
        self.wake()
        self.assertIs(self.state, ConsumerState.ABSENT)
        self.assertEqual(self.methods, ["basic_consume", "basic_cancel"])

    def test_another_was_ended(self) -> None:
        """
        That RabbitMQ has ended another consumer changes nothing.
        """
        for state in ConsumerState:
            self.reach(state)
            self.assertFalse(self.consumer.was_ended("another"))
            self.assertFalse(self.consumer.was_ended(""))
            self.assertIs(self.state, state)

    def test_cancelled_for_good(self) -> None:
        """
        One that RabbitMQ has ended is neither cancelled nor replaced if the watch wants
        no deliveries any more.
        """
        self.reach(ConsumerState.CANCELLED)
        self.successResultOf(self.end())
        self.replace()
        self.assertEqual(
            (self.state, self.methods), (ConsumerState.ABSENT, ["basic_consume"])
        )

    def test_rested(self) -> None:
        """
        The watch is told when there is no consumer because of the rate.
        """
        self.reach(ConsumerState.CONSUMING)
        self.consumer.adapt()
        self.assertEqual(self.rested, 0)
        self.rest()
        self.assertEqual(self.rested, 1)
