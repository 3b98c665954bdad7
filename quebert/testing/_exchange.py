"""
L{SimulatedRequest} and L{Answer}: what an executor gets, and what it answers.  Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

from quebert import task as tasks
from quebert.testing._added import decoded

__all__ = ["Answer", "SimulatedRequest"]


def _bytes(body: Any) -> bytes:
    """
    A text in UTF-8, bytes as they are, and all else as JSON.
    """
    if isinstance(body, bytes):
        return body
    return body.encode("utf-8") if isinstance(body, str) else tasks.encode(body)


@attrs.frozen
class Answer:
    """
    What an executor answers.

    @ivar status: of HTTP.
    @ivar body: bytes, or a text, or what JSON can hold.
    @ivar headers: such as C{{"Retry-After": "60"}}.
    @ivar seconds: that pass until it is there.  If these are more than a task's
        C{timeout}, the attempt fails without an answer.
    @ivar error: what the function or the application has raised, if it has.
    """

    status: int = 200
    body: bytes = attrs.field(default=b"", converter=_bytes)
    headers: Mapping[str, str] = attrs.field(factory=dict)
    seconds: float = 0.0
    error: BaseException | None = attrs.field(default=None, eq=False, repr=False)

    @property
    def text(self) -> str:
        """
        The body as text.
        """
        return self.body.decode("utf-8", "replace")


@attrs.frozen
class SimulatedRequest:
    """
    The request that a mediator makes for a task.

    @ivar method: such as C{"POST"}.
    @ivar url: the whole URL.
    @ivar headers: as the mediator and the task have them.
    @ivar body: the task; empty if the method has no body.
    """

    method: str
    url: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)

    @property
    def path(self) -> str:
        """
        That of the URL.
        """
        return urlsplit(self.url).path or "/"

    @property
    def task(self) -> dict[str, Any]:
        """
        The task in the body; empty if there is none, as with C{GET}.
        """
        return decoded(self.body)
