"""
Tests for L{quebert.amqp.coordination._member_number}, with the broker in memory.
"""

from __future__ import annotations

from quebert.amqp.coordination._consumer_sign import ConsumerSign
from quebert.amqp.coordination._member_number import MemberNumber
from quebert.amqp.queues import CLASSIC
from quebert.test.memory_network import NetworkTestCase


class MemberNumberTests(NetworkTestCase):
    """
    Numbers of members.
    """

    def member(self) -> MemberNumber:
        """
        One more member.
        """
        return MemberNumber(
            lambda n: ConsumerSign(f"number-{n}", CLASSIC, exclusive=True)
        )

    def numbers(self, *members: MemberNumber) -> list[int | None]:
        """
        The numbers that members have when all have looked.
        """
        for each in members:
            self.result(each.take(self.wire, len(members)))
        return [each.value for each in members]

    def test_each(self) -> None:
        """
        Each member gets a number of its own, below their number, and keeps it.
        """
        members = [self.member() for _ in range(3)]
        self.assertEqual(members[0].value, None)
        first = self.numbers(*members)
        self.assertEqual(sorted(n for n in first if n is not None), [0, 1, 2])
        self.assertEqual(self.numbers(*members), first)

    def test_gone(self) -> None:
        """
        When some have gone, the others have the lowest numbers again; one that has a
        low number keeps it.
        """
        members = [self.member() for _ in range(5)]
        before = self.numbers(*members)
        for each in members[1:4:2]:
            self.result(each.leave())
            self.assertIsNone(each.value)
        left = members[::2]
        after = self.numbers(*left)
        self.assertEqual(sorted(n for n in after if n is not None), [0, 1, 2])
        for old, new in zip(before[::2], after, strict=True):
            if old is not None and old < 3:
                self.assertEqual(new, old)

    def test_left_meanwhile(self) -> None:
        """
        A member that leaves while it is about to take a number has none in the end.
        """
        for turns in range(12):
            leaving = self.member()
            taking = self.begin(leaving.take(self.wire, 2))
            for _ in range(turns):
                self.network.advance(0)
            self.result(leaving.leave())
            self.network.settle()
            self.successResultOf(taking)
            self.assertIsNone(leaving.value)
            others = [self.member(), self.member()]
            self.assertEqual(sorted(map(str, self.numbers(*others))), ["0", "1"])
            for each in others:
                self.result(each.leave())

    def test_none_free(self) -> None:
        """
        A member keeps a number that is too high until a lower one is free; so does one
        without a number.
        """
        first, second = members = self.member(), self.member()
        self.numbers(*members)
        high = first if first.value == 1 else second
        self.result(high.take(self.wire, 1))
        self.assertEqual(high.value, 1)
        late = self.member()
        self.result(late.take(self.wire, 2))
        self.assertIsNone(late.value)
        self.result(late.leave())
