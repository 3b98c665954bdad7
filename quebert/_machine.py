"""
State machines as tables: for each event, the states in which it may happen, and the
state that follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Generic, TypeVar

__all__ = ["Machine", "Row", "WrongEvent", "rows"]

S = TypeVar("S", bound=IntEnum)
E = TypeVar("E", bound=IntEnum)


class WrongEvent(Exception):
    """
    An event happened in a state that has no such event: a fault of ours.
    """

    def __init__(self, event: IntEnum, state: IntEnum) -> None:
        super().__init__(f"{event.name} happened in state {state.name}")


class Row(dict[S, S]):
    """
    What one event leads to: C{row[state]} is the state that follows.

    @raise WrongEvent: the event may not happen in that state.
    """

    def __init__(self, event: IntEnum, states: Mapping[S, S]) -> None:
        super().__init__(states)
        self._event = event

    def __missing__(self, state: S) -> S:
        raise WrongEvent(self._event, state)


def rows(events: Iterable[E], table: Mapping[E, Mapping[S, S]]) -> tuple[Row[S], ...]:
    """
    The row of each event, for a machine on the hot path, which has no L{Machine}.
    """
    return tuple(Row(event, table[event]) for event in events)


class Machine(Generic[S, E]):
    """
    A state that events change, as a table says.

    @ivar state: the state.
    """

    def __init__(self, table: Mapping[E, Mapping[S, S]], state: S) -> None:
        self.state = state
        self._rows = {event: Row(event, states) for event, states in table.items()}

    def move(self, event: E) -> None:
        """
        An event has happened.

        @raise WrongEvent: it may not happen in this state; nothing has changed.
        """
        self.state = self._rows[event][self.state]
