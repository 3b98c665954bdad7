"""
How requests to the Cloud Tasks API end: one row for each request.

Google's answers were recorded by others through gRPC; those rows are marked so, and
their messages are exact.  Others follow from the documentation of Google's API.  All
other rows are ours to choose: nobody has recorded what Google answers.
"""

from __future__ import annotations

import base64
from typing import Any

import attrs

from quebert.test.web.cloud_tasks.doubles import LOCATION, QUEUE
from quebert.web.cloud_tasks import Code
from quebert.web.cloud_tasks._pages import page_token

__all__ = ["DOCUMENTED", "GOOGLE", "OURS", "ROWS", "Row", "task"]

#: Who has chosen an answer.
GOOGLE, DOCUMENTED, OURS = "Google", "Google's documentation", "ours"
NO_QUEUE = (
    "Queue does not exist. If you just created the queue, wait at least a minute for"
    " the queue to initialize."
)
NO_ENTITY = "Requested entity was not found."
NO_LONGER = (
    "The task no longer exists, though a task with this name existed recently. The task"
    " either successfully completed or was deleted."
)
#: A queue that is not there, and one that was deleted.
UNKNOWN, DELETED = f"{LOCATION}/queues/unknown", f"{LOCATION}/queues/deleted"
_REFERENCE = "https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations"
_TYPE = "type.googleapis.com/google.rpc"


def task(**fields: Any) -> dict[str, Any]:
    """
    A task that can be created.
    """
    return {"httpRequest": {"url": "http://localhost/do"}, **fields}


def _queue(**fields: Any) -> dict[str, Any]:
    return {"parent": LOCATION, "queue": {"name": f"{LOCATION}/queues/new", **fields}}


def _create(**fields: Any) -> dict[str, Any]:
    return {"parent": QUEUE, "task": task(**fields)}


def _request(**fields: Any) -> dict[str, Any]:
    return _create(httpRequest={"url": "http://localhost/do", **fields})


def _help(description: str, url: str) -> dict[str, Any]:
    links = [{"description": description, "url": url}]
    return {"@type": f"{_TYPE}.Help", "links": links}


def _denied(project: str) -> list[dict[str, Any]]:
    metadata = {
        "consumer": f"projects/{project}",
        "containerInfo": project,
        "service": "cloudtasks.googleapis.com",
    }
    return [
        {
            "@type": f"{_TYPE}.ErrorInfo",
            "reason": "CONSUMER_INVALID",
            "domain": "googleapis.com",
            "metadata": metadata,
        },
        {
            "@type": f"{_TYPE}.LocalizedMessage",
            "locale": "en-US",
            "message": f"Permission denied on resource project {project}.",
        },
        _help("Google developers console", "https://console.developers.google.com"),
    ]


@attrs.frozen
class Row:
    """
    A request and its end.

    @ivar method: the rpc.
    @ivar condition: what is special.
    @ivar request: the message.
    @ivar code: C{OK}, or why not.
    @ivar message: of the error, whole.
    @ivar details: of the error; C{None} where they are not looked at.
    @ivar by: who has chosen it.
    @ivar answer: what it has at least, where it succeeds.
    """

    method: str
    condition: str
    request: dict[str, Any]
    code: Code
    message: str = ""
    details: list[dict[str, Any]] | None = attrs.field(factory=list)
    by: str = GOOGLE
    answer: dict[str, Any] = attrs.field(factory=dict)


_INVALID = Code.INVALID_ARGUMENT
_QUEUE_NAME = (
    'Queue name must be formatted: "projects/<PROJECT_ID>/locations/<LOCATION_ID>'
    '/queues/<QUEUE_ID>".'
)
_QUEUE_HELP = _help(
    "Definition of queue name", f"{_REFERENCE}.queues#Queue.FIELDS.name"
)
_TASK_HELP = _help(
    "Definition of task ID", f"{_REFERENCE}.queues.tasks#Task.FIELDS.name"
)


