"""
Tests for C{quebert._machine}.
"""

from __future__ import annotations

from enum import IntEnum

from twisted.trial.unittest import SynchronousTestCase

from quebert._machine import Machine, WrongEvent, rows


class State(IntEnum):
    """
    Of a door.
    """

    OPEN = 0
    SHUT = 1


class Event(IntEnum):
    """
    What happens to it.
    """

    PUSH = 0
    PULL = 1


TABLE = {Event.PUSH: {State.OPEN: State.SHUT}, Event.PULL: {State.SHUT: State.OPEN}}


class MachineTests(SynchronousTestCase):
    """
    A state, and the events that change it.
    """

    def test_moves(self) -> None:
        """
        An event leads to the state that the table has.
        """
        machine = Machine(TABLE, State.OPEN)
        machine.move(Event.PUSH)
        self.assertIs(machine.state, State.SHUT)
        machine.move(Event.PULL)
        self.assertIs(machine.state, State.OPEN)

    def test_wrong_event(self) -> None:
        """
        An event that the table does not have is refused, and changes nothing.
        """
        machine = Machine(TABLE, State.OPEN)
        error = self.assertRaises(WrongEvent, machine.move, Event.PULL)
        self.assertEqual(str(error), "PULL happened in state OPEN")
        self.assertIs(machine.state, State.OPEN)

    def test_rows(self) -> None:
        """
        Each event has its row, in the order of the events.
        """
        push, pull = rows(Event, TABLE)
        self.assertIs(push[State.OPEN], State.SHUT)
        self.assertIs(pull[State.SHUT], State.OPEN)
        self.assertRaises(WrongEvent, lambda: push[State.SHUT])
