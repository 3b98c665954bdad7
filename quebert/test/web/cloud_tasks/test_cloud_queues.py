"""
The methods of the Cloud Tasks API that are about queues, and those about neither queues
nor tasks.
"""

from __future__ import annotations

from typing import Any

import attrs

from quebert.errors import ConfigError
from quebert.policy import RetryPolicy
from quebert.test.web.cloud_tasks.doubles import ALL, LOCATION, QUEUE
from quebert.test.web.cloud_tasks.recorded import task
from quebert.test.web.cloud_tasks.test_cloud_tasks import (
    PLAIN_QUEUE,
    CloudTasksTestCase,
)
from quebert.web._tokens import Grant
from quebert.web.cloud_tasks import (
    CloudNames,
    CloudQueue,
    CloudTasksError,
    Code,
    Location,
)
from quebert.web.cloud_tasks._rights import PERMISSIONS

NEW = f"{LOCATION}/queues/new"
OTHER = "projects/other.org:p/locations/there/queues/new"
#: All fields of a target.
TARGET = {
    "uriOverride": {
        "scheme": "HTTPS",
        "host": "localhost",
        "port": "8080",
        "pathOverride": {"path": "/do"},
        "queryOverride": {"queryParams": "a=1"},
        "uriOverrideEnforceMode": "ALWAYS",
    },
    "httpMethod": "PUT",
    "headerOverrides": [{"header": {"key": "X-A", "value": "b"}}],
    "oidcToken": {"serviceAccountEmail": "a@b", "audience": "them"},
}


