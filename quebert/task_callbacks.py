"""
Callback tasks: if a task has a C{callback_url}, another task tells its end.  Pure.

When the first task has ended for good, its callback task is published to the same
queue.  RabbitMQ has confirmed it before the message of the first task is acknowledged.
So a callback task may be there twice, if a mediator ends in between; both have the same
uuid, which is made of the first task's uuid and outcome.  If a dead letter is put back,
and is done then, it has another outcome, and so another callback task.

A callback task is an ordinary task without a C{callback_url}: a POST, whose fields are
those of C{CallbackTask._body}.  To add something that it tells: C{_body}, L{EndNote
<quebert.task_ends.EndNote>}, and the table in C{docs/callbacks.rst}.  To let a task
choose its method or headers: a field of tasks beside C{callback_url} (L{quebert.task},
C{task/_callback}), C{_FIELDS}, and C{_body}.

To add something that ends tasks: publish the message of L{callback_message
<quebert.amqp.watch.callback_message>} before the task is acknowledged, as
C{watch/_end_teller} does for mediators, C{operations/_taking} for tasks that are
cancelled in the broker, and C{web/cluster/_leases} for leases; simulations do the same
in C{testing/_memory_queue}.  Or tell in C{docs/callbacks.rst} that it has none, as for
a purge.
"""

from __future__ import annotations

import codecs
import uuid as uuids
from base64 import b64encode
from collections.abc import Callable
from typing import Any, Union

from quebert import task as tasks
from quebert._bounds import BOUNDS
from quebert._text import printable
from quebert.errors import BadTask
from quebert.task_ends import EndNote

__all__ = ["MOST_ANSWER", "CallbackTask", "callback_in"]

#: Bytes of the answer to a task that is done, which its callback task has at most.
MOST_ANSWER = 65_536

# Of the names from which the uuids of callback tasks are made.
_NAMESPACE = uuids.UUID("4816baa1-6158-5093-82f6-71b05a78c8f9")
_FIELDS = ("callback_url", "uuid", "callback_name")
# Levels of JSON in a task around its answer, and some that others may put around it.
_AROUND = 50
_ANSWER = tasks.Bounds(depth=BOUNDS.depth - _AROUND)
# Characters of the name that a task has in the HTTP API.
_NAME = 500

_Encode = Callable[[tasks.Task], Union[bytes, str]]
_Decoder = codecs.getincrementaldecoder("utf-8")


class CallbackTask:
    """
    The task that tells the end of another task, as far as it is known before that end.

    @ivar url: of the callback task.
    @ivar uuid: of the task that ends; empty where it has none.
    @ivar name: that it has in the HTTP API; empty for none.
    @ivar keeps_answer: whether the answer of its executor is told.
    @param encode: from a task to a body.
    @param max_body: bytes that a mediator takes at most.
    """

    def __init__(
        self,
        url: str,
        uuid: str = "",
        name: str = "",
        *,
        encode: _Encode = tasks.encode_finite,
        keeps_answer: bool = True,
        max_body: int = BOUNDS.body,
    ) -> None:
        self.url = url
        self.uuid = uuid
        self.name = name
        self.keeps_answer = keeps_answer
        self._encode = encode
        self._max_body = max_body
        self._answer = b""
        self._is_cut = False

    @classmethod
    def of_task(cls, task: tasks.Task, **options: Any) -> CallbackTask | None:
        """
        That of a task, whose C{callback_url} is good; C{None} where it asks for none.
        """
        url, uuid, name = (task.get(each) for each in _FIELDS)
        if url is None:
            return None
        name = name[:_NAME] if isinstance(name, str) else ""
        return cls(url, _known(uuid), name, **options)

    def answered(self, answer: bytes, is_cut: bool = False) -> bytes:
        """
        The executor has answered; the last answer counts.

        @param answer: its body.
        @param is_cut: whether that is only the beginning.
        @return: the body.
        """
        if self.keeps_answer:
            self._answer = answer[:MOST_ANSWER]
            self._is_cut = is_cut or len(answer) > MOST_ANSWER
        return answer

    def forget_answer(self) -> None:
        """
        Do not tell the answer: its message would be too large.
        """
        self._answer, self._is_cut = b"", bool(self._answer)

    def told(self, end: EndNote) -> tuple[str, bytes]:
        """
        The uuid and the body of the callback task.

        @param end: of the task; its uuid counts where the task itself has none.
        """
        uuid = self.uuid or end.uuid
        own = _uuid_of(uuid, end.outcome)
        body = self._body(end, uuid, own)
        if len(body) > self._max_body:
            self.forget_answer()
            body = self._body(end, uuid, own)
        return own, body

    def _body(self, end: EndNote, uuid: str, own: str) -> bytes:
        ended = _time(end.ended)
        params = {
            "uuid": uuid or None,
            "name": self.name or None,
            "queue": end.queue,
            "outcome": end.outcome,
            "reason": printable(end.reason) or None,
            "status": end.status,
            "answer": self._told_answer(),
            "attempts": end.attempts,
            "answers": end.answers,
            "first_attempt": _time(end.first_attempt),
            "last_attempt": _time(end.last_attempt),
            "ended": ended,
        }
        task = {"url": self.url, "params": params, "timestamp": ended, "uuid": own}
        try:
            body = self._encode(task)
        except Exception:  # a codec of a user, which may have no form for it
            body = tasks.encode(task)
        return body.encode("utf-8") if isinstance(body, str) else body

    def _told_answer(self) -> dict[str, Any] | None:
        cut = {"truncated": True} if self._is_cut else {}
        if not self._answer:
            return cut or None
        if not cut:
            try:
                return {"json": tasks.decode(self._answer, _ANSWER)}
            except BadTask:
                pass
        try:
            return {"text": _text(self._answer, bool(cut)), **cut}
        except ValueError:
            return {"base64": b64encode(self._answer).decode("ascii"), **cut}


def callback_in(body: bytes) -> CallbackTask | None:
    """
    The callback task that the task in C{body} asks for; C{None} where it asks for none,
    or its mediator would not take it for a task.
    """
    if not tasks.may_hold(b"callback_url", body):
        return None
    try:
        task = tasks.decode(body)
        if not isinstance(task, dict) or task.get("callback_url") is None:
            return None
        tasks.check_callback_url(task["callback_url"], "http://localhost/")
    except BadTask:
        return None
    return CallbackTask.of_task(task)


def _known(uuid: object) -> str:
    """
    The C{uuid} of a task, if it is one: what is set aside may have any.
    """
    if isinstance(uuid, str) and len(uuid) <= BOUNDS.uuid:
        return uuid
    return str(uuid) if isinstance(uuid, (int, float)) else ""


def _uuid_of(uuid: str, outcome: str) -> str:
    """
    The uuid of a callback task.  That of a task without a uuid is random: nobody knows
    of two such tasks whether they are the same.
    """
    if not uuid:
        return str(uuids.uuid4())
    name = f"{uuid} {outcome}".encode("utf-8", "replace").decode("utf-8")
    return str(uuids.uuid5(_NAMESPACE, name))


def _text(answer: bytes, is_cut: bool) -> str:
    """
    An answer as a text, without the half of a character at which it may be cut.

    @raise ValueError: it is no UTF-8.
    """
    return _Decoder().decode(answer, final=not is_cut)


def _time(when: float | None) -> str | None:
    try:
        return None if when is None else tasks.format_time(when)
    except (ValueError, OverflowError, OSError):  # anybody can write headers
        return None
