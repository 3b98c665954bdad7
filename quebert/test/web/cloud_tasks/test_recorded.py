"""
The Cloud Tasks API answers as Google does: each row of the table, by itself and over
REST.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

from twisted.trial.unittest import SynchronousTestCase

from quebert.created_tasks import EndNote
from quebert.test.web.cloud_tasks.doubles import LOCATION, QUEUE, MemoryCloudTasks
from quebert.test.web.cloud_tasks.recorded import GOOGLE, ROWS, Row, task
from quebert.web._exchange import APIAnswer
from quebert.web.cloud_tasks import METHODS, CloudTasksError, Code
from quebert.web.cloud_tasks._proto import camel
from quebert.web.cloud_tasks._rest import PATHS, RESTPath


def prepared() -> MemoryCloudTasks:
    """
    The API with the queues and tasks that the table speaks of.
    """
    api = MemoryCloudTasks()
    name = f"{LOCATION}/queues/deleted"
    api.call("CreateQueue", {"parent": LOCATION, "queue": {"name": name}})
    api.call("DeleteQueue", {"name": name})
    for each in ("taken", "ended", "deleted"):
        named = task(name=f"{QUEUE}/tasks/{each}")
        api.call("CreateTask", {"parent": QUEUE, "task": named})
    api.call("DeleteTask", {"name": f"{QUEUE}/tasks/deleted"})
    [uuid] = [u for u, (_, r) in api.rows.rows.items() if r.task.name == "ended"]
    note = EndNote(uuid=uuid, queue="mail", outcome="done", ended=api.time)
    api.wait(api.tasks.ended([note]))
    return api


def over_rest(
    api: MemoryCloudTasks, path: RESTPath, message: dict[str, Any]
) -> APIAnswer:
    """
    The answer to a message that goes over REST.
    """
    message = json.loads(json.dumps(message))
    outer, _, inner = camel(path.field).partition(".")
    resource = message[outer].pop(inner) if inner else message.pop(outer)
    rest: Any = message
    if path.body not in ("", "*"):
        rest = message.pop(camel(path.body), None)
    query = "" if rest is message and path.body else f"?{urlencode(message)}"
    target = f"/v2/{quote(resource)}{path.rest}{query}"
    return api.http(path.method, target, rest if path.body else None)


class RecordedTests(SynchronousTestCase):
    """
    The table.
    """

    def test_call(self) -> None:
        """
        Each request ends as its row says: the code, the message and the details, or
        what its answer has.
        """
        for row in ROWS:
            where = f"{row.method}, {row.condition} ({row.by})"
            answer, error = self._end(row)
            if row.code == Code.OK:
                self.assertIsNone(error, where)
                self.assertEqual({**answer, **row.answer}, answer, where)
                continue
            assert error is not None, where
            self.assertEqual(
                (error.code, error.message), (row.code, row.message), where
            )
            if row.details is not None:
                self.assertEqual(error.details, row.details, where)

    def _end(self, row: Row) -> tuple[dict[str, Any], CloudTasksError | None]:
        try:
            return prepared().call(row.method, row.request), None
        except CloudTasksError as e:
            return {}, e

    def test_rest(self) -> None:
        """
        Over REST it ends likewise, with the status of HTTP that the code has; a path
        that names nothing is answered 404.
        """
        by_rpc = {each.rpc: each for each in PATHS}
        for row in ROWS:
            where = f"{row.method}, {row.condition} ({row.by})"
            path = by_rpc[row.method]
            answer = over_rest(prepared(), path, row.request)
            found = json.loads(answer.body)
            if row.code == Code.OK:
                self.assertEqual(answer.status, 200, where)
                self.assertNotIn("error", found, where)
                self.assertEqual({**found, **row.answer}, found, where)
                continue
            error = found["error"]
            self.assertEqual(error["code"], answer.status, where)
            if self._has_no_path(path, row):
                self.assertEqual(answer.status, 404, where)
                continue
            self.assertEqual(answer.status, row.code.status, where)
            self.assertEqual(error["status"], row.code.name, where)
            self.assertEqual(error["message"], row.message, where)
            if row.details is not None:
                self.assertEqual(error.get("details", []), row.details, where)

    def _has_no_path(self, path: RESTPath, row: Row) -> bool:
        outer, _, inner = camel(path.field).partition(".")
        resource = row.request[outer][inner] if inner else row.request[outer]
        return path.resource_in(f"{resource}{path.rest.partition(':')[0]}") is None

    def test_whole(self) -> None:
        """
        Each method has a path, and a row but for those that always succeed; what Google
        has answered is in the table.
        """
        self.assertEqual({each.rpc for each in PATHS}, set(METHODS))
        missing = set(METHODS) - {row.method for row in ROWS}
        self.assertEqual(
            missing, {"TestIamPermissions", "ListLocations", "GetCmekConfig"}
        )
        self.assertGreaterEqual(sum(row.by == GOOGLE for row in ROWS), 46)
