"""
A condition that must hold before a message begins; it is asked before the message is
known.
"""

from __future__ import annotations

from collections.abc import Callable

from quebert.amqp.wire import Message

__all__ = ["Door"]


class Door:
    """
    A door that is always open.

    @ivar again: set by the L{Places<quebert.amqp.watch._places.Places>}; called when
        they may ask again.
    """

    def __init__(self) -> None:
        self.again: Callable[[], None] = lambda: None

    def is_open(self) -> bool:
        """
        Whether the next message may begin now.  Where it may not, C{again} is called
        some time.
        """
        return True

    def entered(self) -> None:
        """
        One more message waits.
        """

    def begun(self, message: Message) -> None:
        """
        The one that has waited longest begins, as all doors were open.
        """

    def left(self, message: Message) -> None:
        """
        One that had begun leaves its place.
        """

    def withdrawn(self) -> None:
        """
        One that waited is gone, and has not begun.
        """

    def emptied(self) -> None:
        """
        Those that waited are gone.
        """
