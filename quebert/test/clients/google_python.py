"""
A suite for google-cloud-tasks, Google's client for Python.  It runs with a Python that
has this package and nothing of quebert.

The environment has C{TRANSPORT} (C{rest} or C{grpc}), C{ENDPOINT}, C{TOKEN},
C{READ_TOKEN}, and in C{FIELDS} the fields of our messages.
"""

from __future__ import annotations

import itertools
import json
import os
import unittest
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from google.api_core import exceptions
from google.cloud import tasks_v2
from google.oauth2.credentials import Credentials
from google.protobuf.field_mask_pb2 import FieldMask

REST = os.environ["TRANSPORT"] == "rest"
LOCATION = "projects/shop/locations/here"
_UNKNOWN = "Requested entity was not found."
_NO_QUEUE = (
    "Queue does not exist. If you just created the queue, wait at least a minute for"
    " the queue to initialize."
)
_names = itertools.count(1)


def client(token: str = "TOKEN", **options: Any) -> Any:
    """
    A client, as anybody makes it but for endpoint and credentials.
    """
    return tasks_v2.CloudTasksClient(
        credentials=Credentials(os.environ.get(token, token)),
        transport=os.environ["TRANSPORT"],
        client_options={"api_endpoint": os.environ["ENDPOINT"], **options},
    )


class Google(unittest.TestCase):
    """
    What the suites have in common.
    """

    client: Any

    @classmethod
    def setUpClass(cls) -> None:
        """
        Make one client for all.
        """
        cls.client = client()

    def refused(self, grpc: str, rest: str, text: str, call: Any, **fields: Any) -> Any:
        """
        See that a call raises what Google's would, and give that.

        @param grpc: the name of the class that the client raises for gRPC.
        @param rest: that for REST, where it knows the status of HTTP alone.
        """
        with self.assertRaises(exceptions.GoogleAPICallError) as caught:
            call(**fields)
        error = caught.exception
        self.assertEqual(type(error).__name__, rest if REST else grpc)
        message = error.message.partition(": ")[2] if REST else error.message
        self.assertEqual(message, text)
        return error

    def make_queue(self, **fields: Any) -> Any:
        """
        A queue of its own.
        """
        kind, transport = type(self).__name__, os.environ["TRANSPORT"]
        name = f"{LOCATION}/queues/{kind}-{next(_names)}-{transport}"
        queue = tasks_v2.Queue(name=name, **fields)
        made = self.client.create_queue(parent=LOCATION, queue=queue)
        self.addCleanup(self._delete_queue, name)  # mediators are busy with many
        return made

    def _delete_queue(self, name: str) -> None:
        with suppress(exceptions.NotFound):
            self.client.delete_queue(name=name)

    def make_task(self, queue: str, name: str = "", **fields: Any) -> Any:
        """
        A task that waits for an hour.
        """
        task = {
            "http_request": {"url": "http://127.0.0.1:9/work"},
            "schedule_time": datetime.now(UTC) + timedelta(hours=1),
            **fields,
        }
        if name:
            task["name"] = f"{queue}/tasks/{name}"
        return self.client.create_task(parent=queue, task=task)


