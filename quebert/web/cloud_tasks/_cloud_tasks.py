"""
The methods of the Cloud Tasks API, over REST and gRPC alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quebert.web._tokens import Grant
from quebert.web.cloud_tasks._errors import CloudTasksError, Code

__all__ = ["CloudTasks"]


class CloudTasks:
    """
    Answers requests.
    """

    async def call(
        self, method: str, request: Mapping[str, Any], grant: Grant
    ) -> dict[str, Any]:
        """
        The answer to a request.

        @param method: the name of the rpc, such as C{"CreateTask"}.
        @param request: the request's message as proto JSON: keys in camelCase or as in
            the .proto, enums as numbers or names, bytes in base64, durations as
            C{"1.5s"}, times by RFC 3339.
        @param grant: the rights of the client.
        @return: the answer's message likewise; enums as names.
        @raise CloudTasksError: it is refused.
        """
        raise CloudTasksError(Code.UNIMPLEMENTED, f"there is no method {method}")
