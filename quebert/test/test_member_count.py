"""
L{MemberCount<quebert.amqp.coordination._member_count.MemberCount>}: how many members
are believed in.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.coordination._member_count import MemberCount


class MemberCountTests(SynchronousTestCase):
    """
    More are believed at once, and fewer only after a while.
    """

    def count(self, *numbers: tuple[int, float]) -> list[int]:
        """
        What is believed after each of these counts, with its time.
        """
        found = []
        for number, now in numbers:
            self.members.counted(number, now)
            found.append(self.members.number)
        return found

    def setUp(self) -> None:
        self.members = MemberCount(1.0)

    def test_first(self) -> None:
        """
        The first count is believed; before it there is one member.
        """
        self.assertEqual((self.members.number, self.members.known), (1, False))
        self.assertEqual(self.count((7, 0.0)), [7])
        self.assertTrue(self.members.known)

    def test_more(self) -> None:
        """
        More are believed at once.
        """
        self.assertEqual(self.count((2, 0.0), (3, 0.0)), [2, 3])

    def test_fewer(self) -> None:
        """
        Fewer are believed when they were counted for a period.
        """
        self.assertEqual(self.count((3, 0), (2, 5), (2, 5.9), (2, 6)), [3, 3, 3, 2])

    def test_next_is_doubted_too(self) -> None:
        """
        Just after one is gone, another one is missed for a period first.
        """
        counts = (3, 0), (2, 1), (2, 2), (1, 2.1), (1, 3), (1, 3.1)
        self.assertEqual(self.count(*counts), [3, 3, 2, 2, 2, 1])

    def test_came_back(self) -> None:
        """
        One that comes back meanwhile was never missed, and the period begins anew.
        """
        counts = (3, 0), (2, 1), (3, 1.5), (2, 2.1), (2, 3), (2, 3.1)
        self.assertEqual(self.count(*counts), [3, 3, 3, 3, 3, 2])

    def test_no_answer(self) -> None:
        """
        A count of none is no answer, and the period begins anew after it.
        """
        counts = (3, 0), (2, 1), (0, 1.5), (2, 2.1), (2, 3), (2, 3.1)
        self.assertEqual(self.count(*counts), [3, 3, 3, 3, 3, 2])

    def test_no_answer_at_first(self) -> None:
        """
        Nothing is known after counts of none alone, and there is one member.
        """
        self.assertEqual(self.count((0, 0), (0, 1)), [1, 1])
        self.assertFalse(self.members.known)
        self.assertEqual(self.count((3, 2)), [3])
        self.assertTrue(self.members.known)

    def test_reopened(self) -> None:
        """
        Five seconds after we got another channel, others are expected back, too.
        """
        self.members.reopened(0)  # the first one
        self.assertEqual(self.count((3, 0), (2, 1), (2, 2)), [3, 3, 2])
        self.members.reopened(10)
        self.assertEqual(self.count((1, 10), (1, 14.9), (1, 15)), [2, 2, 1])