class Tasks(Google):
    """
    Tasks.
    """

    def setUp(self) -> None:
        """
        Make a queue.
        """
        self.queue = self.make_queue().name

    def test_round_trip(self) -> None:
        """
        All fields of a task come back as they were given.
        """
        at = datetime.now(UTC).replace(microsecond=456_789)
        at += timedelta(hours=1)
        task = {
            "name": f"{self.queue}/tasks/all_Fields-1",
            "http_request": {
                "url": "https://127.0.0.1:9/x?a=b",
                "http_method": tasks_v2.HttpMethod.PUT,
                "headers": {"X-Mixed-Case": "b", "content-type": "text/plain"},
                "body": b"\x00\xffhi",
                "oidc_token": {"service_account_email": "a@b.c", "audience": "us"},
            },
            "schedule_time": at,
            "dispatch_deadline": timedelta(seconds=20, milliseconds=500),
        }
        made = self.client.create_task(
            request={"parent": self.queue, "task": task, "response_view": "FULL"}
        )
        for found in (made, self._get(made.name, "FULL")):
            request = found.http_request
            self.assertEqual(found.name, task["name"])
            self.assertEqual(request.url, "https://127.0.0.1:9/x?a=b")
            self.assertEqual(request.http_method, tasks_v2.HttpMethod.PUT)
            self.assertEqual(request.body, b"\x00\xffhi")
            self.assertEqual(
                dict(request.headers),
                {
                    "X-Mixed-Case": "b",
                    "content-type": "text/plain",
                    "User-Agent": "Google-Cloud-Tasks",
                },
            )
            self.assertEqual(request.oidc_token.service_account_email, "a@b.c")
            self.assertEqual(request.oidc_token.audience, "us")
            self.assertEqual(found.schedule_time, at)
            deadline = timedelta(seconds=20, milliseconds=500)
            self.assertEqual(found.dispatch_deadline, deadline)
            self.assertEqual(found.create_time.microsecond, 0)
            self.assertEqual(found.view, tasks_v2.Task.View.FULL)
            self.assertEqual((found.dispatch_count, found.response_count), (0, 0))

    def _get(self, name: str, view: str) -> Any:
        return self.client.get_task(request={"name": name, "response_view": view})

    def test_defaults(self) -> None:
        """
        A task without a name gets one; its method is POST, its deadline 600 s, and it
        is shown without its body.
        """
        made = self.make_task(
            self.queue, http_request={"url": "http://127.0.0.1:9", "body": b"secret"}
        )
        self.assertRegex(made.name, rf"^{self.queue}/tasks/[A-Za-z0-9_-]{{1,500}}$")
        for found in (made, self.client.get_task(name=made.name)):
            self.assertEqual(found.http_request.http_method, tasks_v2.HttpMethod.POST)
            self.assertEqual(found.http_request.body, b"")
            self.assertEqual(found.dispatch_deadline, timedelta(seconds=600))
            self.assertEqual(found.view, tasks_v2.Task.View.BASIC)
        self.assertEqual(self._get(made.name, "FULL").http_request.body, b"secret")

    def test_methods(self) -> None:
        """
        Each method of HTTP comes back.
        """
        for method in tasks_v2.HttpMethod:
            if method:
                request = {"url": "http://127.0.0.1:9", "http_method": method}
                made = self.make_task(self.queue, http_request=request)
                self.assertEqual(made.http_request.http_method, method)

    def test_name_taken(self) -> None:
        """
        A name that is taken is refused, also after the task was deleted.
        """
        made = self.make_task(self.queue, "once")
        text = "Requested entity already exists"
        again = {"queue": self.queue, "name": "once"}
        self.refused("AlreadyExists", "Conflict", text, self.make_task, **again)
        self.client.delete_task(name=made.name)
        self.refused("AlreadyExists", "Conflict", text, self.make_task, **again)

    def test_pages(self) -> None:
        """
        All tasks are listed, in pages, with bodies in the full view alone.
        """
        request = {"url": "http://127.0.0.1:9", "body": b"b"}
        made = [self.make_task(self.queue, http_request=request) for _ in range(5)]
        asked: dict[str, Any] = {"parent": self.queue, "page_size": 2}
        pages = list(self.client.list_tasks(request=asked).pages)
        names = [task.name for page in pages for task in page.tasks]
        self.assertEqual(sorted(names), sorted(each.name for each in made))
        self.assertEqual([len(page.tasks) for page in pages], [2, 2, 1])
        self.assertEqual({t.http_request.body for p in pages for t in p.tasks}, {b""})
        asked["response_view"] = "FULL"
        bodies = {t.http_request.body for t in self.client.list_tasks(request=asked)}
        self.assertEqual(bodies, {b"b"})

    def test_delete(self) -> None:
        """
        A deleted task is no more, and an unknown one never was.
        """
        made = self.make_task(self.queue, "gone")
        self.assertIsNone(self.client.delete_task(name=made.name))
        text = (
            "The task no longer exists, though a task with this name existed recently."
            " The task either successfully completed or was deleted."
        )
        get, delete = self.client.get_task, self.client.delete_task
        self.refused("NotFound", "NotFound", text, get, name=made.name)
        unknown = f"{self.queue}/tasks/unknown"
        for call in (get, delete, self.client.run_task):
            self.refused("NotFound", "NotFound", _UNKNOWN, call, name=unknown)

    def test_run(self) -> None:
        """
        A task that is run is given back.
        """
        made = self.make_task(self.queue, "now")
        self.assertEqual(self.client.run_task(name=made.name).name, made.name)

    def test_batches(self) -> None:
        """
        Tasks are created and deleted in batches; each that fails is told.
        """
        names = [f"{self.queue}/tasks/{each}" for each in "abca"]
        at = datetime.now(UTC) + timedelta(hours=1)
        target = {"url": "http://127.0.0.1:9"}
        requests = [
            {
                "parent": self.queue,
                "task": {"name": name, "http_request": target, "schedule_time": at},
            }
            for name in names
        ]
        operation = self.client.batch_create_tasks(
            request={"parent": self.queue, "requests": requests}
        )
        self.assertTrue(operation.done())
        created = [task.name for task in operation.result().tasks]
        self.assertEqual(sorted(created), sorted(names[:3]))
        failed = dict(operation.metadata.failed_requests)
        self.assertEqual({n: each.code for n, each in failed.items()}, {3: 6})
        unknown = f"{self.queue}/tasks/unknown"
        operation = self.client.batch_delete_tasks(
            request={"parent": self.queue, "names": [names[0], unknown]}
        )
        self.assertTrue(operation.done())
        operation.result()
        failed = dict(operation.metadata.failed_requests)
        self.assertEqual({n: each.code for n, each in failed.items()}, {1: 5})

    def test_refused(self) -> None:
        """
        A task that cannot be is refused, with Google's words and details.
        """
        task_id = (
            'Task ID "not a valid id" can contain only letters ([A-Za-z]), numbers'
            " ([0-9]), hyphens (-), or underscores (_). Task ID must between 1 and 500"
            " characters."
        )
        invalid = "InvalidArgument", "BadRequest"
        make, queue = self.make_task, self.queue
        error = self.refused(
            *invalid, task_id, make, queue=queue, name="not a valid id"
        )
        [detail] = error.details
        links = detail["links"] if REST else detail.links
        self.assertEqual(len(links), 1)
        for fields, text in (
            ({"http_request": {"url": ""}}, "HttpRequest.url is required."),
            (
                {"http_request": {"url": "ftp://x"}},
                "HttpTarget.url must start with 'http://' or 'https://'.",
            ),
            (
                {"dispatch_deadline": timedelta(seconds=14)},
                "Task.dispatchDeadline must be between [15s, 30m].",
            ),
        ):
            self.refused(*invalid, text, make, queue=queue, **fields)
        unknown = f"{LOCATION}/queues/unknown"
        self.refused("NotFound", "NotFound", _NO_QUEUE, make, queue=unknown)


