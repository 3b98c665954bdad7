"""
The methods of the Cloud Tasks API: what they do, and what is there where nothing is
said.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert.created_tasks import EndNote, NewTask
from quebert.errors import (
    BrokerError,
    HistoryError,
    MessageRefused,
    TaskStoreError,
    Unroutable,
)
from quebert.history import PastAttempt, TaskTries
from quebert.test.web.cloud_tasks.doubles import (
    ALL,
    LOCATION,
    NOW,
    QUEUE,
    MemoryCloudTasks,
)
from quebert.test.web.cloud_tasks.recorded import task
from quebert.web._tokens import Grant
from quebert.web.cloud_tasks import (
    CloudQueue,
    CloudTasksError,
    CloudTasksLimits,
    Code,
)
from quebert.web.cloud_tasks._attempts import attempt_fields

AGENT = {"User-Agent": "Google-Cloud-Tasks"}
#: A task as it is answered where nothing but its URL is said.
PLAIN = {
    "httpRequest": {
        "url": "http://localhost/do",
        "httpMethod": "POST",
        "headers": AGENT,
    },
    "scheduleTime": "2026-11-29T12:00:00.123456Z",
    "createTime": "2026-11-29T12:00:00Z",
    "dispatchDeadline": "600s",
    "view": "BASIC",
}
#: A queue likewise.
PLAIN_QUEUE = {
    "rateLimits": {
        "maxDispatchesPerSecond": 500.0,
        "maxBurstSize": 100,
        "maxConcurrentDispatches": 1_000,
    },
    "retryConfig": {
        "maxAttempts": 100,
        "minBackoff": "0.100s",
        "maxBackoff": "3600s",
        "maxDoublings": 16,
    },
    "state": "RUNNING",
}


def _part(length: int) -> int:
    """
    Bytes of a short text, or message, of that length, with its key.
    """
    return 2 + length


class CloudTasksTestCase(SynchronousTestCase):
    """
    Has an API.
    """

    def setUp(self) -> None:
        self.api = MemoryCloudTasks()

    def create(self, name: str = "", **fields: Any) -> dict[str, Any]:
        """
        Create a task.
        """
        wanted = task(**fields)
        if name:
            wanted["name"] = f"{QUEUE}/tasks/{name}"
        return self.api.call("CreateTask", {"parent": QUEUE, "task": wanted})

    def published(self) -> list[dict[str, Any]]:
        """
        The tasks that RabbitMQ has got.
        """
        return [json.loads(each.body) for each in self.api.broker.queues["mail"]]

    def refused(self, method: str, message: dict[str, Any], grant: Grant = ALL) -> Code:
        """
        The code of the error that a request ends with.
        """
        return self.error(method, message, grant).code

    def error(
        self, method: str, message: dict[str, Any], grant: Grant = ALL
    ) -> CloudTasksError:
        """
        The error that a request ends with.
        """
        with self.assertRaises(CloudTasksError) as caught:
            self.api.call(method, message, grant)
        found: CloudTasksError = caught.exception
        return found


class TaskTests(CloudTasksTestCase):
    """
    Single tasks.
    """

    def test_defaults(self) -> None:
        """
        A task that has a URL alone is a POST with 600 s, now; its ID is its uuid, and
        the header of Google is shown with it.
        """
        found = self.create()
        name = found.pop("name")
        self.assertEqual(found, PLAIN)
        [sent] = self.published()
        self.assertEqual(name, f"{QUEUE}/tasks/{sent['uuid']}")
        self.assertEqual(
            sent,
            {
                "url": "http://localhost/do",
                "method": "POST",
                "headers": {},
                "timeout": 600.0,
                "timestamp": "2026-11-29T12:00:00.123456Z",
                "uuid": sent["uuid"],
                "cloud_tasks": {"queue": "mail", "task": sent["uuid"]},
            },
        )

    def test_all_fields(self) -> None:
        """
        Each field goes into the task of quebert, and comes back; the body in the view
        FULL alone; times are cut off to microseconds, the deadline to milliseconds.
        """
        body = bytes(range(256))
        request = {
            "url": "https://localhost/put?a=%zz",
            "httpMethod": "PUT",
            "headers": {"X-CASE": "Kept", "user-agent": "mine"},
            "body": base64.b64encode(body).decode(),
            "oidcToken": {"serviceAccountEmail": "a@b", "audience": "them"},
        }
        found = self.create(
            "t",
            httpRequest=request,
            scheduleTime="2026-12-01T01:02:03.456789999+02:00",
            dispatchDeadline="20.5009s",
            retryConfig={"maxAttempts": -1, "maxBackoff": "5s"},
            createTime="1999-01-01T00:00:00Z",
            dispatchCount=5,
        )
        shown = {**request, "headers": {"X-CASE": "Kept", **AGENT}}
        del shown["body"]
        wanted = {
            "name": f"{QUEUE}/tasks/t",
            "httpRequest": shown,
            "scheduleTime": "2026-11-30T23:02:03.456789Z",
            "createTime": "2026-11-29T12:00:00Z",
            "dispatchDeadline": "20.500s",
            "view": "BASIC",
            "retryConfig": {"maxAttempts": -1, "maxBackoff": "5s"},
        }
        self.assertEqual(found, wanted)
        get = {"name": f"{QUEUE}/tasks/t"}
        self.assertEqual(self.api.call("GetTask", get), wanted)
        self.assertEqual(
            self.api.call("GetTask", {**get, "responseView": "BASIC"}), wanted
        )
        whole = {
            **wanted,
            "view": "FULL",
            "httpRequest": {**shown, "body": request["body"]},
        }
        self.assertEqual(self.api.call("GetTask", {**get, "responseView": 2}), whole)
        [sent] = self.published()
        del sent["uuid"]
        self.assertEqual(
            sent,
            {
                "url": "https://localhost/put?a=%zz",
                "method": "PUT",
                "headers": {"X-CASE": "Kept"},
                "payload": request["body"],
                "timeout": 20.5,
                "timestamp": "2026-11-29T12:00:00.123456Z",
                "run_at": "2026-11-30T23:02:03.456789Z",
                "retry": {"max_attempts": -1, "max_backoff": 5.0},
                "cloud_tasks": {
                    "queue": "mail",
                    "task": "t",
                    "oidc": {"service_account_email": "a@b", "audience": "them"},
                },
            },
        )
        [new] = self.api.broker.queues["mail"]
        self.assertEqual((new.name, new.queue), ("t", "mail"))
        self.assertEqual((new.created, new.due), (NOW, 1_796_079_723.456789))

    def test_past(self) -> None:
        """
        A task whose time is past runs now.
        """
        found = self.create(scheduleTime="2026-11-29T11:00:00Z")
        self.assertEqual(found["scheduleTime"], PLAIN["scheduleTime"])
        self.assertEqual(self.api.broker.queues["mail"][0].due, 0.0)

    def test_latest(self) -> None:
        """
        A task may be scheduled 720 h ahead, to the microsecond; a setting allows more.
        """
        self.create(scheduleTime="2026-12-29T12:00:00.123456Z")
        later = {
            "parent": QUEUE,
            "task": task(scheduleTime="2026-12-29T12:00:00.123457Z"),
        }
        self.assertEqual(self.refused("CreateTask", later), Code.INVALID_ARGUMENT)
        self.api = MemoryCloudTasks(CloudTasksLimits(schedule=100_000))
        self.api.call("CreateTask", later)

    def test_size(self) -> None:
        """
        A task may have 1,048,569 bytes as Google would keep it, and no more.
        """
        # By the wire format: a key and a length for each text or message; in a time, a
        # key before the seconds (5 bytes) and the nanoseconds (4), in the deadline
        # before its 2.
        name = f"{QUEUE}/tasks/t"
        times = _part(1 + 5 + 1 + 4) + _part(1 + 5) + _part(1 + 2)
        header = _part(_part(len("User-Agent")) + _part(len("Google-Cloud-Tasks")))
        request = _part(len("http://localhost/do")) + 2 + header
        # The body and the request have lengths of 3 bytes.
        most = 1_048_569 - _part(len(name)) - times - (1 + 3 + request + 1 + 3)

        def message(length: int) -> dict[str, Any]:
            body = base64.b64encode(b"x" * length).decode()
            request = {"url": "http://localhost/do", "body": body}
            return {"parent": QUEUE, "task": {"name": name, "httpRequest": request}}

        text = self.error("CreateTask", message(most + 1)).message
        self.assertEqual(text, "Task size too large")
        self.api.call("CreateTask", message(most))

    def test_delete(self) -> None:
        """
        A task that is deleted is gone, and its name is not free; the user is named.
        """
        self.create("t")
        name = {"name": f"{QUEUE}/tasks/t"}
        self.assertEqual(self.api.call("DeleteTask", name), {})
        [sent] = self.published()
        self.assertEqual(self.api.broker.cancelled, [sent["uuid"]])
        self.assertEqual(self.refused("GetTask", name), Code.NOT_FOUND)
        again = {"parent": QUEUE, "task": task(**name)}
        self.assertEqual(self.refused("CreateTask", again), Code.ALREADY_EXISTS)

    def test_free_name(self) -> None:
        """
        An hour after its end the name of a task is free, and nothing is known of it.
        """
        self.create("t")
        self._end()
        name = {"name": f"{QUEUE}/tasks/t"}
        self.assertIn("existed recently", self.error("GetTask", name).message)
        self.api.time += 3_600
        self.assertIn("not found", self.error("GetTask", name).message)
        self.create("t")

    def _end(self) -> None:
        uuids = [row.task.uuid for _, row in self.api.rows.rows.values()]
        notes = [
            EndNote(uuid=each, queue="mail", outcome="done", ended=self.api.time)
            for each in uuids
        ]
        self.api.wait(self.api.tasks.ended(notes))

    def test_run(self) -> None:
        """
        A task that is to run now is answered as it is.
        """
        created = self.create("t", scheduleTime="2026-12-01T00:00:00Z")
        found = self.api.call("RunTask", {"name": created["name"]})
        self.assertEqual(found, created)

    def test_attempts(self) -> None:
        """
        A task that is tried again tells of its attempts, and when the next one is;
        while the history does not answer it tells of none.
        """
        created = self.create("t")
        last = PastAttempt(
            uuid=self.published()[0]["uuid"],
            queue="mail",
            url="http://localhost/do",
            number=3,
            started=NOW + 2,
            ended=NOW + 2.5,
            outcome="retry",
            due=NOW + 1.9,
            status=503,
            retry_at=NOW + 9,
        )
        history = self.api.history
        told = TaskTries(count=3, answers=2, first=NOW + 1, last=last)
        history.known[last.uuid] = told
        attempts = {
            "dispatchCount": 3,
            "responseCount": 2,
            "firstAttempt": {"dispatchTime": "2026-11-29T12:00:01.123456Z"},
            "lastAttempt": {
                "scheduleTime": "2026-11-29T12:00:02.023456Z",
                "dispatchTime": "2026-11-29T12:00:02.123456Z",
                "responseTime": "2026-11-29T12:00:02.623456Z",
                "responseStatus": {
                    "code": 14,
                    "message": "UNAVAILABLE(14): HTTP status code 503",
                },
            },
        }
        expected = {
            **created,
            **attempts,
            "scheduleTime": "2026-11-29T12:00:09.123456Z",
        }
        name = {"name": created["name"]}
        self.assertEqual(self.api.call("GetTask", name), expected)
        self.assertEqual(self.api.call("RunTask", name), expected)
        listed = self.api.call("ListTasks", {"parent": QUEUE})
        self.assertEqual(listed["tasks"], [expected])
        history.known[last.uuid] = attrs.evolve(
            told, first=None, last=attrs.evolve(last, status=None, reason="timed out")
        )
        found = self.api.call("GetTask", name)
        self.assertNotIn("firstAttempt", found)
        status = {"code": 4, "message": "DEADLINE_EXCEEDED(4): timed out"}
        self.assertEqual(found["lastAttempt"]["responseStatus"], status)
        history.problem = HistoryError("away")
        self.assertEqual(self.api.call("GetTask", name), created)

    def test_attempt_statuses(self) -> None:
        """
        The status of an answer is told as the code that Google has for it.
        """
        codes = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 499: 1, 500: 13}
        codes |= {501: 12, 503: 14, 504: 4, 302: 2, 418: 2, 502: 2}
        for status, code in codes.items():
            last = PastAttempt(
                uuid="u",
                queue="mail",
                url="",
                number=1,
                started=1.0,
                ended=2.0,
                outcome="retry",
                status=status,
            )
            tries = TaskTries(count=1, answers=1, first=1.0, last=last)
            found = attempt_fields(tries, 0)["last_attempt"].response_status
            text = f"{Code(code).name}({code}): HTTP status code {status}"
            self.assertEqual((found.code, found.message), (code, text))

    def test_run_not_found(self) -> None:
        """
        Where a task that waits for its time is not seen in RabbitMQ, its client is told
        so; one whose time has come needs only its turn.
        """
        self.api.broker.runs = "not_found"
        later = self.create("t", scheduleTime="2026-12-01T00:00:00Z")
        with self.assertRaises(CloudTasksError) as caught:
            self.api.call("RunTask", {"name": later["name"]})
        self.assertEqual(caught.exception.code, Code.UNAVAILABLE)
        now = self.create("now")
        self.assertEqual(self.api.call("RunTask", {"name": now["name"]}), now)

    def test_unnamed(self) -> None:
        """
        A task that another API has created is found by its uuid, with the body that is
        sent; not in another queue, nor by its uuid if it has a name.
        """
        uuids = [
            "00000000-0000-4000-8000-000000000000",
            "11111111-1111-4111-8111-111111111111",
        ]
        body = b'{"url": "http://localhost/do", "params": 1}'
        new = [
            NewTask(queue="mail", uuid=uuids[0], body=body, created=NOW),
            NewTask(queue="mail", uuid=uuids[1], body=body, created=NOW, name="n"),
        ]
        self.api.wait(self.api.tasks.create(new))
        found = self.api.call(
            "GetTask", {"name": f"{QUEUE}/tasks/{uuids[0]}", "responseView": "FULL"}
        )
        self.assertEqual(base64.b64decode(found["httpRequest"].pop("body")), body)
        self.assertEqual(found, {**PLAIN, "name": found["name"], "view": "FULL"})
        self.api.call(
            "CreateQueue", {"parent": LOCATION, "queue": {"name": f"{QUEUE}2"}}
        )
        for name in (f"{QUEUE}/tasks/{uuids[1]}", f"{QUEUE}2/tasks/{uuids[0]}"):
            self.assertEqual(self.refused("GetTask", {"name": name}), Code.NOT_FOUND)
        self.api.call("GetTask", {"name": f"{QUEUE}/tasks/n"})

    def test_dead_letters(self) -> None:
        """
        No task is added to the dead letters of another queue.
        """
        in_rabbitmq = "other.org:p.l.dead"
        self.api.queues.queues[in_rabbitmq] = CloudQueue(name=in_rabbitmq)
        parent = "projects/other.org:p/locations/l/queues/dead"
        error = self.error("CreateTask", {"parent": parent, "task": task()})
        self.assertIn('Queue ID "dead" cannot be used', error.message)

    def test_refused(self) -> None:
        """
        A queue that RabbitMQ has not is none; what it finds too large is an argument
        that is wrong; and if RabbitMQ or the database is away, that is said.
        """
        message = {"parent": QUEUE, "task": task()}
        self.api.broker.problem = Unroutable("no queue")
        self.assertEqual(self.refused("CreateTask", message), Code.NOT_FOUND)
        self.api.broker.problem = MessageRefused(406, "it is larger than it may be")
        self.assertEqual(
            self.error("CreateTask", message).message, "Task size too large"
        )
        self.api.broker.problem = BrokerError("RabbitMQ is away")
        error = self.error("CreateTask", message)
        self.assertEqual(
            (error.code, error.message), (Code.UNAVAILABLE, "RabbitMQ is away")
        )
        self.api.rows.problem = TaskStoreError("the disk is full")
        error = self.error("CreateTask", message)
        self.assertEqual(
            (error.code, error.message), (Code.UNAVAILABLE, "the disk is full")
        )
        self.api.queues.problem = BrokerError("RabbitMQ is away")
        for method in ("GetQueue", "PauseQueue"):
            self.assertEqual(self.refused(method, {"name": QUEUE}), Code.UNAVAILABLE)

    def test_too_far(self) -> None:
        """
        A time that is too far away is told as that of California, where summer time
        begins and ends at two o'clock.
        """
        for given, told in (
            ("2027-03-14T09:59:59Z", "2027-03-14T01:59:59-08:00"),
            ("2027-03-14T10:00:00Z", "2027-03-14T03:00:00-07:00"),
            ("2027-11-07T08:59:59Z", "2027-11-07T01:59:59-07:00"),
            ("2027-11-07T09:00:00Z", "2027-11-07T01:00:00-08:00"),
        ):
            message = {"parent": QUEUE, "task": task(scheduleTime=given)}
            error = self.error("CreateTask", message)
            self.assertIn(f"Task.scheduleTime, {told}, is too far", error.message)


class ListTests(CloudTasksTestCase):
    """
    Lists of tasks.
    """

    def _list(self, **fields: Any) -> tuple[list[str], str]:
        found = self.api.call("ListTasks", {"parent": QUEUE, **fields})
        names = [each["name"].rpartition("/")[2] for each in found.get("tasks", [])]
        return names, found.get("nextPageToken", "")

    def test_pages(self) -> None:
        """
        Tasks come in pages, the oldest first, each with the token of the next one.
        """
        self.assertEqual(self._list(), ([], ""))
        for each in "abc":
            self.create(each)
        self.assertEqual(self._list(), (["a", "b", "c"], ""))
        names, token = self._list(pageSize=2)
        self.assertEqual(names, ["a", "b"])
        self.assertEqual(self._list(pageSize=2, pageToken=token), (["c"], ""))

    def test_many(self) -> None:
        """
        A page has 100 tasks at most, since each is read with its body.
        """
        for number in range(101):
            self.create(f"t{number}")
        names, token = self._list(pageSize=1_000)
        self.assertEqual((len(names), len(self._list(pageToken=token)[0])), (100, 1))

    def test_view(self) -> None:
        """
        The view FULL has bodies.
        """
        self.create("a", httpRequest={"url": "http://localhost/", "body": "eA=="})
        for view in ("BASIC", "FULL"):
            message = {"parent": QUEUE, "responseView": view}
            [found] = self.api.call("ListTasks", message)["tasks"]
            self.assertEqual(found["view"], view)
            self.assertEqual("body" in found["httpRequest"], view == "FULL")

    def test_gone(self) -> None:
        """
        Tasks that are deleted or purged are not listed; those of after the purge are.
        """
        for each in "ab":
            self.create(each)
        self.api.call("DeleteTask", {"name": f"{QUEUE}/tasks/a"})
        self.assertEqual(self._list(), (["b"], ""))
        self.api.time += 1
        found = self.api.call("PurgeQueue", {"name": QUEUE})
        self.assertEqual(found["purgeTime"], "2026-11-29T12:00:01.123456Z")
        self.create("c")
        self.assertEqual(self._list(), (["c"], ""))
        error = self.error("GetTask", {"name": f"{QUEUE}/tasks/b"})
        self.assertIn("no longer exists", error.message)


class BatchTests(CloudTasksTestCase):
    """
    Several tasks at once.
    """

    def _create(self, *tasks: dict[str, Any], **fields: Any) -> dict[str, Any]:
        requests = [{"parent": QUEUE, "task": each} for each in tasks]
        message = {"parent": QUEUE, "requests": requests, **fields}
        return self.api.call("BatchCreateTasks", message)

    def _deleted(self, *tasks: str) -> dict[str, Any]:
        names = [f"{QUEUE}/tasks/{each}" for each in tasks]
        return self.api.call("BatchDeleteTasks", {"parent": QUEUE, "names": names})

    def test_create(self) -> None:
        """
        The operation is done at once; it has the tasks that were created, and the
        errors of the others by their numbers.
        """
        name = f"{QUEUE}/tasks/a"
        found = self._create(task(name=name), task(name=name), {}, task())
        metadata = found["metadata"]
        self.assertEqual(
            metadata["failedRequests"],
            {
                "1": {"code": 6, "message": "Requested entity already exists"},
                "2": {"code": 3, "message": "Task.httpRequest is required."},
            },
        )
        self.assertEqual(metadata["state"], "PARTIALLY_SUCCEEDED")
        self.assertEqual(metadata["startTime"], "2026-11-29T12:00:00.123456Z")
        self.assertTrue(found["done"])
        self.assertTrue(found["name"].startswith(f"{LOCATION}/operations/"))
        self.assertEqual(found["response"]["tasks"][0]["name"], name)
        self.assertEqual(len(found["response"]["tasks"]), 2)
        kinds = metadata["@type"], found["response"]["@type"]
        prefix = "type.googleapis.com/google.cloud.tasks.v2.BatchCreateTasks"
        self.assertEqual(kinds, (f"{prefix}Metadata", f"{prefix}Response"))
        self.assertEqual(self._create(task())["metadata"]["state"], "SUCCEEDED")

    def test_other_parent(self) -> None:
        """
        A request of a batch has its parent, or none.
        """
        requests = [{"parent": f"{QUEUE}2", "task": task()}, {"task": task()}]
        message = {"parent": QUEUE, "requests": requests}
        found = self.api.call("BatchCreateTasks", message)
        self.assertEqual(list(found["metadata"]["failedRequests"]), ["0"])

    def test_nothing_created(self) -> None:
        """
        A batch of which nothing was created is an error.
        """
        found = self._create({})
        text = "None of the requests succeeded, refer to BatchCreateTasksMetadata"
        more = ".failed_requests for individual error details"
        self.assertEqual(found["error"], {"code": 10, "message": text + more})
        self.assertNotIn("response", found)
        self.assertEqual(found["metadata"]["state"], "FAILED")

    def test_again(self) -> None:
        """
        A batch with a C{request_id} that comes twice creates its tasks once; another
        batch with the same one creates none.
        """
        one = self._create(task(), task(), requestId="r")
        self.api.time += 5
        two = self._create(task(), task(), requestId="r")
        self.assertEqual(one["response"], two["response"])
        self.assertEqual(len(self.published()), 2)
        three = self._create(task(httpRequest={"url": "http://other/"}), requestId="r")
        self.assertEqual(
            three["metadata"]["failedRequests"]["0"]["message"],
            "request_id was the one of another request.",
        )

    def test_again_after_the_end(self) -> None:
        """
        It does so as well when its tasks have ended.
        """
        one = self._create(task(), requestId="r")
        [uuid] = self.api.rows.rows
        note = EndNote(uuid=uuid, queue="mail", outcome="done", ended=NOW)
        self.api.wait(self.api.tasks.ended([note]))
        self.assertEqual(
            self._create(task(), requestId="r")["response"], one["response"]
        )
        self.assertEqual(len(self.published()), 1)

    def test_delete(self) -> None:
        """
        Those that are there are deleted.
        """
        for each in "ab":
            self.create(each)
        found = self._deleted("a", "none", "b")
        self.assertEqual(len(self.api.broker.cancelled), 2)
        self.assertEqual(
            found["response"], {"@type": "type.googleapis.com/google.protobuf.Empty"}
        )
        message = "Requested entity was not found."
        failed = {"1": {"code": 5, "message": message}}
        self.assertEqual(found["metadata"]["failedRequests"], failed)
        self.assertEqual(found["metadata"]["state"], "PARTIALLY_SUCCEEDED")
        found = self._deleted("a")
        text = "None of the requests succeeded, refer to BatchDeleteTasksMetadata"
        more = ".failed_requests for individual error details"
        self.assertEqual(found["error"], {"code": 10, "message": text + more})

    def test_many_wrong(self) -> None:
        """
        Hundreds of names that are refused at once may wait behind tasks that take time.
        """
        tasks = [f"t{number}" for number in range(16)]
        for each in tasks:
            self.create(each)
        self.api.broker.silent = True
        names = [f"{QUEUE}/tasks/{each}" for each in tasks] + ["x"] * 900
        message = {"parent": QUEUE, "names": names}
        call = self.api.cloud_tasks.call("BatchDeleteTasks", message, ALL)
        deleting: Deferred[Any] = Deferred.fromCoroutine(call)
        for _ in tasks:
            self.api.broker.answer()
        found = self.successResultOf(deleting)
        self.assertEqual(len(found["metadata"]["failedRequests"]), 900)

    def test_delete_elsewhere(self) -> None:
        """
        A task of another queue than the batch's is not deleted, nor one that is none.
        """
        self.api.call(
            "CreateQueue", {"parent": LOCATION, "queue": {"name": f"{QUEUE}2"}}
        )
        self.create("a")
        message = {"parent": f"{QUEUE}2", "names": [f"{QUEUE}/tasks/a", "x"]}
        found = self.api.call("BatchDeleteTasks", message)
        codes = [each["code"] for each in found["metadata"]["failedRequests"].values()]
        self.assertEqual((codes, self.api.broker.cancelled), ([3, 3], []))

    def test_broker_away(self) -> None:
        """
        If RabbitMQ is away that is the error of each task.
        """
        self.create("a")
        self.api.broker.problem = BrokerError("RabbitMQ is away")
        failed = {"0": {"code": 14, "message": "RabbitMQ is away"}}
        self.assertEqual(self._deleted("a")["metadata"]["failedRequests"], failed)
        self.assertEqual(self._create(task())["metadata"]["failedRequests"], failed)