class QueueTests(CloudTasksTestCase):
    """
    Queues.
    """

    def make(self, name: str = NEW, **fields: Any) -> dict[str, Any]:
        """
        Make a queue.
        """
        parent = name.partition("/queues/")[0]
        message = {"parent": parent, "queue": {"name": name, **fields}}
        return self.api.call("CreateQueue", message)

    def update(self, mask: str | None = None, **fields: Any) -> dict[str, Any]:
        """
        Change a queue.
        """
        message: dict[str, Any] = {"queue": {"name": NEW, **fields}}
        if mask is not None:
            message["updateMask"] = mask
        return self.api.call("UpdateQueue", message)

    def test_defaults(self) -> None:
        """
        A queue of which nothing is said has what Google gives to one.
        """
        self.assertEqual(self.make(), {"name": NEW, **PLAIN_QUEUE})
        self.assertEqual(
            self.api.queues.queues["new"],
            CloudQueue(name="new", rate=500.0, burst=100, concurrency=1_000),
        )
        self.assertEqual(self.api.call("GetQueue", {"name": NEW})["name"], NEW)

    def test_all_fields(self) -> None:
        """
        Each field is kept; those that the server settles are left out.
        """
        given: dict[str, Any] = {
            "rateLimits": {
                "maxDispatchesPerSecond": 2.5,
                "maxBurstSize": 77,
                "maxConcurrentDispatches": 3,
            },
            "retryConfig": {
                "maxAttempts": -1,
                "maxRetryDuration": "60s",
                "minBackoff": "1s",
                "maxBackoff": "10s",
                "maxDoublings": 4,
            },
            "state": "DISABLED",
            "purgeTime": "2020-01-01T00:00:00Z",
            "stackdriverLoggingConfig": {"samplingRatio": 0.5},
            "httpTarget": TARGET,
        }
        wanted = {
            "name": NEW,
            "rateLimits": {**given["rateLimits"], "maxBurstSize": 1},
            "retryConfig": given["retryConfig"],
            "state": "RUNNING",
            "httpTarget": TARGET,
        }
        self.assertEqual(self.make(**given), wanted)
        policy = RetryPolicy(
            max_attempts=-1,
            max_retry_duration=60.0,
            min_backoff=1.0,
            max_backoff=10.0,
            max_doublings=4,
        )
        kept = self.api.queues.queues["new"]
        self.assertEqual((kept.retry, kept.http_target), (policy, TARGET))

    def test_shortest_backoff(self) -> None:
        """
        No queue waits for less than 0.01 s, so that there is no hot loop.
        """
        found = self.make(retryConfig={"minBackoff": "0s", "maxBackoff": "0s"})
        retry = found["retryConfig"]
        self.assertEqual((retry["minBackoff"], retry["maxBackoff"]), ("0.010s",) * 2)

    def test_names(self) -> None:
        """
        A queue of the home has its ID as its name in RabbitMQ, any other one its whole
        name; they are listed where they belong.
        """
        self.make()
        self.make(OTHER)
        self.assertEqual(
            set(self.api.queues.queues), {"mail", "new", "other.org:p.there.new"}
        )
        for name in (NEW, OTHER):
            parent = name.partition("/queues/")[0]
            found = self.api.call("ListQueues", {"parent": parent})["queues"]
            self.assertEqual(found[-1]["name"], name)
        self.api.call("CreateTask", {"parent": OTHER, "task": task()})
        self.assertEqual(set(self.api.broker.queues), {"other.org:p.there.new"})

    def test_all_masks(self) -> None:
        """
        A change without a mask, or of all, sets what is not said to its default; one
        with a mask leaves all else, in the spelling of either client.
        """
        self.make(rateLimits={"maxDispatchesPerSecond": 5}, httpTarget=TARGET)
        limits = {"maxDispatchesPerSecond": 7, "maxConcurrentDispatches": 8}
        for mask in (
            "rateLimits.maxConcurrentDispatches",
            "rate_limits.max_concurrent_dispatches",
        ):
            found = self.update(mask, rateLimits=limits)
            self.assertEqual(
                found["rateLimits"],
                {
                    "maxDispatchesPerSecond": 5.0,
                    "maxBurstSize": 1,
                    "maxConcurrentDispatches": 8,
                },
            )
            self.assertEqual(found["httpTarget"], TARGET)
        found = self.update("rateLimits,retryConfig.maxAttempts", rateLimits=limits)
        self.assertEqual(found["rateLimits"]["maxDispatchesPerSecond"], 7.0)
        found = self.update("httpTarget.uriOverride.host", httpTarget={})
        target = self.api.queues.queues["new"].http_target
        self.assertNotIn("host", target["uriOverride"])
        self.assertIn("port", target["uriOverride"])
        for all_of_it in ("*", "", None):
            self.update("rateLimits", rateLimits=limits)
            self.assertEqual(self.update(all_of_it), {"name": NEW, **PLAIN_QUEUE})

    def test_beyond_the_api(self) -> None:
        """
        A change leaves what it does not name, also where that has no form in the API,
        or is beyond its limits.
        """
        jitter = RetryPolicy(jitter="full")
        old = CloudQueue(name="new", rate=5_000.0, concurrency=60_000, retry=jitter)
        unlimited = CloudQueue(name="new")
        target = {"httpMethod": "PUT"}
        for queue in (old, unlimited):
            self.api.queues.queues["new"] = queue
            self.update("httpTarget", httpTarget=target)
            kept = self.api.queues.queues["new"]
            wanted = attrs.evolve(queue, version=kept.version, http_target=target)
            self.assertEqual(kept, wanted)
        found = self.api.call("GetQueue", {"name": NEW})
        self.assertEqual(found["rateLimits"], {})

    def test_state_is_kept(self) -> None:
        """
        A change leaves the queue paused, and when it was purged.
        """
        self.make()
        self.api.call("PurgeQueue", {"name": NEW})
        self.api.call("PauseQueue", {"name": NEW})
        found = self.update(state="RUNNING")
        self.assertEqual(found["state"], "PAUSED")
        self.assertEqual(found["purgeTime"], "2026-11-29T12:00:00.123456Z")
        self.assertEqual(
            self.api.call("ResumeQueue", {"name": NEW})["state"], "RUNNING"
        )

    def test_changed_meanwhile(self) -> None:
        """
        If somebody else changes the queue at the same time, the change is made to what
        is there then; after five tries it is given up.
        """
        self.make()
        queues = self.api.queues
        times: list[int] = []

        def change() -> None:
            if len(times) < 3:
                times.append(1)
                old = queues.queues["new"]
                retry = attrs.evolve(old.retry, max_attempts=len(times))
                new = attrs.evolve(old, version=old.version + 1, retry=retry)
                queues.queues["new"] = new

        queues.meanwhile = change
        limits = {"maxDispatchesPerSecond": 7}
        found = self.update("rateLimits", rateLimits=limits)
        self.assertEqual(found["retryConfig"]["maxAttempts"], 3)
        self.assertEqual(found["rateLimits"]["maxDispatchesPerSecond"], 7.0)

        def always() -> None:
            old = queues.queues["new"]
            queues.queues["new"] = attrs.evolve(old, version=old.version + 1)

        queues.meanwhile = always
        self.assertEqual(
            self.refused("UpdateQueue", {"queue": {"name": NEW}}), Code.ABORTED
        )

    def test_impossible(self) -> None:
        """
        What the register of queues refuses is an argument that is wrong.
        """
        self.api.queues.problem = ConfigError("the name is too long")
        message = {"parent": LOCATION, "queue": {"name": NEW}}
        error = self.error("CreateQueue", message)
        self.assertEqual(error.code, Code.INVALID_ARGUMENT)
        self.assertEqual(
            error.message, "The queue cannot be made: the name is too long."
        )

    def test_dead_letters(self) -> None:
        """
        A queue whose name in RabbitMQ would be that of the dead letters of another one
        is not made; at home there is one of this ID.  One that is there, since an
        earlier version has made it, can be deleted.
        """
        parent = "projects/other.org:p/locations/a"
        name = f"{parent}/queues/dead"
        for method, message in (
            ("CreateQueue", {"parent": parent, "queue": {"name": name}}),
            ("UpdateQueue", {"queue": {"name": name}}),
        ):
            error = self.error(method, message)
            self.assertEqual(error.code, Code.INVALID_ARGUMENT, method)
            self.assertIn('Queue ID "dead" cannot be used', error.message)
        self.make(f"{LOCATION}/queues/dead")
        in_rabbitmq = "other.org:p.a.dead"
        self.api.queues.queues[in_rabbitmq] = CloudQueue(name=in_rabbitmq)
        self.assertEqual(self.api.call("GetQueue", {"name": name})["name"], name)
        self.api.call("DeleteQueue", {"name": name})

    def test_pages(self) -> None:
        """
        Queues come in pages, by their IDs, and with a filter those of a state.
        """
        for each in "bca":
            self.make(f"{LOCATION}/queues/{each}")
        self.api.call("PauseQueue", {"name": f"{LOCATION}/queues/b"})
        names: list[str] = []
        token = ""
        while not names or token:
            message = {"parent": LOCATION, "pageSize": 3, "pageToken": token}
            found = self.api.call("ListQueues", message)
            names += [each["name"].rpartition("/")[2] for each in found["queues"]]
            token = found.get("nextPageToken", "")
        self.assertEqual(names, ["a", "b", "c", "mail"])
        for text, wanted in (
            ("state: PAUSED", ["b"]),
            ('state="RUNNING"', ["a", "c", "mail"]),
            ("state != PAUSED", ["a", "c", "mail"]),
            ("state:DISABLED", []),
        ):
            found = self.api.call("ListQueues", {"parent": LOCATION, "filter": text})
            names = [q["name"].rpartition("/")[2] for q in found.get("queues", [])]
            self.assertEqual(names, wanted)

    def test_not_named(self) -> None:
        """
        A queue of RabbitMQ that has no name in the API is not shown.
        """
        for name in (
            "quebert.a.b",
            "x.dead",
            "with space",
            "shop.here.mail",
            "foreign.a.b",
        ):
            self.api.queues.queues[name] = CloudQueue(name=name)
        for project in ("shop", "other.org:p"):
            for location in ("here", "a"):
                parent = f"projects/{project}/locations/{location}"
                found = self.api.call("ListQueues", {"parent": parent})
                names = [each["name"] for each in found.get("queues", [])]
                is_home = (project, location) == ("shop", "here")
                self.assertEqual(names, [QUEUE] if is_home else [])

    def test_reserved_names(self) -> None:
        """
        No queue can have the name of one of RabbitMQ's or of quebert's own.
        """
        names = CloudNames()
        for project in ("quebert", "amq", "quebert.delay", "amq.x"):
            self.assertIsNone(names.in_cloud_tasks(f"{project}.a.b"))
            with self.assertRaisesRegex(Exception, "Permission denied"):
                names.queue(f"projects/{project}/locations/a/queues/b")