class Queues(Google):
    """
    Queues.
    """

    def test_defaults(self) -> None:
        """
        A queue has Google's defaults.
        """
        made = self.make_queue()
        for queue in (made, self.client.get_queue(name=made.name)):
            rates, retries = queue.rate_limits, queue.retry_config
            self.assertEqual(queue.state, tasks_v2.Queue.State.RUNNING)
            self.assertEqual(rates.max_dispatches_per_second, 500)
            self.assertEqual(rates.max_burst_size, 100)
            self.assertEqual(rates.max_concurrent_dispatches, 1_000)
            self.assertEqual(retries.max_attempts, 100)
            self.assertEqual(retries.min_backoff, timedelta(milliseconds=100))
            self.assertEqual(retries.max_backoff, timedelta(hours=1))
            self.assertEqual(retries.max_doublings, 16)

    def test_round_trip(self) -> None:
        """
        All fields of a queue come back as they were given.
        """
        retries = {
            "max_attempts": -1,
            "max_retry_duration": timedelta(hours=2),
            "min_backoff": timedelta(milliseconds=1_500),
            "max_backoff": timedelta(minutes=1),
            "max_doublings": 3,
        }
        target = {
            "uri_override": {"scheme": "HTTP", "host": "x", "port": 8_080},
            "http_method": "PUT",
            "header_overrides": [{"header": {"key": "a", "value": "b"}}],
        }
        rates = {"max_dispatches_per_second": 0.5, "max_concurrent_dispatches": 3}
        made = self.make_queue(
            rate_limits=rates, retry_config=retries, http_target=target
        )
        found = self.client.get_queue(name=made.name)
        self.assertEqual(found, made)
        self.assertEqual(found.retry_config, tasks_v2.RetryConfig(retries))
        self.assertEqual(found.rate_limits.max_dispatches_per_second, 0.5)
        self.assertEqual(found.rate_limits.max_concurrent_dispatches, 3)
        self.assertEqual(found.http_target.uri_override.port, 8_080)
        method = tasks_v2.HttpMethod.PUT
        self.assertEqual(found.http_target.http_method, method)
        [override] = found.http_target.header_overrides
        self.assertEqual((override.header.key, override.header.value), ("a", "b"))

    def test_update(self) -> None:
        """
        A mask says which fields are changed.
        """
        made = self.make_queue(retry_config={"max_attempts": 7, "max_doublings": 2})
        queue = tasks_v2.Queue(
            name=made.name,
            rate_limits={"max_dispatches_per_second": 5},
            retry_config={"max_attempts": 3},
        )
        paths = ["rate_limits.max_dispatches_per_second", "retry_config.max_attempts"]
        found = self.client.update_queue(
            queue=queue, update_mask=FieldMask(paths=paths)
        )
        self.assertEqual(found.rate_limits.max_dispatches_per_second, 5)
        self.assertEqual(found.rate_limits.max_concurrent_dispatches, 1_000)
        self.assertEqual(found.retry_config.max_attempts, 3)
        self.assertEqual(found.retry_config.max_doublings, 2)
        self.assertEqual(self.client.get_queue(name=made.name), found)

    def test_states(self) -> None:
        """
        A queue is paused, resumed and purged.
        """
        name = self.make_queue().name
        state = tasks_v2.Queue.State
        self.assertEqual(self.client.pause_queue(name=name).state, state.PAUSED)
        self.assertEqual(self.client.get_queue(name=name).state, state.PAUSED)
        self.assertEqual(self.client.resume_queue(name=name).state, state.RUNNING)
        before = datetime.now(UTC) - timedelta(minutes=1)
        self.assertGreater(self.client.purge_queue(name=name).purge_time, before)

    def test_pages(self) -> None:
        """
        All queues are listed, in pages.
        """
        made = [self.make_queue().name for _ in range(3)]
        asked = {"parent": LOCATION, "page_size": 2}
        pages = list(self.client.list_queues(request=asked).pages)
        names = [queue.name for page in pages for queue in page.queues]
        self.assertLessEqual(set(made), set(names))
        self.assertEqual(len(names), len(set(names)))
        self.assertGreater(len(pages), 1)

    def test_delete(self) -> None:
        """
        A deleted queue is no more, and its name is not free at once.
        """
        name = self.make_queue().name
        text = "Queue already exists"
        again = {"parent": LOCATION, "queue": {"name": name}}
        create = self.client.create_queue
        self.refused("AlreadyExists", "Conflict", text, create, **again)
        self.assertIsNone(self.client.delete_queue(name=name))
        text = (
            "The queue cannot be created because a queue with this name existed too"
            " recently."
        )
        self.refused("FailedPrecondition", "BadRequest", text, create, **again)
        delete = self.client.delete_queue
        unknown = f"{LOCATION}/queues/unknown"
        self.refused("NotFound", "NotFound", _UNKNOWN, delete, name=unknown)
        for call in (
            self.client.get_queue,
            self.client.pause_queue,
            self.client.resume_queue,
            self.client.purge_queue,
        ):
            self.refused("NotFound", "NotFound", _NO_QUEUE, call, name=unknown)

    def test_refused(self) -> None:
        """
        A queue that cannot be is refused, with Google's words.
        """
        text = (
            "RetryConfig.minBackoff must be less than or equal to"
            " RetryConfig.maxBackoff."
        )
        waits = {
            "min_backoff": timedelta(seconds=10),
            "max_backoff": timedelta(seconds=5),
        }
        invalid = "InvalidArgument", "BadRequest"
        self.refused(*invalid, text, self.make_queue, retry_config=waits)
        text = "RateLimits.maxDispatchesPerSecond must be less than or equal to 500."
        rates = {"max_dispatches_per_second": 501}
        self.refused(*invalid, text, self.make_queue, rate_limits=rates)


