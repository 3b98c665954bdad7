"""
A request to the API, and what may come of it, as values.  Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import attrs

__all__ = ["APICall", "LostAnswer", "Outcome", "OutgoingRequest", "ReceivedAnswer"]

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class OutgoingRequest:
    """
    A request.

    @ivar url: absolute, in ASCII.
    @ivar headers: beside the host and the length of the body.
    @ivar body: C{None} for none.
    @ivar repeatable: whether the API does the same, however often it gets this.
    """

    method: str
    url: str
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    body: bytes | None = attrs.field(default=None, repr=False)
    repeatable: bool = True


@attrs.frozen
class ReceivedAnswer:
    """
    An answer.

    @ivar retry_after: what its header C{Retry-After} says; empty without one.
    """

    status: int
    body: bytes
    retry_after: str = ""


@attrs.frozen
class LostAnswer:
    """
    There is no answer.

    @ivar why: such as "connection refused".
    @ivar sent: whether the API may have the request.
    @ivar final: whether it would be so again.
    """

    why: str
    sent: bool
    final: bool = False


#: What may come of a request.
Outcome = ReceivedAnswer | LostAnswer


def _never(result: object) -> bool:
    return False


@attrs.frozen(kw_only=True)
class APICall(Generic[T]):
    """
    A call.

    @ivar request: the request.
    @ivar read: from the JSON of its answer to the result; raises C{KeyError},
        C{TypeError} or C{ValueError} if the answer is another.
    @ivar key: the C{Idempotency-Key} of the request; C{None} for none.
    @ivar is_doubtful: whether a result is worth another request.
    """

    request: OutgoingRequest
    read: Callable[[Any], T]
    key: str | None = None
    is_doubtful: Callable[[T], bool] = _never
