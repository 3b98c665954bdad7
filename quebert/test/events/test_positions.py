"""
Tests for L{quebert.events._positions}.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from quebert.events import AttemptBatch, Gap
from quebert.events._positions import MOST, Positions
from quebert.test.events.strategies import record


def batch(total: int, records: int = 10, **fields: Any) -> AttemptBatch:
    """
    A batch, so many records of which end with the given total.
    """
    made = AttemptBatch(
        mediator="m",
        sequence=1,
        at=float(total),
        records=(record(),) * records,
        total=total,
    )
    return attrs.evolve(made, **fields)


class PositionsTests(SynchronousTestCase):
    """
    How far a reader has got.
    """

    def test_in_order(self) -> None:
        """
        Where a batch follows the one before, nothing is missing, and none is known.
        """
        positions = Positions({})
        for each in (batch(500), batch(510), batch(510, 0), batch(515, 5)):
            self.assertIsNone(positions.gap_before(each))
            positions.passed(each)
        self.assertTrue(positions.is_known(batch(515, 5)))
        self.assertTrue(positions.is_known(batch(500)))
        self.assertFalse(positions.is_known(batch(525)))
        self.assertFalse(positions.is_known(batch(500, mediator="other")))

    def test_gap(self) -> None:
        """
        A gap tells how many records are missing, and between which times, whoever has
        dropped them.
        """
        positions = Positions({})
        positions.passed(batch(500))
        for each in (batch(530), batch(530, dropped=20)):
            self.assertEqual(
                positions.gap_before(each),
                Gap(mediator="m", count=20, since=500.0, until=530.0),
            )

    def test_known_before(self) -> None:
        """
        A reader that has kept where it was misses what came meanwhile, and all that
        mediators have done which it has never met.
        """
        positions = Positions({"m": 500})
        self.assertTrue(positions.is_known(batch(500)))
        self.assertEqual(
            positions.gap_before(batch(530)),
            Gap(mediator="m", count=20, since=None, until=530.0),
        )
        gap = positions.gap_before(batch(11, mediator="other"))
        assert gap is not None
        self.assertEqual(gap.count, 1)
        self.assertIsNone(positions.gap_before(batch(10, mediator="other")))

    def test_bounded(self) -> None:
        """
        The mediators of long ago are forgotten.
        """
        positions = Positions({})
        for number in range(MOST + 1):
            positions.passed(batch(10, mediator=str(number)))
        self.assertFalse(positions.is_known(batch(10, mediator="0")))
        self.assertTrue(positions.is_known(batch(10, mediator="1")))