class Access(Google):
    """
    Projects, tokens and keys; and what is beside tasks and queues.
    """

    def test_parent(self) -> None:
        """
        Another project is refused, with the reason.
        """
        parent = "projects/foreign/locations/here"
        error = self.refused(
            "PermissionDenied",
            "Forbidden",
            "Permission denied on resource project foreign.",
            self.client.create_queue,
            parent=parent,
            queue={"name": f"{parent}/queues/q"},
        )
        self.assertEqual(error.reason, "CONSUMER_INVALID")

    def test_token(self) -> None:
        """
        A token that is not known is refused, and one that may not do it.
        """
        reader = client("READ_TOKEN")
        list(reader.list_queues(parent=LOCATION))
        queue = {"name": f"{LOCATION}/queues/no"}
        kind = exceptions.Forbidden if REST else exceptions.PermissionDenied
        with self.assertRaises(kind):
            reader.create_queue(parent=LOCATION, queue=queue)
        with self.assertRaises(Exception) as caught:
            client("qbt_unknown").create_queue(parent=LOCATION, queue=queue)
        if REST:  # it asks for another token then
            self.assertIn("Refresh", type(caught.exception).__name__)
        else:
            kind = exceptions.Unauthenticated
            self.assertIsInstance(caught.exception, kind)

    def test_key(self) -> None:
        """
        A token may be given as a key.
        """
        found = tasks_v2.CloudTasksClient(
            transport=os.environ["TRANSPORT"],
            client_options={
                "api_endpoint": os.environ["ENDPOINT"],
                "api_key": os.environ["READ_TOKEN"],
            },
        )
        list(found.list_queues(parent=LOCATION))

    def test_permissions(self) -> None:
        """
        A token is told what it may do.
        """
        name = self.make_queue().name
        asked = ["cloudtasks.tasks.create", "cloudtasks.tasks.get"]
        for found, allowed in ((self.client, asked), (client("READ_TOKEN"), asked[1:])):
            answer = found.test_iam_permissions(
                request={"resource": name, "permissions": asked}
            )
            self.assertEqual(list(answer.permissions), allowed)
        self.client.get_iam_policy(request={"resource": name})

    def test_locations(self) -> None:
        """
        A location is told.
        """
        found = self.client.get_location(request={"name": LOCATION})
        self.assertEqual((found.name, found.location_id), (LOCATION, "here"))