def _queue_rows() -> list[Row]:
    wrong: list[tuple[str, dict[str, Any], str]] = [
        (
            "minBackoff above maxBackoff",
            {"retryConfig": {"minBackoff": "10s", "maxBackoff": "5s"}},
            "RetryConfig.minBackoff must be less than or equal to"
            " RetryConfig.maxBackoff.",
        ),
        (
            "minBackoff negative",
            {"retryConfig": {"minBackoff": "-1s"}},
            "RetryConfig.minBackoff cannot be negative.",
        ),
        (
            "maxAttempts -2",
            {"retryConfig": {"maxAttempts": -2}},
            "RetryConfig.maxAttempts must be greater or equal to -1.",
        ),
        (
            "maxDoublings negative",
            {"retryConfig": {"maxDoublings": -1}},
            "RetryConfig.maxDoublings cannot be negative.",
        ),
        (
            "rate negative",
            {"rateLimits": {"maxDispatchesPerSecond": -1}},
            "RateLimits.maxDispatchesPerSecond cannot be negative.",
        ),
        (
            "rate 501",
            {"rateLimits": {"maxDispatchesPerSecond": 501}},
            "RateLimits.maxDispatchesPerSecond must be less than or equal to 500.",
        ),
        (
            "concurrency negative",
            {"rateLimits": {"maxConcurrentDispatches": -1}},
            "RateLimits.maxConcurrentDispatches cannot be negative.",
        ),
        (
            "concurrency 5001",
            {"rateLimits": {"maxConcurrentDispatches": 5001}},
            "RateLimits.maxConcurrentDispatches must be less than or equal to 5000.",
        ),
    ]
    ours: list[tuple[str, dict[str, Any], str]] = [
        *(
            (
                f"target with the host {host}",
                {"httpTarget": {"uriOverride": {"host": host}}},
                "UriOverride.host must be the name of a host alone.",
            )
            for host in ("a/b", "a@b", "a?b")
        ),
        (
            "target with a host that is none",
            {"httpTarget": {"uriOverride": {"host": "a b"}}},
            "HttpTarget cannot be used: url cannot be requested: it contains a space"
            " or control character.",
        ),
        (
            "target with a header that cannot be sent",
            {"httpTarget": {"headerOverrides": [{"header": {"key": "a b"}}]}},
            "HttpTarget cannot be used: headers: 'a b' is not a name of an HTTP"
            " header.",
        ),
        (
            "target with 91 headers",
            {"httpTarget": {"headerOverrides": [{"header": {"key": "k"}}] * 91}},
            "HttpTarget.headerOverrides must be at most 90.",
        ),
        (
            "maxRetryDuration negative",
            {"retryConfig": {"maxRetryDuration": "-1s"}},
            "RetryConfig.maxRetryDuration cannot be negative.",
        ),
        (
            "maxBackoff negative",
            {"retryConfig": {"maxBackoff": "-1s"}},
            "RetryConfig.maxBackoff cannot be negative.",
        ),
        (
            "minBackoff above the default of maxBackoff",
            {"retryConfig": {"minBackoff": "7200s"}},
            "RetryConfig.minBackoff must be less than or equal to"
            " RetryConfig.maxBackoff.",
        ),
        (
            "App Engine",
            {"appEngineRoutingOverride": {"service": "s"}},
            "App Engine is not supported: Queue.httpTarget can be set.",
        ),
        (
            "target with an OAuth token",
            {"httpTarget": {"oauthToken": {"serviceAccountEmail": "a@b"}}},
            "HttpTarget.oauthToken is not supported; oidcToken is.",
        ),
        (
            "target with half an OIDC token",
            {"httpTarget": {"oidcToken": {"serviceAccountEmail": "a@b"}}},
            "HttpTarget.oidcToken must have serviceAccountEmail and audience.",
        ),
        (
            "target without a host",
            {"httpTarget": {"uriOverride": {"host": ""}}},
            "UriOverride.host cannot be empty.",
        ),
        (
            "target with a port too large",
            {"httpTarget": {"uriOverride": {"port": "65536"}}},
            "UriOverride.port must be between 0 and 65535.",
        ),
        (
            "target with a header without a name",
            {"httpTarget": {"headerOverrides": [{"header": {"value": "v"}}]}},
            "HttpTarget.headerOverrides must each have a key.",
        ),
    ]
    return [
        *(Row("CreateQueue", c, _queue(**f), _INVALID, m) for c, f, m in wrong),
        *(Row("CreateQueue", c, _queue(**f), _INVALID, m, by=OURS) for c, f, m in ours),
        *(
            Row(
                "UpdateQueue",
                c,
                {"queue": {"name": QUEUE, **f}},
                _INVALID,
                m,
                by=OURS,
            )
            for c, f, m in (*wrong, *ours)
        ),
    ]