class RightsTests(CloudTasksTestCase):
    """
    Who may do what.
    """

    #: For each right the methods that need it, each with its message.
    NEEDED: dict[str, dict[str, dict[str, Any]]] = {
        "add": {
            "CreateTask": {"parent": QUEUE, "task": task()},
            "BatchCreateTasks": {"parent": QUEUE, "requests": [{"task": task()}]},
        },
        "read": {
            "GetTask": {"name": f"{QUEUE}/tasks/t"},
            "ListTasks": {"parent": QUEUE},
            "GetQueue": {"name": QUEUE},
            "ListQueues": {"parent": LOCATION},
            "GetIamPolicy": {"resource": QUEUE},
            "ListLocations": {"name": "projects/shop"},
            "GetLocation": {"name": LOCATION},
            "GetOperation": {"name": f"{LOCATION}/operations/o"},
            "GetCmekConfig": {"name": f"{LOCATION}/cmekConfig"},
        },
        "operate": {
            "DeleteTask": {"name": f"{QUEUE}/tasks/t"},
            "RunTask": {"name": f"{QUEUE}/tasks/t"},
            "BatchDeleteTasks": {"parent": QUEUE, "names": ["x"]},
            "CreateQueue": {"parent": LOCATION, "queue": {"name": QUEUE}},
            "UpdateQueue": {"queue": {"name": QUEUE}},
            "PauseQueue": {"name": QUEUE},
            "ResumeQueue": {"name": QUEUE},
            "PurgeQueue": {"name": QUEUE},
            "DeleteQueue": {"name": QUEUE},
            "SetIamPolicy": {"resource": QUEUE},
            "UpdateCmekConfig": {"cmekConfig": {"name": f"{LOCATION}/cmekConfig"}},
        },
    }

    def _code(self, method: str, message: dict[str, Any], grant: Grant) -> str:
        try:
            self.api.call(method, message, grant)
        except CloudTasksError as e:
            return e.code.name
        return "OK"

    def test_matrix(self) -> None:
        """
        Each method wants one right, for the queue that it is about; without a token at
        all the client is told that one is missing.
        """
        denied = {"PERMISSION_DENIED", "UNAUTHENTICATED"}
        of_one = {"ListQueues", "ListLocations", "GetLocation"}
        of_one |= {"GetOperation", "GetCmekConfig", "UpdateCmekConfig"}
        for right, methods in self.NEEDED.items():
            others = frozenset({"add", "read", "operate"} - {right})
            for method, message in methods.items():
                self.setUp()
                given = frozenset([right])
                for grant, wanted in (
                    (Grant("without", others), "PERMISSION_DENIED"),
                    (Grant("", frozenset()), "UNAUTHENTICATED"),
                ):
                    self.assertEqual(self._code(method, message, grant), wanted)
                if method not in of_one:
                    elsewhere = Grant("elsewhere", given, ("other*",))
                    found = self._code(method, message, elsewhere)
                    self.assertEqual(found, "PERMISSION_DENIED", method)
                found = self._code(method, message, Grant("with", given, ("mail",)))
                self.assertNotIn(found, denied, method)

    def test_bodies(self) -> None:
        """
        Who may read tasks may see their bodies only if it may operate the queue, too;
        but who creates one, sees what it has sent.
        """
        creating = {"parent": QUEUE, "task": task(name=f"{QUEUE}/tasks/t")}
        adder = Grant("adder", frozenset(["add"]))
        full = {"responseView": "FULL"}
        found = self.api.call("CreateTask", {**creating, **full}, adder)
        self.assertEqual(found["view"], "FULL")
        reader = Grant("reader", frozenset(["read"]))
        both = Grant("both", frozenset(["read", "operate"]))
        for method, message in (
            ("GetTask", {"name": f"{QUEUE}/tasks/t"}),
            ("ListTasks", {"parent": QUEUE}),
        ):
            self.api.call(method, message, reader)
            error = self.error(method, {**message, **full}, reader)
            self.assertEqual(error.code, Code.PERMISSION_DENIED)
            self.assertIn("cloudtasks.tasks.fullView", error.message)
            self.api.call(method, {**message, **full}, both)

    def test_sentence(self) -> None:
        """
        The sentence names the permission and the queue.
        """
        grant = Grant("reader", frozenset(["read"]))
        error = self.error("PauseQueue", {"name": QUEUE}, grant)
        self.assertEqual(
            error.message,
            "The principal (user or service account) lacks IAM permission"
            f' "cloudtasks.queues.pause" for the resource "{QUEUE}" (or the resource'
            " may not exist).",
        )

    def test_list(self) -> None:
        """
        A list of queues has those that the token is for.
        """
        self.api.queues.queues["new"] = CloudQueue(name="new")
        grant = Grant("one", frozenset(["read"]), ("n*",))
        found = self.api.call("ListQueues", {"parent": LOCATION}, grant)
        self.assertEqual([each["name"] for each in found["queues"]], [NEW])

    def test_permissions(self) -> None:
        """
        The permissions that a token has are told, for the queue that is asked for.
        """
        asked = sorted(PERMISSIONS)
        message = {"resource": QUEUE, "permissions": [*asked, "other.thing"]}
        found = self.api.call("TestIamPermissions", message, ALL)
        self.assertEqual(found["permissions"], asked)
        adder = Grant("adder", frozenset(["add"]), ("mail",))
        found = self.api.call("TestIamPermissions", message, adder)
        self.assertEqual(found["permissions"], ["cloudtasks.tasks.create"])
        elsewhere = Grant("adder", frozenset(["add"]), ("x",))
        self.assertEqual(self.api.call("TestIamPermissions", message, elsewhere), {})
        many = {"resource": QUEUE, "permissions": ["x"] * 101}
        self.assertEqual(
            self.refused("TestIamPermissions", many), Code.INVALID_ARGUMENT
        )


