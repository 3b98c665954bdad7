"""
Bodies of messages, of requests and of answers: what a mediator decodes and encodes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Union

from quebert import task as tasks
from quebert._bounds import memory_of, text_memory_of
from quebert.errors import BadTask
from quebert.mediator._describe import one_line
from quebert.task import Bounds, Task

__all__ = ["Codec", "Decode", "Encode"]

Decode = Callable[[bytes], Any]
Encode = Callable[[Task], Union[bytes, str]]


class Codec:
    """
    Translates between tasks and bytes.

    @param decode: from a body to a task.
    @param encode: from a task to a body.
    @ivar decode: the task in the body of a message.  Raises L{BadTask
        <quebert.errors.BadTask>}: the body is too large, nested too deeply, or of too
        many values; or it cannot be decoded.
    """

    decode: Callable[[bytes], Any]

    def __init__(self, decode: Decode, encode: Encode, bounds: Bounds) -> None:
        self._decode = decode
        self._encode = encode
        self._decodes_json = decode == tasks.decode
        self._is_json = self._decodes_json and encode == tasks.encode
        self.bounds = bounds

    # -- From a message

    @property
    def bounds(self) -> Bounds:
        """
        Those of tasks and of their fields; bodies of answers have the default ones.
        """
        return self._bounds

    @bounds.setter
    def bounds(self, bounds: Bounds) -> None:
        self._bounds = bounds
        if self._decodes_json:  # without a call in between: each message comes this way
            self.decode = partial(tasks.decode_bounded, bounds=bounds)
        else:
            self.decode = self._decode_by_theirs

    def _decode_by_theirs(self, body: bytes) -> Any:
        """
        The task in the body of a message, decoded by a function of the user's.
        """
        tasks.check_size(body, self._bounds)
        try:
            return self._decode(body)
        except BadTask:
            raise
        except Exception as e:
            raise BadTask(f"the body cannot be decoded: {one_line(e)}") from e

    def may_have(self, field: bytes, body: bytes) -> bool:
        """
        Whether a task may have a field, as far as that is seen without decoding it.
        """
        return tasks.may_hold(field, body) or not self._is_json

    def can_read_part(self, body: bytes) -> bool:
        """
        Whether of a body only the fields can be decoded that mediators read.
        """
        large = tasks.LARGE < len(body) <= self._bounds.body
        return large and self._is_json and tasks.CAN_READ_PART

    def read_part(self, body: bytes) -> Generator[None, None, Task]:
        """
        The fields of a task that mediators read, decoded in steps.

        @raise BadTask: the body has no task.
        """
        return tasks.read_part(body, self._bounds)

    def memory_of(self, body: bytes, in_part: bool) -> int:
        """
        Bytes of memory that the task in C{body} takes at most while it is at work.

        @param in_part: whether only the fields are decoded that mediators read.
        """
        size = len(body)
        # It is there as text, and about as many bytes.
        has_payload = tasks.may_hold(b'"payload"', body)
        if in_part:
            text = text_memory_of(body) if has_payload else 0
            return 2 * size + text  # as it came, and as it is sent
        return memory_of(body, self._bounds.values) + 2 * size * has_payload

    # -- To an executor, and to a message

    def encode(self, task: Task) -> bytes:
        """
        A task as a body; raises whatever the C{encode} of the user raises.
        """
        body = self._encode(task)
        return body.encode("utf-8") if isinstance(body, str) else body

    def encode_finite(self, task: Task) -> bytes:
        """
        The same for a task that has no number but finite ones: as JSON, C{null} costs
        nothing then.
        """
        return tasks.encode_finite(task) if self._is_json else self.encode(task)

    def body_for(self, task: Task, body: bytes) -> bytes:
        """
        The body to be sent of a task that came as C{body}: that, byte for byte, as it
        may have been signed, unless pre-hooks have changed the task.
        """
        now = self.encode(task)
        if not self._is_json:
            return now  # what other codecs write, executors get
        as_it_came = now == body or now == self.encode(self.decode(body))
        return body if as_it_came else now

    # -- From an executor

    def result(self, content: bytes) -> Any:
        """
        What post-hooks get of the body of an answer.  Nothing is known of its headers
        here, but in L{Attempt<quebert.mediator._attempt.Attempt>}.
        """
        if not content:
            return None
        try:
            return self._decode(content)
        except Exception:
            return content.decode("utf-8", "replace")
