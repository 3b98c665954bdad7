"""
Requests to the Cloud Tasks API that say anything.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.test.checks import QUICK
from quebert.test.web.cloud_tasks.doubles import LOCATION, QUEUE, MemoryCloudTasks
from quebert.web._exchange import APIProblem
from quebert.web._tokens import Grant
from quebert.web.cloud_tasks import METHODS, CloudTasksError
from quebert.web.cloud_tasks._rest import PATHS

_text = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            *("", "1", "-1", "1s", "-1s", "1.5s", "99999999999s", "1e9", "NaN"),
            *(
                "2026-12-01T00:00:00Z",
                "0001-01-01T00:00:00+23:59",
                "9999-12-31T23:59:60Z",
            ),
            *(
                "YQ==",
                "YQ",
                "_-",
                "GET",
                "FULL",
                "http://h/",
                "http://h/\ud800",
                "\x00",
            ),
            *(
                QUEUE,
                LOCATION,
                f"{QUEUE}/tasks/t",
                f"{LOCATION}/queues/new",
                "projects",
            ),
            *(
                "rateLimits.maxDispatchesPerSecond,state",
                "*",
                "a.b.c",
                "name.x",
                "9" * 70,
            ),
        ]
    ),
)
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from([0, 1, -1, 0.5, 501, 65_536, 1e300]),
    _text,
)
_json = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_text, inner, max_size=3)
    ),
    max_leaves=8,
)


_TASK: dict[str, Any] = {
    "name": f"{QUEUE}/tasks/t",
    "httpRequest": {
        "url": "http://localhost/do",
        "httpMethod": "PUT",
        "headers": {"X-A": "b", "User-Agent": "c"},
        "body": "eA==",
        "oidcToken": {"serviceAccountEmail": "a@b", "audience": "c"},
    },
    "scheduleTime": "2026-12-01T00:00:00.5Z",
    "dispatchDeadline": "20.5s",
    "retryConfig": {"maxAttempts": 5, "minBackoff": "1s", "maxRetryDuration": "9s"},
}
_QUEUE: dict[str, Any] = {
    "name": QUEUE,
    "rateLimits": {"maxDispatchesPerSecond": 0.5, "maxConcurrentDispatches": 5},
    "retryConfig": {"maxAttempts": -1, "maxBackoff": "60s", "maxDoublings": 3},
    "httpTarget": {
        "uriOverride": {"scheme": 1, "host": "h", "port": "80"},
        "headerOverrides": [{"header": {"key": "X-A", "value": "b"}}],
    },
}
_NAMED = {"name": f"{QUEUE}/tasks/t"}
_CREATE = {"parent": QUEUE, "task": _TASK, "responseView": "FULL"}
#: For each method a request that succeeds, if the task is there.
RIGHT: dict[str, dict[str, Any]] = {
    "CreateTask": _CREATE,
    "GetTask": {**_NAMED, "responseView": 2},
    "RunTask": _NAMED,
    "DeleteTask": _NAMED,
    "ListTasks": {"parent": QUEUE, "responseView": 2, "pageSize": 3},
    "BatchCreateTasks": {"parent": QUEUE, "requests": [_CREATE], "requestId": "r"},
    "BatchDeleteTasks": {"parent": QUEUE, "names": [_NAMED["name"]]},
    "CreateQueue": {
        "parent": LOCATION,
        "queue": {**_QUEUE, "name": f"{LOCATION}/queues/new"},
    },
    "UpdateQueue": {
        "queue": _QUEUE,
        "updateMask": "rateLimits,retryConfig.maxAttempts,httpTarget.uriOverride.host",
    },
    "GetQueue": {"name": QUEUE},
    "PauseQueue": {"name": QUEUE},
    "ResumeQueue": {"name": QUEUE},
    "PurgeQueue": {"name": QUEUE},
    "DeleteQueue": {"name": QUEUE},
    "ListQueues": {"parent": LOCATION, "filter": "state: RUNNING", "pageSize": 2},
    "GetIamPolicy": {"resource": QUEUE, "options": {}},
    "SetIamPolicy": {"resource": QUEUE, "policy": {}, "updateMask": "bindings"},
    "TestIamPermissions": {
        "resource": QUEUE,
        "permissions": ["cloudtasks.tasks.create"],
    },
    "ListLocations": {"name": "projects/shop"},
    "GetLocation": {"name": LOCATION},
    "GetOperation": {"name": f"{LOCATION}/operations/o"},
    "GetCmekConfig": {"name": f"{LOCATION}/cmekConfig"},
    "UpdateCmekConfig": {"cmekConfig": {"name": f"{LOCATION}/cmekConfig"}},
}


@st.composite
def _spoilt(draw: st.DrawFn) -> tuple[str, Any]:
    """
    A method, and its right request with up to two values changed to anything.
    """
    method = draw(st.sampled_from(sorted(RIGHT)))
    message = json.loads(json.dumps(RIGHT[method]))
    for _ in range(draw(st.integers(0, 2))):
        message = _changed(draw, message)
    return method, message


def _changed(draw: st.DrawFn, value: Any) -> Any:
    inner: list[Any] = []
    if isinstance(value, dict):
        inner = [*value, draw(_text)]
    elif isinstance(value, list):
        inner = list(range(len(value)))
    if not inner or draw(st.integers(0, 5)) == 0:
        return draw(_json)
    key = draw(st.sampled_from(inner))
    old = value.get(key) if isinstance(value, dict) else value[key]
    value[key] = _changed(draw, old)
    return value


_requests = st.one_of(
    _spoilt(), _spoilt(), st.tuples(st.sampled_from(sorted(RIGHT)), _json)
)
_names = st.sampled_from([QUEUE, LOCATION, f"{QUEUE}/tasks/t", f"{LOCATION}/queues/n"])
_grants = st.sampled_from(
    [
        Grant("all", frozenset(["read", "operate", "add"])),
        Grant("", frozenset(["read"])),
        Grant("some", frozenset(["add", "operate"]), ("m*",)),
    ]
)


class HostileRequestsTests(SynchronousTestCase):
    """
    Whatever a request says.
    """

    def test_right(self) -> None:
        """
        Each method has a request that is right before it is spoilt.
        """
        self.assertEqual(set(RIGHT), set(METHODS))
        without = {"SetIamPolicy", "UpdateCmekConfig", "GetOperation"}
        for method in set(METHODS) - without:
            api = MemoryCloudTasks()
            if method not in ("CreateTask", "BatchCreateTasks"):
                api.call("CreateTask", _CREATE)
            api.call(method, RIGHT[method])

    @given(_requests, _grants)
    @QUICK
    def test_call(self, request: tuple[str, Any], grant: Grant) -> None:
        """
        A method answers, or raises L{CloudTasksError}; both can be written as JSON in
        UTF-8.
        """
        method, message = request
        api = MemoryCloudTasks()
        if method not in ("CreateTask", "BatchCreateTasks"):
            api.call("CreateTask", _CREATE)
        try:
            answer = api.call(method, message, grant)
        except CloudTasksError as e:
            answer = e.status
        json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()

    @given(
        st.sampled_from(PATHS),
        _names,
        st.one_of(_json.map(lambda value: json.dumps(value).encode()), st.binary()),
        st.dictionaries(_text, _text, max_size=3),
    )
    @QUICK
    def test_rest(
        self, path: Any, name: str, body: bytes, query: dict[str, str]
    ) -> None:
        """
        Over REST there is an answer in JSON, and an error is in Google's form.
        """
        fields = "&".join(f"{_quoted(n)}={_quoted(v)}" for n, v in query.items())
        target = f"/v2/{quote(name)}{path.rest}?{fields}"
        try:
            answer = MemoryCloudTasks().http(path.method, target, body)
        except APIProblem:  # of the server, before the API has it
            return
        found = json.loads(answer.body)
        if answer.status != 200:
            self.assertEqual(
                set(found["error"]) - {"details"}, {"code", "message", "status"}
            )


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")