class Fields(unittest.TestCase):
    """
    The messages.
    """

    def test_same(self) -> None:
        """
        Our messages have the fields of the client's: names, numbers and types.
        """
        theirs: dict[str, Any] = {}
        for name in tasks_v2.types.__all__:
            kind = getattr(tasks_v2.types, name)
            if hasattr(kind, "pb"):
                self._see(kind.pb(kind()).DESCRIPTOR, theirs)
        ours = json.loads(os.environ["FIELDS"])
        package = "google.cloud.tasks.v2."
        self.assertEqual(
            {name: ours.get(name) for name in theirs},
            theirs,
        )
        same = {name for name in ours if name.startswith(package)}
        self.assertEqual(same, {name for name in theirs if name.startswith(package)})

    def _see(self, message: Any, seen: dict[str, Any]) -> None:
        if message.full_name in seen:
            return
        seen[message.full_name] = fields = []
        for field in sorted(message.fields, key=lambda each: each.number):
            kind = field.message_type or field.enum_type
            values = field.enum_type.values_by_name if field.enum_type else {}
            fields.append(
                [
                    field.name,
                    field.number,
                    field.type,
                    field.is_repeated,
                    field.has_presence,
                    kind.full_name if kind else "",
                    {name: value.number for name, value in values.items()},
                    field.containing_oneof.name if field.containing_oneof else "",
                ]
            )
            if field.message_type:
                self._see(field.message_type, seen)


if __name__ == "__main__":
    unittest.main()
