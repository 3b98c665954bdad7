"""
The methods of Cloud Tasks v2 over gRPC: from bytes to proto JSON, and back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from quebert.web.cloud_tasks._errors import CloudTasksError, Code
from quebert.web.cloud_tasks.grpc._descriptors import POOL, message_class
from quebert.web.cloud_tasks.grpc._schema import METHODS

__all__ = ["RemoteMethod", "methods", "status_bytes"]

_STATUS = message_class("google.rpc.Status")


@attrs.frozen
class RemoteMethod:
    """
    A method of a service.

    @ivar name: such as C{CreateTask}.
    @ivar request: the class of the request's message.
    @ivar answer: that of the answer's.
    """

    name: str
    request: Any
    answer: Any

    def read(self, sent: bytes) -> dict[str, Any]:
        """
        The message of a request as proto JSON.

        @raise CloudTasksError: it is none.
        """
        try:
            message = self.request.FromString(sent)
        except DecodeError:
            name = self.request.DESCRIPTOR.full_name
            raise CloudTasksError(
                Code.INVALID_ARGUMENT, f"The request is not a message {name}."
            ) from None
        try:
            found: dict[str, Any] = json_format.MessageToDict(
                message, descriptor_pool=POOL
            )
        except (json_format.Error, ValueError) as e:  # such as a time beyond all
            raise CloudTasksError(Code.INVALID_ARGUMENT, f"{e}") from None
        return found

    def write(self, answer: Mapping[str, Any]) -> bytes:
        """
        An answer as a message.

        @raise Exception: it is none.
        """
        return _written(self.answer, answer)


def methods() -> Iterator[tuple[str, list[RemoteMethod]]]:
    """
    The methods of each service, with its name.
    """
    for service, table in METHODS.items():
        yield (
            service,
            [
                RemoteMethod(name, message_class(request), message_class(answer))
                for name, (request, answer) in table.items()
            ],
        )


def status_bytes(status: Mapping[str, Any]) -> bytes:
    """
    A C{google.rpc.Status} in proto JSON as its message.
    """
    return _written(_STATUS, status)


def _written(kind: Any, value: Mapping[str, Any]) -> bytes:
    message = json_format.ParseDict(value, kind(), descriptor_pool=POOL)
    written: bytes = message.SerializeToString()
    return written