class AuditTests(CloudTasksTestCase):
    """
    The audit log.
    """

    def test_changes(self) -> None:
        """
        Each change is in it with its user, what it is about and how it ended; what is
        read or created is not.
        """
        for methods in RightsTests.NEEDED.values():
            for method, message in methods.items():
                try:
                    self.api.call(method, message)
                except CloudTasksError:
                    pass
        lines = self.api.audit.lines
        self.assertEqual({each["who"] for each in lines}, {"all"})
        found = {each["action"]: each["result"] for each in lines}
        self.assertEqual(
            found,
            {
                "DeleteTask": "Requested entity was not found.",
                "RunTask": "Requested entity was not found.",
                "BatchDeleteTasks": "done",
                "CreateQueue": "Queue already exists",
                **{
                    f"{verb}Queue": "done"
                    for verb in ("Update", "Pause", "Resume", "Purge", "Delete")
                },
            },
        )
        self.assertEqual(lines[-1]["name"], QUEUE)

    def test_fault(self) -> None:
        """
        A change that fails by a fault of the server is in it, too.
        """
        self.api.queues.problem = ZeroDivisionError()  # type: ignore[assignment]
        with self.assertRaises(ZeroDivisionError):
            self.api.call("PauseQueue", {"name": QUEUE})
        self.assertEqual(self.api.audit.lines[0]["result"], "failed")


