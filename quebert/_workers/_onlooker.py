"""
Who looks on what the workers tell.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed

__all__ = ["Onlooker"]


class Onlooker:
    """
    Is told, in the process of the supervisor, and does nothing: a class of one's own
    does more.
    """

    def start(self) -> None:
        """
        The workers are about to be started.

        @raise QuebertError: they cannot be; nothing is started then.
        """

    def told(self, worker: str, told: dict[str, Any]) -> None:
        """
        A worker tells how it is doing.

        @param worker: its name.
        @param told: what L{tell<quebert._workers.tell>} got there.
        """

    def ended(self, worker: str) -> None:
        """
        A worker has ended.
        """

    def reload(self) -> None:
        """
        The configuration is to be read again: the workers have been told.
        """

    def stopping(self) -> None:
        """
        The workers are about to be ended.
        """

    def stop(self) -> Deferred[None]:
        """
        The workers have ended; what is given fires once all is over.
        """
        return succeed(None)
