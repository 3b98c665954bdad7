"""
A request that was let in, with its caller and its rights.  Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import attrs

from quebert._bounds import SHORT_STRING
from quebert.web._exchange import APIProblem, APIRequest
from quebert.web._tokens import Grant

__all__ = ["RESERVED", "Call"]

#: How the names of queues begin that quebert, or RabbitMQ, has for itself.
RESERVED = ("quebert.", "amq.")


@attrs.frozen(kw_only=True)
class Call:
    """
    A request that was let in.

    @ivar names: the values of the names in the path, such as the queue.
    """

    request: APIRequest
    grant: Grant
    right: str
    names: Mapping[str, str]

    def check(self, queue: str) -> str:
        """
        Give C{queue}, if the right is there for it.  Nobody has a right to change
        those of L{RESERVED}: in them are tasks that are leased, or that wait.

        @raise APIProblem: it is not.
        """
        if not 0 < _length(queue) <= SHORT_STRING:
            text = f"no queue has such a name: it has 1 to {SHORT_STRING} bytes"
            raise APIProblem(HTTPStatus.NOT_FOUND, text)
        if not self.grant.allows(self.right, queue):
            text = f"the token does not allow to {self.right} the queue {queue!r}"
            raise APIProblem(HTTPStatus.FORBIDDEN, text)
        if self.right != "read" and queue.startswith(RESERVED):
            text = f"quebert or RabbitMQ has the queue {queue!r} for itself"
            raise APIProblem(HTTPStatus.FORBIDDEN, text)
        return queue

    def check_all(self) -> None:
        """
        See that the right is there for each queue.

        @raise APIProblem: it is not.
        """
        if not self.grant.is_for_all:
            text = "the token is for some queues alone"
            raise APIProblem(HTTPStatus.FORBIDDEN, text)

    @property
    def queue(self) -> str:
        """
        The queue in the path.
        """
        return self.names["queue"]


def _length(name: str) -> int:
    """
    Bytes of a name in AMQP; 0 for one with half a character, as JSON can have it.
    """
    try:
        return len(name.encode())
    except UnicodeEncodeError:
        return 0
