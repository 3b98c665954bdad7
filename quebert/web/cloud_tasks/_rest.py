"""
The Cloud Tasks API over REST: from a request of HTTP to a method, and back.

Theory of operation.  The path of a request names a resource, which becomes a field of
the method's message; its query has other fields, and its body has all fields, or is one
of them (C{google.api.http} in the .proto files).  So a request is put together as the
JSON of its message, and goes the way that one over gRPC goes.

To add a method: L{quebert.web.cloud_tasks._cloud_tasks}, and a line of L{PATHS}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import attrs

from quebert.errors import BadTask
from quebert.task import decode
from quebert.web._exchange import APIAnswer, APIRequest
from quebert.web._tokens import Grant
from quebert.web.cloud_tasks._cloud_tasks import METHODS, CloudTasks
from quebert.web.cloud_tasks._errors import (
    CloudTasksError,
    Code,
    error_answer,
    in_googles_form,
)
from quebert.web.cloud_tasks._proto import fields_of, snake, written
from quebert.web.cloud_tasks._sentences import invalid

__all__ = ["PATHS", "CloudTasksREST", "RESTPath"]

#: Fields of a query that any of Google's APIs may have, and that change nothing here.
#: U{https://cloud.google.com/apis/docs/system-parameters}
_SYSTEM = frozenset(
    {
        "access_token",
        "alt",
        "callback",
        "fields",
        "key",
        "oauth_token",
        "prettyPrint",
        "quotaUser",
        "uploadType",
        "upload_protocol",
    }
)
_API_KEY, _AUTHORIZATION = "x-goog-api-key", "authorization"
# Characters of a path; each of its names has less.
_LONGEST = 4_096


@attrs.frozen
class RESTPath:
    """
    A method of HTTP and a path, and the method that they mean.

    @ivar method: of HTTP.
    @ivar resource: the path behind C{/v2/} that names a resource, with C{*} for each
        name in it.
    @ivar rest: what follows it: a collection, or a verb behind a colon.
    @ivar rpc: the method.
    @ivar field: where the name of the resource goes, such as C{queue.name}.
    @ivar body: the field that the body is; C{*} for all, empty for none.
    """

    method: str
    resource: str
    rest: str
    rpc: str
    field: str
    body: str = ""
    _pattern: re.Pattern[str] = attrs.field(init=False, eq=False, repr=False)

    @_pattern.default
    def _compiled(self) -> re.Pattern[str]:
        path = self.rest.partition(":")[0]
        names = re.escape(self.resource).replace(r"\*", "[^/]+")
        return re.compile(f"({names}){re.escape(path)}", re.DOTALL)

    @property
    def verb(self) -> str:
        """
        The part after the colon.
        """
        return self.rest.partition(":")[2]

    def resource_in(self, path: str) -> str | None:
        """
        The name of the resource in a path; C{None} if that is another path.
        """
        found = self._pattern.fullmatch(path)
        return None if found is None else found[1]


_PROJECT = "projects/*"
_LOCATION = f"{_PROJECT}/locations/*"
_QUEUE = f"{_LOCATION}/queues/*"
_TASK = f"{_QUEUE}/tasks/*"
_CMEK = f"{_LOCATION}/cmekConfig"
#: All paths.
PATHS = (
    RESTPath("POST", _LOCATION, "/queues", "CreateQueue", "parent", "queue"),
    RESTPath("GET", _LOCATION, "/queues", "ListQueues", "parent"),
    RESTPath("GET", _QUEUE, "", "GetQueue", "name"),
    RESTPath("PATCH", _QUEUE, "", "UpdateQueue", "queue.name", "queue"),
    RESTPath("DELETE", _QUEUE, "", "DeleteQueue", "name"),
    RESTPath("POST", _QUEUE, ":pause", "PauseQueue", "name", "*"),
    RESTPath("POST", _QUEUE, ":resume", "ResumeQueue", "name", "*"),
    RESTPath("POST", _QUEUE, ":purge", "PurgeQueue", "name", "*"),
    RESTPath("POST", _QUEUE, ":getIamPolicy", "GetIamPolicy", "resource", "*"),
    RESTPath("POST", _QUEUE, ":setIamPolicy", "SetIamPolicy", "resource", "*"),
    RESTPath(
        "POST", _QUEUE, ":testIamPermissions", "TestIamPermissions", "resource", "*"
    ),
    RESTPath("POST", _QUEUE, "/tasks", "CreateTask", "parent", "*"),
    RESTPath("GET", _QUEUE, "/tasks", "ListTasks", "parent"),
    RESTPath("POST", _QUEUE, "/tasks:batchCreate", "BatchCreateTasks", "parent", "*"),
    RESTPath("POST", _QUEUE, "/tasks:batchDelete", "BatchDeleteTasks", "parent", "*"),
    RESTPath("GET", _TASK, "", "GetTask", "name"),
    RESTPath("DELETE", _TASK, "", "DeleteTask", "name"),
    RESTPath("POST", _TASK, ":run", "RunTask", "name", "*"),
    RESTPath("GET", _PROJECT, "/locations", "ListLocations", "name"),
    RESTPath("GET", _LOCATION, "", "GetLocation", "name"),
    RESTPath("GET", f"{_LOCATION}/operations/*", "", "GetOperation", "name"),
    RESTPath("GET", _CMEK, "", "GetCmekConfig", "name"),
    RESTPath("PATCH", _CMEK, "", "UpdateCmekConfig", "cmek_config.name", "cmek_config"),
)


class CloudTasksREST:
    """
    Answers requests whose paths begin with C{/v2/}: an L{OtherAPI
    <quebert.web._boundaries.OtherAPI>}.
    """

    def __init__(self, cloud_tasks: CloudTasks) -> None:
        self._cloud_tasks = cloud_tasks

    def prepared(self, request: APIRequest) -> APIRequest:
        """
        A request whose token is an API key, with it as a bearer's token.
        """
        key = request.headers.get(_API_KEY)
        if key is None or _AUTHORIZATION in request.headers:
            return request
        headers = {**request.headers, _AUTHORIZATION: f"Bearer {key}"}
        return attrs.evolve(request, headers=headers)

    def formed(self, answer: APIAnswer) -> APIAnswer:
        """
        An answer of the server, in Google's form.
        """
        return in_googles_form(answer)

    async def answer(self, request: APIRequest, grant: Grant) -> APIAnswer:
        """
        The answer to a request.

        @param grant: the rights of its sender.
        """
        try:
            path, resource = _path_of(request)
            message = _message(request, path, resource)
            found = await self._cloud_tasks.answered(path.rpc, message, grant)
        except CloudTasksError as e:
            return error_answer(e)
        plain = written(found, as_numbers=_wants_numbers(request))
        text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
        return APIAnswer(body=text.encode("utf-8", "replace"))


def _path_of(request: APIRequest) -> tuple[RESTPath, str]:
    """
    Which method a request is for, and the resource that it names.

    @raise CloudTasksError: there is none.
    """
    names = request.path[1:]
    path = "/".join(names)
    if len(path) <= _LONGEST and not any("/" in each for each in names):
        method = "GET" if request.method == "HEAD" else request.method
        for each in PATHS:
            if each.method == method and each.verb == request.verb:
                resource = each.resource_in(path)
                if resource is not None:
                    return each, resource
    text = f"There is no method {request.method:.20} at this path."
    raise CloudTasksError(Code.NOT_FOUND, text)


# -- The message of a request


def _message(request: APIRequest, path: RESTPath, resource: str) -> dict[str, Any]:
    fields = fields_of(METHODS[path.rpc].request)
    message: dict[str, Any] = {}
    for name, values in request.query.items():
        if name not in _SYSTEM and not name.startswith("$"):
            field = fields.get(snake(name))
            is_list = field is not None and field.is_list
            message[name] = list(values) if is_list else values[-1]
    if path.body:
        body = _body(request.body)
        message.update(body if path.body == "*" else {path.body: body})
    outer, _, inner = path.field.partition(".")
    if inner:
        message[outer] = {**message[outer], inner: resource}
    else:
        message[outer] = resource
    return message


def _body(body: bytes) -> Mapping[str, Any]:
    """
    The object of JSON that a body is.

    @raise CloudTasksError: it is none.
    """
    if not body:
        return {}
    try:
        found = decode(body)
    except BadTask as e:
        text = str(e).removeprefix("the body is ")
        raise invalid(f"Invalid JSON payload received. It is {text}.") from None
    if not isinstance(found, dict):
        raise invalid("Invalid JSON payload received. It is no object.")
    return found


def _wants_numbers(request: APIRequest) -> bool:
    """
    Whether enums are to be numbers, as C{$alt=json;enum-encoding=int} asks for.
    """
    asked = [*request.query.get("$alt", ()), *request.query.get("alt", ())]
    return any("enum-encoding=int" in each.split(";") for each in asked)
