"""
The tasks that a watch has, for those who ask about them.

Nothing is written down of a task for this: who asks has all deliveries looked through.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from quebert import task as tasks
from quebert.amqp.watch._delivery import State
from quebert.amqp.watch._handler import owner_of
from quebert.amqp.watch._questioning import (
    DROPPED,
    RETRYING,
    RETURNING,
    RUNNING,
    WAITING,
    HeldTask,
)
from quebert.boundaries import CancelMark
from quebert.errors import BadTask
from quebert.policy import ATTEMPTS

if TYPE_CHECKING:
    from quebert.amqp.watch._delivered_message import DeliveredMessage
    from quebert.amqp.watch._ledger import Ledger
    from quebert.amqp.watch._session import WatchSession
    from quebert.amqp.watch._settlement import Settlement

__all__ = ["HeldTasks", "heeds_cancelled", "identity_of"]

# A uuid that JSON has in one way alone: no program escapes these characters.
_PLAIN = re.compile(r"[A-Za-z0-9_.:-]+")
# How many tasks are told of.
_MOST_TOLD = 10_000
# To look for more uuids in a body takes longer than to decode it.
_FEW = 16
# Bytes of a body that is looked at where all tasks are asked for.
_LARGE = 65_536


@runtime_checkable
class Heeding(Protocol):
    """
    An object that looks into C{cancelled_tasks} of a message before it requests
    anything, such as a mediator.  If the callback of a watch is a method of such an
    object, the watch answers questions about its tasks.
    """

    heeds_cancelled: bool


def heeds_cancelled(callback: Callable[..., object]) -> bool:
    """
    Whether a callback attempts no task that is cancelled.
    """
    owner = owner_of(callback)
    return isinstance(owner, Heeding) and owner.heeds_cancelled


class HeldTasks:
    """
    @param at_work: the messages that are with the callback.
    @param cancelled: the tasks that are cancelled, by their uuids.
    @param consumers: tells how many consumers the broker counts.
    """

    def __init__(
        self,
        ledger: Ledger[DeliveredMessage],
        settlement: Settlement,
        at_work: Collection[DeliveredMessage],
        cancelled: Mapping[str, CancelMark],
        consumers: Callable[[], int],
        session: WatchSession,
        queue: str,
    ) -> None:
        self._ledger = ledger
        self._settlement = settlement
        self._at_work = at_work
        self._cancelled = cancelled
        self._consumers = consumers
        self._session = session
        self._queue = queue
        self._dropped: dict[str, HeldTask] = {}

    @property
    def consumers(self) -> int:
        """
        How many consumers the broker counts for the watch.
        """
        return self._consumers()

    def find(self, uuids: Collection[str] | None) -> list[HeldTask]:
        """
        See L{Holder.find<quebert.amqp.watch.Holder.find>}.
        """
        some = islice(self._messages(uuids), _MOST_TOLD)
        found = [self._held(*each) for each in some]
        return found if uuids is None else [*found, *self._gone(uuids)]

    def retry_now(self, uuids: Collection[str]) -> list[HeldTask]:
        """
        See L{Holder.retry_now<quebert.amqp.watch.Holder.retry_now>}.
        """
        found = list(self._messages(uuids))
        held = [self._held(*each) for each in found]
        for (*_, message), told in zip(found, held, strict=True):
            if message in self._settlement.waits.of_messages:
                self._settlement.waits.hasten(message)
            elif told.state == WAITING:  # it may be delayed: nobody has read it yet
                message.hastened = True
        return [*held, *self._gone(uuids)]

    def _gone(self, uuids: Collection[str]) -> list[HeldTask]:
        """
        Those of the tasks that were dropped.
        """
        gone = (self._dropped.get(each) for each in uuids)
        return [each for each in gone if each is not None]

    def dropped(self, message: DeliveredMessage) -> None:
        """
        The task of a message is cancelled, and about to be dropped.
        """
        uuid, url = identity_of(message.body)
        mark = self._cancelled.get(uuid)
        if mark is None or not mark.covers(message):  # its queue was purged
            return
        attempted = _was_attempted(message, bool(message.url))
        now = self._session.now()
        self._dropped.pop(uuid, None)  # the newest stand last
        self._dropped[uuid] = HeldTask(uuid, DROPPED, now, attempted, url)
        if len(self._dropped) > _MOST_TOLD:
            del self._dropped[next(iter(self._dropped))]
        if not message.redelivered:  # else a copy of it may come, too
            self._session.questions.met(self._queue, uuid)

    def _messages(
        self, uuids: Collection[str] | None
    ) -> Iterator[tuple[str, str, DeliveredMessage]]:
        """
        Messages, behind the uuids and the URLs of their tasks.
        """
        plain: list[bytes] | None = None
        few = uuids is not None and len(uuids) <= _FEW
        if uuids is not None and few and all(map(_PLAIN.fullmatch, uuids)):
            plain = [each.encode() for each in uuids]
        for message in list(self._ledger):
            body = message.body
            if plain is not None and not any(each in body for each in plain):
                continue
            if uuids is None and len(body) > _LARGE:  # to decode all takes too long
                continue
            uuid, url = identity_of(body)
            if uuids is None or uuid in uuids:
                yield uuid, url, message

    def _held(self, uuid: str, url: str, message: DeliveredMessage) -> HeldTask:
        clock = self._session.reactor
        since = self._session.now() - (clock.seconds() - message.came)
        state, attempted = self._state_of(message)
        return HeldTask(uuid, state, since, attempted, url)

    def _state_of(self, message: DeliveredMessage) -> tuple[str, bool | None]:
        settlement = self._settlement
        attempted = settlement.returning.get(message, False)
        if message in self._at_work and message.url:
            return RUNNING, True
        if message in settlement.waits.of_messages:
            return RETRYING, _was_attempted(message, attempted)
        if message in settlement.returning:
            return RETURNING, _was_attempted(message, attempted)
        attempted_before = _was_attempted(message)
        if self._ledger.state_of(message) in (State.REPLACING, State.HELD):
            if message.last_attempt is not None:  # its end is told
                has_begun = message.last_attempt.has_begun
                return RETURNING, True if has_begun else attempted_before
            return RETURNING, attempted_before or None  # as a copy, or to the dead
        return WAITING, attempted_before


def identity_of(body: bytes) -> tuple[str, str]:
    """
    The uuid and the URL of the task in C{body}; empty if it has none.
    """
    try:
        task: Any = tasks.decode(body)
    except BadTask:
        return "", ""
    if not isinstance(task, dict):
        return "", ""
    return _text(task.get("uuid")), _text(task.get("url"))


def _text(value: Any) -> str:
    if value is None or isinstance(value, (dict, list)):
        return ""
    return value if isinstance(value, str) else str(value)


def _was_attempted(message: DeliveredMessage, here: bool = False) -> bool | None:
    """
    Whether a task was attempted; C{None} if that may be, or may be going on.

    @param here: whether it was attempted since its message came.
    """
    if not message.may_have_past:
        return here
    if message.redelivered:
        return None
    return here or message.number_in(ATTEMPTS) > 0
