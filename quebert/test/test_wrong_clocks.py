"""
When a delayed message is due although a clock is wrong: a small model of the true time,
and of the clocks of those who send a message, pass it on and take it.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.properties import encode_properties
from quebert.amqp import Message
from quebert.amqp.delays._due import TOLERANCE, due_in, next_wait
from quebert.amqp.delays._rungs import Rungs, wait_for
from quebert.amqp.wire import DELAY, NOT_BEFORE
from quebert.test.checks import QUICK

DAY = 86_400.0
# When the message is sent, by the true clock.
_SENT = 1e9
# Seconds by which sums of such times are inexact.
_ROUNDING = 1e-3

#: Seconds in which a message is due, ...
delays = st.one_of(st.floats(1, 200), st.floats(1, 30 * DAY))
#: ... by which a clock is wrong, ...
offsets = st.one_of(st.floats(-1_000, 1_000), st.floats(-30 * DAY, 30 * DAY))
ahead = st.one_of(st.floats(0, 1_000), st.floats(0, 30 * DAY))
#: ... until a message is taken that has come out of its rung, ...
moments = st.floats(0, 0.5)
#: ... and for which RabbitMQ is down, or nobody takes messages.
outages = st.one_of(st.floats(2, 1_000), st.floats(2, 30 * DAY))


def arrived(not_before: float, delay: float, wait: int, died_at: float) -> Message:
    """
    A message that comes from a rung.
    """
    rung = Rungs(quorum=True).name(wait)
    moment = datetime.fromtimestamp(math.floor(died_at), UTC)
    death = {"count": 1, "reason": "expired", "queue": rung, "time": moment}
    headers = {
        NOT_BEFORE: not_before,
        DELAY: delay,
        "x-death": [{**death, "exchange": rung, "routing-keys": ["tasks"]}],
    }
    message = Message("tag", 7, False, "quebert.delay.arrivals", "tasks")
    message.encoded_properties = encode_properties({"headers": headers})
    return message


@attrs.frozen
class World:
    """
    Clocks by how many seconds they are ahead of the true time, and what goes wrong.

    @ivar sender: of the mediator that delays the message.
    @ivar broker: of RabbitMQ, when the message comes out of each rung; then the last.
    @ivar takers: of the mediator that takes it from each rung; then the last.
    @ivar moment: seconds until a message is taken.
    @ivar down: seconds for which it stays longer in its first rung.
    @ivar unwatched: seconds for which nobody takes it from there.
    """

    sender: float = 0.0
    broker: tuple[float, ...] = (0.0,)
    takers: tuple[float, ...] = (0.0,)
    moment: float = 0.0
    down: float = 0.0
    unwatched: float = 0.0

    def lateness(self, delay: float) -> float:
        """
        By how many seconds a message comes too late by the true clock.
        """
        not_before = _SENT + self.sender + delay
        now, early, wait = _SENT, delay, wait_for(delay)
        once = [(self.down, self.unwatched)]
        for n in range(10_000):
            down, unwatched = once.pop() if once else (0.0, 0.0)
            now += wait + down
            died_at = now + self.broker[min(n, len(self.broker) - 1)]
            now += self.moment + unwatched
            told = now + self.takers[min(n, len(self.takers) - 1)]
            message = arrived(not_before, early, wait, died_at)
            early = due_in(message, told, 0.0)
            if early <= 0:
                return now - _SENT - delay
            wait = wait_for(next_wait(message, told, early))
        raise AssertionError("it is never due")


class WrongClockTests(SynchronousTestCase):
    """
    One clock is wrong.
    """

    def test_retry(self) -> None:
        """
        A mediator whose clock is ten minutes ahead takes the retry of another one
        from its first rung, six seconds before it is due: it waits for the rest.
        """
        for offset in (3.0, 60.0, 600.0, DAY):
            late = World(takers=(offset,)).lateness(70.0)
            self.assertTrue(-TOLERANCE <= late <= 1.0, (offset, late))

    @QUICK
    @given(delays, st.lists(offsets, min_size=1, max_size=4), moments)
    def test_taker(self, delay: float, takers: list[float], moment: float) -> None:
        """
        The clocks of the mediators that take it: it comes in no case too early.
        """
        late = World(takers=tuple(takers), moment=moment).lateness(delay)
        self.assertGreaterEqual(late, -TOLERANCE)

    @QUICK
    @given(delays, st.lists(ahead, min_size=1, max_size=4), moments)
    def test_taker_ahead(
        self, delay: float, takers: list[float], moment: float
    ) -> None:
        """
        Clocks that are ahead make it later by no more than a second, and what it takes
        to pass it on.
        """
        late = World(takers=tuple(takers), moment=moment).lateness(delay)
        self.assertLessEqual(late, 3.0)

    @QUICK
    @given(delays, st.lists(offsets, min_size=1, max_size=4), moments)
    def test_broker(self, delay: float, broker: list[float], moment: float) -> None:
        """
        RabbitMQ's clock, which may be set meanwhile: it comes in time.
        """
        late = World(broker=tuple(broker), moment=moment).lateness(delay)
        self.assertTrue(-_ROUNDING <= late <= 3.0, late)

    @QUICK
    @given(delays, ahead, moments)
    def test_sender_ahead(self, delay: float, sender: float, moment: float) -> None:
        """
        The clock of the mediator that delays it is ahead: it does not come too early.
        """
        late = World(sender=sender, moment=moment).lateness(delay)
        self.assertGreaterEqual(late, -_ROUNDING)


class OutageTests(SynchronousTestCase):
    """
    A message waits for longer than it should.
    """

    @QUICK
    @given(delays, outages, moments)
    def test_down(self, delay: float, down: float, moment: float) -> None:
        """
        RabbitMQ was down: what became due meanwhile comes at once.
        """
        world = World(down=down, moment=moment)
        late = world.lateness(delay) - max(0.0, wait_for(delay) + down - delay)
        self.assertTrue(-_ROUNDING <= late <= 3.0, late)

    @QUICK
    @given(delays, outages)
    def test_unwatched_for_long(self, delay: float, unwatched: float) -> None:
        """
        Nobody took it, and all clocks are right: after a wait of a second, RabbitMQ's
        clock tells that it is due.
        """
        late = World(unwatched=unwatched).lateness(delay)
        late -= max(0.0, wait_for(delay) + unwatched - delay)
        self.assertTrue(-_ROUNDING <= late <= 4.0, late)

    @QUICK
    @given(delays, outages, offsets)
    def test_unwatched(self, delay: float, unwatched: float, broker: float) -> None:
        """
        Nobody took it: it comes in no case too early, and it is not later by more than
        as long again.
        """
        world = World(unwatched=unwatched, broker=(broker,))
        late = world.lateness(delay) - max(0.0, wait_for(delay) + unwatched - delay)
        self.assertTrue(-_ROUNDING <= late <= unwatched + 3.0, late)

    @QUICK
    @given(delays, outages, moments)
    def test_last_rung(self, delay: float, unwatched: float, moment: float) -> None:
        """
        Nobody took it when it had waited for all of its delay, in a last rung: it is
        due at once.
        """
        delay = min(delay, 64.0)
        late = World(unwatched=unwatched, moment=moment).lateness(delay)
        self.assertLessEqual(late, unwatched + moment + 1.0 + _ROUNDING)


class MessageTests(SynchronousTestCase):
    """
    A message tells where and when it has died.
    """

    def left(self, delay: float, wait: int, died: float, now: float) -> float:
        """
        In how many seconds a message is due that was sent at C{_SENT}.
        """
        message = arrived(_SENT + delay, delay, wait, died)
        return due_in(message, now, 0.0)

    def test_last_rung(self) -> None:
        """
        It is due that comes from its last rung.
        """
        self.assertEqual(self.left(6.0, 6, _SENT + 6, _SENT + 6), 0.0)
        self.assertEqual(self.left(5.5, 6, _SENT + 6, _SENT + 600), 0.0)

    def test_clock_ahead(self) -> None:
        """
        It has the rest left that comes from another rung, whatever our clock says, ...
        """
        died = _SENT + 64.2
        self.assertEqual(self.left(70.0, 64, died, died + 600), 6.0)
        self.assertEqual(self.left(50.0, 32, _SENT + 32, _SENT + 632), 18.0)

    def test_was_down(self) -> None:
        """
        ... unless RabbitMQ's clock tells that it came out of there later.
        """
        died = _SENT + 664
        self.assertLessEqual(self.left(70.0, 64, died, died), 0.0)
        self.assertEqual(self.left(70.0, 64, _SENT + 67, _SENT + 667), 3.0)

    def test_broker_unlike_sender(self) -> None:
        """
        ... or its clock does not fit that of the sender.
        """
        died = _SENT - 536
        self.assertLessEqual(self.left(70.0, 64, died, _SENT + 75), 0.0)