class OtherMethodsTests(CloudTasksTestCase):
    """
    Locations, policies and keys.
    """

    def test_locations(self) -> None:
        """
        A project has the home, and the locations that have queues.
        """
        queues = self.api.queues.queues
        for name in ("shop.there.a", "shop.there.b", "other.org:p.here.a"):
            queues[name] = CloudQueue(name=name)
        found = self.api.call("ListLocations", {"name": "projects/shop"})
        self.assertEqual(
            found["locations"],
            [
                {"name": LOCATION, "locationId": "here"},
                {"name": "projects/shop/locations/there", "locationId": "there"},
            ],
        )
        self.assertEqual(
            self.api.call("GetLocation", {"name": LOCATION}), found["locations"][0]
        )
        for name in ("x", "projects/foreign"):
            self.assertNotEqual(self.refused("ListLocations", {"name": name}), Code.OK)

    def test_policy(self) -> None:
        """
        A queue has a policy without anything, and an etag.
        """
        found = self.api.call("GetIamPolicy", {"resource": QUEUE, "options": {"a": 1}})
        self.assertEqual(found, {"etag": "ACAB"})

    def test_key(self) -> None:
        """
        There is no key.
        """
        name = f"{LOCATION}/cmekConfig"
        self.assertEqual(self.api.call("GetCmekConfig", {"name": name}), {"name": name})

    def test_home(self) -> None:
        """
        Without a home each queue has its whole name in RabbitMQ.
        """
        names = CloudNames()
        name = names.queue(QUEUE)
        self.assertEqual(names.in_rabbitmq(name), "shop.here.mail")
        self.assertEqual(names.in_cloud_tasks("shop.here.mail"), name)
        self.assertIsNone(names.in_cloud_tasks("mail"))
        home = CloudNames(Location("shop", "here"))
        self.assertEqual(home.in_rabbitmq(name), "mail")
        self.assertIsNone(home.in_cloud_tasks("shop.here.mail"))

    def test_unknown(self) -> None:
        """
        There is no other method.
        """
        self.assertEqual(self.refused("BufferTask", {}), Code.UNIMPLEMENTED)
