"""
Tests for L{quebert.mediator._parts}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert.mediator._parts import of_part


class Whole:
    """
    Something that is made of a part.
    """

    color: Any = of_part("_part.shade")

    def __init__(self, part: Any) -> None:
        self._part = part


class Part:
    """
    That part.
    """

    shade = "red"


class PartTests(SynchronousTestCase):
    """
    L{of_part}.
    """

    def test_both_ways(self) -> None:
        """
        The attribute is that of the part, for those who read and those who write it.
        """
        part = Part()
        whole = Whole(part)
        self.assertEqual(whole.color, "red")
        whole.color = "blue"
        self.assertEqual((part.shade, Part.shade), ("blue", "red"))
