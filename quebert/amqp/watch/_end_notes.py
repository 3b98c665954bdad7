"""
What a watch tells of a message that is settled for good: an end note, to whoever asked
for it by the property C{reply-to} (L{quebert.task_ends}), and the callback task that
the task of the message asks for (L{quebert.task_callbacks}).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from quebert._protocol.properties import decode_properties, encode_properties
from quebert.amqp.link import Send
from quebert.amqp.watch._properties import REASON_LIMIT, writable
from quebert.amqp.watch._side_queue import SideQueue
from quebert.boundaries import Message
from quebert.outcome import Bury, Discard, Done
from quebert.policy import History
from quebert.task_callbacks import CallbackTask
from quebert.task_ends import ENDED, EndNote, encode_end_note, sent_at
from quebert.task_events import EndedTask

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["MARK", "EndNotes", "callback_message", "wants_end_note"]

#: In the encoded properties of each message whose end is told.
MARK = ENDED.encode()

_PERSISTENT = encode_properties(
    {"delivery-mode": 2, "content-type": "application/json"}
)
_UNREADABLE: Mapping[str, Any] = {"headers": {}}
#: Notes that are published in one message at most.
MOST = 100


def wants_end_note(message: Message) -> bool:
    """
    Whether somebody wants an end note of a message.
    """
    properties = _properties_of(message)
    return properties.get("reply-to") == ENDED and bool(properties.get("message-id"))


def _properties_of(message: Message) -> Mapping[str, Any]:
    try:
        return message.properties
    except ValueError:  # then it has no uuid, either
        return _UNREADABLE


def callback_message(
    callback: CallbackTask, end: EndNote, encoded: bytes
) -> tuple[bytes, bytes]:
    """
    The body and the encoded properties of a callback task.

    @param encoded: the properties of the message of the task that has ended.  In a
        queue with priorities the callback task has the same one.
    """
    uuid, body = callback.told(end)
    own: dict[str, Any] = {
        "content-type": "application/json",
        "delivery-mode": 2,
        "message-id": uuid,
        "timestamp": int(end.ended),
    }
    with suppress(ValueError):
        own["priority"] = decode_properties(encoded).get("priority")
    return body, encode_properties(own)


class EndNotes:
    """
    Makes and publishes the end notes of the messages of one queue.

    @param now: the time of day, in seconds since the epoch.
    """

    def __init__(self, queue: str, now: Callable[[], float]) -> None:
        self._queue = queue
        self._now = now
        self._groups = NoteGroups()

    def note(
        self,
        message: Message,
        outcome: Done | Discard | Bury,
        attempt: EndedTask | None = None,
    ) -> EndNote:
        """
        The end of the task of a message.

        @param attempt: the last one at its task, if it is known.
        """
        kind, reason = "done", ""
        if not isinstance(outcome, Done):
            kind, reason = outcome.kind, writable(outcome.reason[:REASON_LIMIT])
        properties = _properties_of(message)
        told = _attempts(properties["headers"], outcome, attempt)
        return EndNote(
            uuid=str(properties.get("message-id", "")),
            queue=self._queue,
            outcome=kind,
            ended=self._now(),
            reason=reason,
            status=told.status,
            attempts=told.attempts,
            answers=told.answers,
            first_attempt=told.first if math.isfinite(told.first) else None,
            last_attempt=told.last if math.isfinite(told.last) else None,
            sent=sent_at(properties),
        )

    async def publish(self, wire: Wire, send: Send, note: EndNote) -> None:
        """
        Publish a note; returns when the broker has confirmed it.

        @param wire: the connection of the message.
        @raise BrokerError: it does not take it.
        """
        await self._groups.publish(wire, send, encode_end_note(note))


@attrs.frozen(eq=False)
class _WaitingNote:
    """
    A note that is to be published.
    """

    wire: Wire
    send: Send
    note: bytes


class NoteGroups:
    """
    Publishes notes, in one message at a time.  Those that come while it has no confirm
    are published together in the next one: so the more tasks end, the less each note
    costs, and none waits longer than for two confirms.
    """

    def __init__(self) -> None:
        self._side_queue = SideQueue(ENDED)
        self._waiting: dict[Deferred[None], _WaitingNote] = {}
        self._is_publishing = False

    def publish(self, wire: Wire, send: Send, note: bytes) -> Deferred[None]:
        """
        Publish a note; the Deferred fires when the broker has confirmed it.
        """
        published: Deferred[None] = Deferred(self._forget)
        self._waiting[published] = _WaitingNote(wire, send, note)
        self._publish_next()
        return published

    def _forget(self, published: Deferred[None]) -> None:
        """
        Nobody waits for a note any more: if it is not published yet, it need not be.
        """
        self._waiting.pop(published, None)

    def _publish_next(self) -> None:
        if self._is_publishing or not self._waiting:
            return
        self._is_publishing = True
        group = list(islice(self._waiting, MOST))
        waiting = [self._waiting.pop(each) for each in group]
        first, notes = waiting[0], b"\n".join([each.note for each in waiting])
        publishing = self._side_queue.publish(
            first.wire, first.send, notes, _PERSISTENT
        )
        Deferred.fromCoroutine(publishing).addBoth(self._published, group)

    def _published(
        self, result: Failure | None, group: Sequence[Deferred[None]]
    ) -> None:
        self._is_publishing = False
        for each in group:
            if not each.called:  # else nobody wants to know
                each.callback(result)
        self._publish_next()


def _attempts(
    headers: Mapping[str, Any],
    outcome: Done | Discard | Bury,
    attempt: EndedTask | None,
) -> History:
    """
    The attempts at a task, with the one that has ended it.
    """
    if attempt is None:  # no mediator, or it was decided without one
        given = outcome.headers if isinstance(outcome, Bury) else {}
        return History.read({**headers, **given})
    # Its number counts what the body of the task counts, too.
    before = attrs.evolve(History.read(headers), attempts=attempt.number - 1)
    if not attempt.has_begun:
        return before
    return before.failed(attempt.started, attempt.status)