_MAIL = {"name": QUEUE}
_FOREIGN = "projects/foreign/locations/here"
#: What a queue and a task have of which nothing is said.
_PLAIN_QUEUE: dict[str, Any] = {
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
_AGENT = {"User-Agent": "Google-Cloud-Tasks"}
_PLAIN_TASK: dict[str, Any] = {
    "httpRequest": {
        "url": "http://localhost/do",
        "httpMethod": "POST",
        "headers": _AGENT,
    },
    "scheduleTime": "2026-11-29T12:00:00.123456Z",
    "createTime": "2026-11-29T12:00:00Z",
    "dispatchDeadline": "600s",
    "view": "BASIC",
}
_SHOWN = {
    "url": "http://localhost/do",
    "httpMethod": "POST",
    "headers": {"X-Mixed-Case": "y", **_AGENT},
}


def _default_rows() -> list[Row]:
    """
    What a client is answered whose request is carried out.
    """
    ids = f"{LOCATION}/queues/"
    request = {"headers": {"X-Mixed-Case": "y"}, "body": "eA=="}
    limits = "rateLimits"
    return [
        Row("CreateQueue", "defaults", _queue(), Code.OK, answer=_PLAIN_QUEUE),
        Row("CreateTask", "defaults", _create(), Code.OK, answer=_PLAIN_TASK),
        Row(
            "CreateTask",
            "without its body",
            _request(**request),
            Code.OK,
            answer={"httpRequest": _SHOWN, "view": "BASIC"},
        ),
        Row(
            "CreateTask",
            "with its body",
            {**_request(**request), "responseView": "FULL"},
            Code.OK,
            answer={"httpRequest": {**_SHOWN, "body": "eA=="}, "view": "FULL"},
        ),
        Row(
            "CreateTask",
            "a User-Agent of its own",
            _request(headers={"user-agent": "me"}),
            Code.OK,
            answer={"httpRequest": _PLAIN_TASK["httpRequest"]},
        ),
        Row(
            "CreateTask",
            "times of nanoseconds",
            _create(
                scheduleTime="2026-11-30T00:00:00.123456789Z",
                dispatchDeadline="20.123456789s",
            ),
            Code.OK,
            answer={
                "scheduleTime": "2026-11-30T00:00:00.123456Z",
                "dispatchDeadline": "20.123s",
            },
        ),
        Row(
            "CreateQueue",
            "maxAttempts without a limit",
            _queue(retryConfig={"maxAttempts": -1}),
            Code.OK,
            answer={"retryConfig": {**_PLAIN_QUEUE["retryConfig"], "maxAttempts": -1}},
            by=DOCUMENTED,
        ),
        *(
            Row(
                "CreateQueue",
                f"the most of {field}",
                _queue(**{limits: {field: most}}),
                Code.OK,
                answer={limits: {**_PLAIN_QUEUE[limits], field: most}},
                by=DOCUMENTED,
            )
            for field, most in (
                ("maxDispatchesPerSecond", 500),
                ("maxConcurrentDispatches", 5_000),
            )
        ),
        Row(
            "CreateQueue",
            "queue ID of 100 characters",
            _queue(name=f"{ids}{'q' * 100}"),
            Code.OK,
            by=DOCUMENTED,
        ),
        *(
            Row(
                "CreateQueue",
                condition,
                _queue(name=f"{ids}{name}"),
                _INVALID,
                _QUEUE_NAME,
                [_QUEUE_HELP],
                OURS,
            )
            for condition, name in (
                ("queue ID of 101 characters", "q" * 101),
                ("queue ID of other characters", "a_b"),
            )
        ),
        *(
            Row(method, "known", _MAIL, Code.OK, by=DOCUMENTED, answer={"state": state})
            for method, state in (("PauseQueue", "PAUSED"), ("ResumeQueue", "RUNNING"))
        ),
        Row(
            "PurgeQueue",
            "known",
            _MAIL,
            Code.OK,
            answer={"purgeTime": "2026-11-29T12:00:00.123456Z"},
            by=DOCUMENTED,
        ),
        Row(
            "CreateTask",
            "schedule of 720 hours",
            _create(scheduleTime="2026-12-29T12:00:00Z"),
            Code.OK,
            answer={"scheduleTime": "2026-12-29T12:00:00Z"},
            by=DOCUMENTED,
        ),
        Row(
            "CreateTask",
            "schedule that is past",
            _create(scheduleTime="2020-01-01T00:00:00Z"),
            Code.OK,
            answer=_PLAIN_TASK,
            by=OURS,
        ),
        Row(
            "CreateTask",
            "a body that is too large",  # CloudTasksTests.test_size has the bound
            _request(body=base64.b64encode(bytes(1_048_569)).decode()),
            _INVALID,
            "Task size too large",
        ),
        Row(
            "CreateTask",
            "a foreign project",
            {"parent": f"{_FOREIGN}/queues/q", "task": task()},
            Code.PERMISSION_DENIED,
            "Permission denied on resource project foreign.",
            _denied("foreign"),
            by=OURS,
        ),
        *(
            Row(
                method,
                "a foreign project",
                {"name": f"{_FOREIGN}/queues/q{rest}"},
                Code.PERMISSION_DENIED,
                "Permission denied on resource project foreign.",
                _denied("foreign"),
                by=OURS,
            )
            for method, rest in (
                ("GetQueue", ""),
                ("DeleteQueue", ""),
                ("GetTask", "/tasks/t"),
                ("DeleteTask", "/tasks/t"),
            )
        ),
    ]


_FUTURE = "2100-01-01T00:00:00Z"
#: All of them.
ROWS = (
    Row(
        "CreateQueue",
        "exists",
        _queue(name=QUEUE),
        Code.ALREADY_EXISTS,
        "Queue already exists",
    ),
    Row(
        "CreateQueue",
        "deleted a moment ago",
        _queue(name=DELETED),
        Code.FAILED_PRECONDITION,
        "The queue cannot be created because a queue with this name existed too"
        " recently.",
    ),
    Row(
        "CreateQueue",
        "a name of another form",
        _queue(name="not-a-valid-queue-name"),
        _INVALID,
        _QUEUE_NAME,
        [_QUEUE_HELP],
    ),
    Row(
        "CreateQueue",
        "a parent of another form",
        {**_queue(), "parent": "not-a-valid-parent"},
        Code.PERMISSION_DENIED,
        "Permission denied on resource project not-a-valid-parent.",
        _denied("not-a-valid-parent"),
    ),
    Row(
        "CreateQueue",
        "maxBurstSize negative",
        _queue(rateLimits={"maxBurstSize": -1}),
        Code.OK,
    ),
    *_queue_rows(),
    *_default_rows(),
    Row(
        "CreateQueue",
        "another location than the parent's",
        {**_queue(), "parent": "projects/shop/locations/there"},
        _INVALID,
        "The parent from request ('projects/shop/locations/there') must be the same as"
        f" the one in the name of the queue ('{LOCATION}').",
        by=OURS,
    ),
    Row(
        "CreateQueue",
        "no queue",
        {"parent": LOCATION},
        _INVALID,
        _QUEUE_NAME,
        [_QUEUE_HELP],
        by=OURS,
    ),
    Row(
        "CreateQueue",
        "a foreign project",
        {**_queue(), "parent": "projects/foreign/locations/here"},
        Code.PERMISSION_DENIED,
        "Permission denied on resource project foreign.",
        _denied("foreign"),
        by=OURS,
    ),
    Row(
        "CreateQueue",
        "a parent that is half a location",
        {**_queue(), "parent": "projects/shop"},
        _INVALID,
        'Location name must be formatted: "projects/<PROJECT_ID>/locations'
        '/<LOCATION_ID>".',
        by=OURS,
    ),
    *(
        Row(method, condition, {"name": name}, Code.NOT_FOUND, NO_QUEUE, by=by)
        for condition, name in (("unknown", UNKNOWN), ("deleted", DELETED))
        for method, by in (
            ("GetQueue", GOOGLE),
            ("PauseQueue", GOOGLE if condition == "unknown" else OURS),
            ("ResumeQueue", GOOGLE if condition == "unknown" else OURS),
            ("PurgeQueue", GOOGLE if condition == "unknown" else OURS),
        )
    ),
    Row("DeleteQueue", "unknown", {"name": UNKNOWN}, Code.NOT_FOUND, NO_ENTITY),
    *(
        Row(
            method,
            "not a name",
            {"name": "x"},
            _INVALID,
            _QUEUE_NAME,
            [_QUEUE_HELP],
            OURS,
        )
        for method in (
            *("GetQueue", "DeleteQueue", "PauseQueue", "ResumeQueue", "PurgeQueue"),
        )
    ),
    Row(
        "UpdateQueue",
        "unknown: it is made",
        {"queue": {"name": UNKNOWN}},
        Code.OK,
        by=OURS,
    ),
    Row(
        "UpdateQueue",
        "deleted a moment ago",
        {"queue": {"name": DELETED}},
        Code.FAILED_PRECONDITION,
        "The queue cannot be created because a queue with this name existed too"
        " recently.",
        by=OURS,
    ),
    Row(
        "UpdateQueue",
        "a mask with an unknown field",
        {"queue": {"name": QUEUE}, "updateMask": "rateLimits.none"},
        _INVALID,
        "update_mask: there is no field 'rate_limits.none' in a Queue.",
        by=OURS,
    ),
    Row(
        "ListQueues",
        "an unknown filter",
        {"parent": LOCATION, "filter": "name: x"},
        _INVALID,
        'filter can be "state: PAUSED" or "state: RUNNING".',
        by=OURS,
    ),
    Row(
        "ListQueues",
        "a negative page_size",
        {"parent": LOCATION, "pageSize": -1},
        _INVALID,
        "page_size cannot be negative.",
        by=OURS,
    ),
    Row(
        "ListQueues",
        "a page_token of nobody's",
        {"parent": LOCATION, "pageToken": "x"},
        _INVALID,
        "page_token is not one of this list.",
        by=OURS,
    ),
    # -- Tasks
    Row(
        "CreateTask",
        "queue unknown",
        {**_create(), "parent": UNKNOWN},
        Code.NOT_FOUND,
        NO_QUEUE,
    ),
    Row(
        "CreateTask",
        "queue deleted",
        {**_create(), "parent": DELETED},
        Code.NOT_FOUND,
        NO_QUEUE,
    ),
    Row(
        "CreateTask",
        "name taken",
        _create(name=f"{QUEUE}/tasks/taken"),
        Code.ALREADY_EXISTS,
        "Requested entity already exists",
    ),
    Row(
        "CreateTask",
        "the name of a task that has ended",
        _create(name=f"{QUEUE}/tasks/ended"),
        Code.ALREADY_EXISTS,
        "Requested entity already exists",
        by=OURS,
    ),
    Row(
        "CreateTask",
        "task ID of other characters",
        _create(name=f"{QUEUE}/tasks/not a valid id"),
        _INVALID,
        'Task ID "not a valid id" can contain only letters ([A-Za-z]), numbers'
        " ([0-9]), hyphens (-), or underscores (_). Task ID must between 1 and 500"
        " characters.",
        [_TASK_HELP],
    ),
    Row(
        "CreateTask",
        "task ID of 501 characters",
        _create(name=f"{QUEUE}/tasks/{'x' * 501}"),
        _INVALID,
        f'Task ID "{"x" * 501}" can contain only letters ([A-Za-z]), numbers'
        " ([0-9]), hyphens (-), or underscores (_). Task ID must between 1 and 500"
        " characters.",
        [_TASK_HELP],
        by=OURS,
    ),
    Row(
        "CreateTask",
        "task ID of 500 characters",
        _create(name=f"{QUEUE}/tasks/{'x' * 500}"),
        Code.OK,
        by=OURS,
    ),
    Row(
        "CreateTask",
        "a name of another form",
        _create(name="x"),
        _INVALID,
        'Task name must be formatted: "projects/<PROJECT_ID>/locations/<LOCATION_ID>'
        '/queues/<QUEUE_ID>/tasks/<TASK_ID>".',
        by=OURS,
    ),
    Row(
        "CreateTask",
        "name in another queue than the parent",
        _create(name=f"{UNKNOWN}/tasks/t"),
        _INVALID,
        f"The queue name from request ('{QUEUE}') must be the same as the queue name in"
        f" the named task ('{UNKNOWN}').",
    ),
    Row(
        "CreateTask",
        "url empty",
        _request(url=""),
        _INVALID,
        "HttpRequest.url is required.",
    ),
    *(
        Row(
            "CreateTask",
            condition,
            _request(url=url),
            _INVALID,
            "HttpTarget.url must start with 'http://' or 'https://'.",
        )
        for condition, url in (
            ("url without a scheme", "localhost/do"),
            ("url of ftp", "ftp://localhost/do"),
        )
    ),
    Row("CreateTask", "url with %zz", _request(url="http://localhost/%zz"), Code.OK),
    Row(
        "CreateTask",
        "url of 2083",
        _request(url=f"http://h/{'x' * 2074}"),
        Code.OK,
        by=OURS,
    ),
    Row(
        "CreateTask",
        "url of 2084",
        _request(url=f"http://h/{'x' * 2075}"),
        _INVALID,
        "HttpRequest.url must have at most 2083 characters.",
        by=OURS,
    ),
    Row(
        "CreateTask",
        "url without a host",
        _request(url="http:///do"),
        _INVALID,
        "The task cannot be sent: url cannot be requested: it needs a host, and a port"
        " from 1 to 65535.",
        by=OURS,
    ),
    *(
        Row(
            "CreateTask",
            f"deadline of {deadline}",
            _create(dispatchDeadline=deadline),
            _INVALID,
            "Task.dispatchDeadline must be between [15s, 30m].",
        )
        for deadline in ("14.999s", "1800.001s")
    ),
    *(
        Row(
            "CreateTask", f"deadline of {each}", _create(dispatchDeadline=each), Code.OK
        )
        for each in ("15s", "1800s")
    ),
    Row(
        "CreateTask",
        "App Engine, deadline of more than 24 h 15 s",
        {
            "parent": QUEUE,
            "task": {"appEngineHttpRequest": {}, "dispatchDeadline": "86415.001s"},
        },
        _INVALID,
        "Task.dispatchDeadline must be between [15s, 24h15s].",
    ),
    Row(
        "CreateTask",
        "App Engine, which Google takes",
        {
            "parent": QUEUE,
            "task": {"appEngineHttpRequest": {}, "dispatchDeadline": "3600s"},
        },
        _INVALID,
        "App Engine is not supported: Task.httpRequest can be set.",
        by=OURS,
    ),
    Row(
        "CreateTask",
        "schedule too far away",
        _create(scheduleTime=_FUTURE),
        _INVALID,
        "The Task.scheduleTime, 2099-12-31T16:00:00-08:00, is too far in the future."
        " Schedule time must be no more than 720h in the future.",
    ),
    Row(
        "CreateTask",
        "schedule too far away, in summer",
        _create(scheduleTime="2027-07-01T12:00:00.25Z"),
        _INVALID,
        "The Task.scheduleTime, 2027-07-01T05:00:00.250-07:00, is too far in the"
        " future. Schedule time must be no more than 720h in the future.",
        by=OURS,
    ),
    Row(
        "CreateTask",
        "no target",
        {"parent": QUEUE, "task": {}},
        _INVALID,
        "Task.httpRequest is required.",
        by=OURS,
    ),
    Row(
        "CreateTask",
        "no task",
        {"parent": QUEUE},
        _INVALID,
        "Task.httpRequest is required.",
        by=OURS,
    ),
    *(
        Row(
            "CreateTask",
            f"{method} with a body",
            _request(httpMethod=method, body="eA=="),
            _INVALID,
            f"HttpRequest.body can be set for POST, PUT and PATCH, not for {method}.",
            by=OURS,
        )
        for method in ("GET", "HEAD", "DELETE", "OPTIONS")
    ),
    Row(
        "CreateTask",
        "an OAuth token",
        _request(oauthToken={"serviceAccountEmail": "a@b"}),
        _INVALID,
        "HttpRequest.oauthToken is not supported; oidcToken is.",
        by=OURS,
    ),
    Row(
        "CreateTask",
        "an OIDC token of nobody",
        _request(oidcToken={"audience": "x"}),
        _INVALID,
        "HttpRequest.oidcToken.serviceAccountEmail is required.",
        by=OURS,
    ),
    Row(
        "CreateTask",
        "headers of 80 KiB",
        _request(headers={f"x{n}": "y" * 8_000 for n in range(11)}),
        _INVALID,
        "HttpRequest.headers must have less than 81920 bytes.",
        by=OURS,
    ),
    Row(
        "CreateTask",
        "a header that cannot be sent",
        _request(headers={"x y": "z"}),
        _INVALID,
        "The task cannot be sent: headers: 'x y' is not a name of an HTTP header.",
        by=OURS,
    ),
    Row(
        "CreateTask",
        "terms of retries of its own",
        _create(retryConfig={"maxAttempts": -2}),
        _INVALID,
        "RetryConfig.maxAttempts must be greater or equal to -1.",
        by=OURS,
    ),
    *(
        Row(
            method,
            "unknown",
            {"name": f"{QUEUE}/tasks/unknown"},
            Code.NOT_FOUND,
            NO_ENTITY,
        )
        for method in ("GetTask", "DeleteTask", "RunTask")
    ),
    *(
        Row(
            method,
            "queue unknown",
            {"name": f"{UNKNOWN}/tasks/unknown"},
            Code.NOT_FOUND,
            NO_QUEUE,
            by=OURS,
        )
        for method in ("GetTask", "DeleteTask", "RunTask")
    ),
    *(
        Row(
            method,
            condition,
            {"name": f"{QUEUE}/tasks/{condition}"},
            Code.NOT_FOUND,
            NO_LONGER,
            by=GOOGLE if method == "GetTask" else OURS,
        )
        for method in ("GetTask", "DeleteTask", "RunTask")
        for condition in ("ended", "deleted")
    ),
    Row(
        "ListTasks",
        "queue unknown",
        {"parent": UNKNOWN},
        Code.NOT_FOUND,
        NO_QUEUE,
        by=OURS,
    ),
    Row(
        "ListTasks",
        "a page_token of another list",
        {"parent": QUEUE, "pageToken": "MDAwMDAwMDAuMQ=="},
        _INVALID,
        "page_token is not one of this list.",
        by=OURS,
    ),
    *(
        Row(
            "ListTasks",
            "a page_token that somebody has made",
            {"parent": QUEUE, "pageToken": page_token("tasks mail", position)},
            _INVALID,
            "page_token is not one of this list.",
            by=OURS,
        )
        for position in ("x", "-1", "9" * 19)
    ),
    # -- Batches
    Row(
        "BatchCreateTasks",
        "nothing",
        {"parent": QUEUE},
        _INVALID,
        "requests must be 1 to 100, not 0.",
        by=OURS,
    ),
    Row(
        "BatchCreateTasks",
        "101",
        {"parent": QUEUE, "requests": [{"task": task()}] * 101},
        _INVALID,
        "requests must be 1 to 100, not 101.",
        by=OURS,
    ),
    Row(
        "BatchCreateTasks",
        "10,001",
        {"parent": QUEUE, "requests": [{}] * 10_001},
        _INVALID,
        "'requests' must have at most 10000 items, not 10001",
        None,
        by=OURS,
    ),
    Row(
        "BatchDeleteTasks",
        "1,001",
        {"parent": QUEUE, "names": [f"{QUEUE}/tasks/t"] * 1_001},
        _INVALID,
        "names must be 1 to 1000, not 1001.",
        by=OURS,
    ),
    # -- Others
    Row(
        "SetIamPolicy",
        "always",
        {"resource": QUEUE, "policy": {"bindings": []}},
        Code.UNIMPLEMENTED,
        "Policies are not supported: tokens have rights, in the file of tokens.",
        by=OURS,
    ),
    Row(
        "UpdateCmekConfig",
        "always",
        {"cmekConfig": {"name": f"{LOCATION}/cmekConfig", "kmsKey": "k"}},
        Code.UNIMPLEMENTED,
        "Keys of customers are not supported: RabbitMQ keeps the tasks.",
        by=OURS,
    ),
    Row(
        "GetOperation",
        "always",
        {"name": f"{LOCATION}/operations/o"},
        Code.NOT_FOUND,
        NO_ENTITY,
        by=OURS,
    ),
    Row("GetLocation", "any", {"name": LOCATION}, Code.OK, by=OURS),
    Row(
        "GetIamPolicy",
        "queue unknown",
        {"resource": UNKNOWN},
        Code.NOT_FOUND,
        NO_QUEUE,
        by=OURS,
    ),
    # -- JSON
    Row(
        "CreateTask",
        "an unknown field",
        _request(nothing=1),
        _INVALID,
        'Invalid JSON payload received. Unknown name "nothing" at'
        " 'task.http_request': Cannot find field.",
        None,
        by=OURS,
    ),
    Row(
        "CreateTask",
        "no enum",
        _request(httpMethod="TRACE"),
        _INVALID,
        "Invalid value at 'task.http_request.http_method'"
        ' (type.googleapis.com/google.cloud.tasks.v2.HttpMethod), "TRACE"',
        None,
        by=OURS,
    ),
    Row(
        "CreateQueue",
        "no number",
        _queue(rateLimits={"maxConcurrentDispatches": "many"}),
        _INVALID,
        "Invalid value at 'queue.rate_limits.max_concurrent_dispatches'"
        ' (TYPE_INT32), "many"',
        None,
        by=OURS,
    ),
    Row(
        "CreateTask",
        "no base64",
        _request(body="%"),
        _INVALID,
        "Invalid value at 'task.http_request.body' (TYPE_BYTES), \"%\"",
        None,
        by=OURS,
    ),
)
