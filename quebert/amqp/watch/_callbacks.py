"""
How a watch learns of callback tasks that its callback has not told it of.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Protocol, runtime_checkable

from quebert.task_callbacks import CallbackTask

__all__ = ["CallbackIn", "callbacks_known_to"]

#: Tells the callback task that the task in a body asks for, if it asks for one.
CallbackIn = Callable[[bytes], CallbackTask | None]


@runtime_checkable
class Knowing(Protocol):
    """
    An object that knows the callback tasks of its tasks, such as a mediator.  If the
    callback of a watch is a method of such an object, the watch asks it.
    """

    def callback_in(self, body: bytes) -> CallbackTask | None:
        """
        The callback task that the task in a body asks for.
        """


def callbacks_known_to(callback: Callable[..., object]) -> CallbackIn:
    """
    What tells the callback task of a message: a mediator whose method is C{callback};
    messages of others are no tasks.
    """
    owner = callback.__self__ if isinstance(callback, MethodType) else None
    return owner.callback_in if isinstance(owner, Knowing) else _none


def _none(body: bytes) -> None:
    return None
