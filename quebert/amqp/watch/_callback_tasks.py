"""
The callback tasks of messages that a watch ends before its callback has seen them.

A callback of a watch is a function, and a callback task has nothing to do with it
(L{quebert.task_callbacks}).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from quebert.amqp.watch._handler import owner_of
from quebert.task_callbacks import CallbackTask

__all__ = ["CallbackIn", "callback_tasks_known_to"]

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


def callback_tasks_known_to(callback: Callable[..., object]) -> CallbackIn:
    """
    What tells the callback task of a message: the mediator whose method is C{callback},
    or else nobody: messages of others are no tasks.
    """
    owner = owner_of(callback)
    return owner.callback_in if isinstance(owner, Knowing) else _none


def _none(body: bytes) -> None:
    return None
