"""
Messages from bytes to proto JSON and back, and their classes.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format
from twisted.trial.unittest import SynchronousTestCase

from quebert.web.cloud_tasks import CloudTasksError, Code
from quebert.web.cloud_tasks.grpc._descriptors import POOL, message_class
from quebert.web.cloud_tasks.grpc._methods import RemoteMethod, methods, status_bytes

QUEUE = "projects/p/locations/l/queues/q"
#: A request with a field of each kind.
REQUEST: dict[str, Any] = {
    "parent": QUEUE,
    "task": {
        "name": f"{QUEUE}/tasks/t",
        "httpRequest": {
            "url": "https://x/ü",
            "httpMethod": "PUT",
            "headers": {"X-A": "b"},
            "body": "AP9oaQ==",
            "oidcToken": {"serviceAccountEmail": "a@b", "audience": "z"},
        },
        "scheduleTime": "2026-12-01T01:02:03.456789Z",
        "dispatchDeadline": "20.500s",
        "retryConfig": {"maxAttempts": -1, "minBackoff": "0.100s"},
    },
    "responseView": "FULL",
}


def method_of(name: str) -> RemoteMethod:
    """
    The method of that name, of whichever service.
    """
    [found] = [each for _, table in methods() for each in table if each.name == name]
    return found


def sent(method: RemoteMethod, request: dict[str, Any]) -> bytes:
    """
    A request as a client sends it.
    """
    message = message_class(method.request.name)()
    json_format.ParseDict(request, message, descriptor_pool=POOL)
    content: bytes = message.SerializeToString()
    return content


class RemoteMethodTests(SynchronousTestCase):
    """
    Tests for L{RemoteMethod}.
    """

    def test_read(self) -> None:
        """
        A request comes as proto JSON: camelCase, names of enums, base64, RFC 3339.
        """
        method = method_of("CreateTask")
        self.assertEqual(method.read(sent(method, REQUEST)), REQUEST)

    def test_mask(self) -> None:
        """
        A mask is in camelCase; one that never was in snake_case is refused.
        """
        method = method_of("UpdateQueue")
        request = message_class(method.request.name)()
        request.update_mask.paths.extend(["rate_limits.max_burst_size", "http_target"])
        self.assertEqual(
            method.read(request.SerializeToString()),
            {"updateMask": "rateLimits.maxBurstSize,httpTarget"},
        )
        request.update_mask.paths.append("rateLimits")
        self._refused(
            method, request.SerializeToString(), "rateLimits must not contain"
        )

    def test_presence(self) -> None:
        """
        Of fields that may be absent it is told whether they are there.
        """
        method = method_of("CreateQueue")
        override = {"host": "", "port": "0"}
        queue = {"name": "n", "httpTarget": {"uriOverride": override}}
        self.assertEqual(
            method.read(sent(method, {"queue": queue}))["queue"],
            {"name": "n", "httpTarget": {"uriOverride": override}},
        )

    def test_no_message(self) -> None:
        """
        What is no message, or has a time that there is not, is refused.
        """
        method = method_of("CreateTask")
        self._refused(method, b"\xff", "not a message google.cloud.tasks.v2.Create")
        request = message_class(method.request.name)()
        request.task.schedule_time.seconds = 2**60
        self._refused(method, request.SerializeToString(), "must be in range")

    def _refused(self, method: RemoteMethod, content: bytes, text: str) -> None:
        with self.assertRaisesRegex(CloudTasksError, text) as caught:
            method.read(content)
        self.assertEqual(caught.exception.code, Code.INVALID_ARGUMENT)

    def test_write(self) -> None:
        """
        An answer becomes the message of the method; an enum may be a number.
        """
        task = {**REQUEST["task"], "view": 2, "firstAttempt": {"dispatchTime": None}}
        written = method_of("GetTask").write(task)
        message = message_class("google.cloud.tasks.v2.Task").FromString(written)
        self.assertEqual(message.view, 2)
        self.assertEqual(message.http_request.body, b"\x00\xffhi")
        self.assertEqual(message.schedule_time.nanos, 456_789_000)
        self.assertEqual(message.WhichOneof("message_type"), "http_request")

    def test_operation(self) -> None:
        """
        An operation has messages of any type.
        """
        tasks = "type.googleapis.com/google.cloud.tasks.v2.BatchCreateTasks"
        operation = {
            "name": "o",
            "done": True,
            "metadata": {
                "@type": f"{tasks}Metadata",
                "state": "PARTIALLY_SUCCEEDED",
                "failedRequests": {"1": {"code": 6, "message": "taken"}},
            },
            "response": {"@type": f"{tasks}Response", "tasks": [{"name": "t"}]},
        }
        method = method_of("BatchCreateTasks")
        message = method.answer.parse(method.write(operation))
        self.assertEqual(
            json_format.MessageToDict(message, descriptor_pool=POOL), operation
        )

    def test_status(self) -> None:
        """
        A status has its details.
        """
        link = {"description": "d", "url": "u"}
        detail = {"@type": "type.googleapis.com/google.rpc.Help", "links": [link]}
        status = {"code": 3, "message": "m", "details": [detail]}
        message = message_class("google.rpc.Status").FromString(status_bytes(status))
        self.assertEqual(
            json_format.MessageToDict(message, descriptor_pool=POOL), status
        )

    def test_names(self) -> None:
        """
        All methods have their classes.
        """
        names = [each.name for _, table in methods() for each in table]
        self.assertEqual((len(names), len(set(names))), (23, 23))
