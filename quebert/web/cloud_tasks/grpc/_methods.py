"""
The methods of Cloud Tasks v2 over gRPC: from bytes to proto JSON, and back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from google.protobuf.message import DecodeError

from quebert.web.cloud_tasks._errors import CloudTasksError, Code
from quebert.web.cloud_tasks.grpc._proto_json import MessageShape, shape_of
from quebert.web.cloud_tasks.grpc._schema import METHODS

__all__ = ["RemoteMethod", "methods", "status_bytes"]

_STATUS = shape_of("google.rpc.Status")


@attrs.frozen
class RemoteMethod:
    """
    A method of a service.

    @ivar name: such as C{CreateTask}.
    @ivar request: of its requests.
    @ivar answer: of its answers.
    """

    name: str
    request: MessageShape
    answer: MessageShape

    def read(self, sent: bytes) -> dict[str, Any]:
        """
        The message of a request as proto JSON.

        @raise CloudTasksError: it is none.
        """
        try:
            found: dict[str, Any] = self.request.read(self.request.parse(sent))
        except DecodeError:
            text = f"The request is not a message {self.request.name}."
            raise CloudTasksError(Code.INVALID_ARGUMENT, text) from None
        except ValueError as e:  # such as a time beyond all
            raise CloudTasksError(Code.INVALID_ARGUMENT, f"{e}") from None
        return found

    def write(self, answer: Mapping[str, Any]) -> bytes:
        """
        An answer as a message.

        @raise Exception: it is none.
        """
        written: bytes = self.answer.write(answer).SerializeToString()
        return written


def methods() -> Iterator[tuple[str, list[RemoteMethod]]]:
    """
    The methods of each service, with its name.
    """
    for service, table in METHODS.items():
        yield (
            service,
            [
                RemoteMethod(name, shape_of(request), shape_of(answer))
                for name, (request, answer) in table.items()
            ],
        )


def status_bytes(status: Mapping[str, Any]) -> bytes:
    """
    A C{google.rpc.Status} in proto JSON as its message.
    """
    written: bytes = _STATUS.write(status).SerializeToString()
    return written
