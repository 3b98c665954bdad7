"""
Tasks, as Cloud Tasks shows them and as quebert keeps them.  Pure.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs

from quebert.created_tasks import CreatedTask, NewTask
from quebert.errors import BadTask
from quebert.history import TaskTries
from quebert.policy import RetryPolicy, overridden
from quebert.task import Task, decode, encode_new, request
from quebert.web.cloud_tasks._attempts import attempt_fields
from quebert.web.cloud_tasks._enums import HttpMethod, TaskView
from quebert.web.cloud_tasks._limits import CloudTasksLimits
from quebert.web.cloud_tasks._messages import (
    HttpRequestMessage,
    OidcToken,
    TaskMessage,
)
from quebert.web.cloud_tasks._names import QueueName, TaskName
from quebert.web.cloud_tasks._proto import proto_size
from quebert.web.cloud_tasks._retries import config_of_terms, terms_of
from quebert.web.cloud_tasks._scalars import (
    SECOND,
    read_timestamp,
    written_fraction,
    written_timestamp,
)
from quebert.web.cloud_tasks._sentences import invalid

__all__ = ["new_task", "oidc_field", "task_message"]

#: The header that Google puts into each task, and sends.
_AGENT = "User-Agent", "Google-Cloud-Tasks"
# Nanoseconds: the shortest deadline, the longest, the one of App Engine, the default.
_SHORTEST, _LONGEST = 15 * SECOND, 1_800 * SECOND
_APP_ENGINE, _DEFAULT = 86_415 * SECOND, 600 * SECOND
_MICROSECOND, _MILLISECOND = 1_000, 1_000_000
# Bytes by which a task as Google keeps it may be larger than its JSON: its whole name,
# and the lengths of headers.  Most tasks are so small that there is no need to measure.
_MORE = 4_096
_WITH_BODY = {HttpMethod.POST, HttpMethod.PUT, HttpMethod.PATCH}
# The time is written down then, and a later one has no form.
_LAST = read_timestamp("9999-12-31T23:59:59Z")


# -- From Cloud Tasks


def new_task(
    name: TaskName,
    queue: str,
    uuid: str,
    message: TaskMessage,
    now: float,
    limits: CloudTasksLimits,
    digest: bytes = b"",
) -> NewTask:
    """
    The task that a client asks for.

    @param queue: its name in RabbitMQ.
    @param now: seconds since the epoch.
    @raise CloudTasksError: there can be none such.
    """
    wanted = _checked(message, limits)
    created = round(now * 1_000_000) * _MICROSECOND
    due = max(created, _due(message.schedule_time, created, limits))
    deadline = message.dispatch_deadline or _DEFAULT
    task: Task = {
        "url": wanted.url,
        "method": (wanted.http_method or HttpMethod.POST).name,
        "headers": _headers(wanted),
        "timeout": deadline // _MILLISECOND / 1_000,
        "timestamp": written_timestamp(created),
        "uuid": uuid,
        "cloud_tasks": {"queue": name.queue.queue, "task": name.task},
    }
    if due > created:
        task["run_at"] = written_timestamp(due)
    if wanted.body:
        task["payload"] = base64.b64encode(wanted.body).decode("ascii")
    if wanted.oidc_token is not None:
        task["cloud_tasks"]["oidc"] = oidc_field(wanted.oidc_token)
    if message.retry_config is not None:
        task["retry"] = terms_of(message.retry_config)
    found = NewTask(
        queue=queue,
        uuid=uuid,
        body=_encoded(task),
        created=created / SECOND,
        due=due / SECOND if due > created else 0.0,
        name=name.task,
        digest=digest,
    )
    if len(found.body) + _MORE > limits.task:
        shown = task_message(found, name.queue, TaskView.FULL)
        if (
            proto_size(attrs.evolve(shown, view=TaskView.VIEW_UNSPECIFIED))
            > limits.task
        ):
            raise invalid("Task size too large")
    return found


def _checked(message: TaskMessage, limits: CloudTasksLimits) -> HttpRequestMessage:
    """
    The request of a task.
    """
    deadline = message.dispatch_deadline
    if message.app_engine_http_request is not None:
        if deadline is not None and not _SHORTEST <= deadline <= _APP_ENGINE:
            raise invalid("Task.dispatchDeadline must be between [15s, 24h15s].")
        raise invalid("App Engine is not supported: Task.httpRequest can be set.")
    wanted = message.http_request
    if wanted is None:
        raise invalid("Task.httpRequest is required.")
    _check_url(wanted.url, limits)
    if deadline is not None and not _SHORTEST <= deadline <= _LONGEST:
        raise invalid("Task.dispatchDeadline must be between [15s, 30m].")
    method = wanted.http_method or HttpMethod.POST
    if wanted.body and method not in _WITH_BODY:
        text = "HttpRequest.body can be set for POST, PUT and PATCH, not for"
        raise invalid(f"{text} {method.name}.")
    if wanted.oauth_token is not None:
        raise invalid("HttpRequest.oauthToken is not supported; oidcToken is.")
    token = wanted.oidc_token
    if token is not None and not token.service_account_email:
        raise invalid("HttpRequest.oidcToken.serviceAccountEmail is required.")
    size = sum(len(n.encode()) + len(v.encode()) for n, v in wanted.headers.items())
    if size >= limits.headers:
        text = f"HttpRequest.headers must have less than {limits.headers} bytes."
        raise invalid(text)
    return wanted


def _check_url(url: str, limits: CloudTasksLimits) -> None:
    if not url:
        raise invalid("HttpRequest.url is required.")
    if len(url) > limits.url:
        raise invalid(f"HttpRequest.url must have at most {limits.url} characters.")
    if not url.lower().startswith(("http://", "https://")):
        raise invalid("HttpTarget.url must start with 'http://' or 'https://'.")


def _due(wanted: int | None, created: int, limits: CloudTasksLimits) -> int:
    if wanted is None:
        return created
    if wanted > created + limits.schedule * 3_600 * SECOND or wanted > _LAST:
        raise invalid(
            f"The Task.scheduleTime, {_in_los_angeles(wanted)}, is too far in the"
            f" future. Schedule time must be no more than {limits.schedule}h in the"
            " future."
        )
    return wanted // _MICROSECOND * _MICROSECOND


def _headers(wanted: HttpRequestMessage) -> dict[str, str]:
    agent = _AGENT[0].lower()
    return {n: v for n, v in wanted.headers.items() if n.lower() != agent}


def oidc_field(token: OidcToken) -> dict[str, str]:
    """
    What C{cloud_tasks.oidc} of a task is.
    """
    found = {"service_account_email": token.service_account_email}
    return {**found, "audience": token.audience} if token.audience else found


def _encoded(task: Task) -> bytes:
    """
    A task as JSON, checked as a mediator will check it.
    """
    try:
        request(task, "")
        overridden(RetryPolicy(), task.get("retry"))
        return encode_new(task)
    except (BadTask, ValueError) as e:
        raise invalid(f"The task cannot be sent: {e}.") from None


def _in_los_angeles(moment: int) -> str:
    """
    A time as Google's errors have it: that of California, by the law of 2007.
    """
    seconds, fraction = divmod(moment, SECOND)
    standard = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, hours=-8)
    local = standard.replace(tzinfo=None)
    begin = _sunday(datetime(local.year, 3, 8, 2))
    end = _sunday(datetime(local.year, 11, 1, 1))  # 2:00 of summer time
    offset = -7 if begin <= local < end else -8
    shown = local + timedelta(hours=offset + 8)
    zone = timezone(timedelta(hours=offset))
    text = shown.replace(tzinfo=zone).isoformat()
    return f"{text[:-6]}{written_fraction(fraction)}{text[-6:]}"


def _sunday(day: datetime) -> datetime:
    """
    The first Sunday from a day on.
    """
    return day + timedelta(days=6 - day.weekday())


# -- To Cloud Tasks


def task_message(
    task: NewTask | CreatedTask,
    queue: QueueName,
    view: TaskView,
    tries: TaskTries | None = None,
) -> TaskMessage:
    """
    A task that has not ended, as clients see it.

    @param tries: the attempts at it; C{None} for none.
    """
    new = task.task if isinstance(task, CreatedTask) else task
    fields = _fields(new.body)
    created = round(new.created * 1_000_000) * _MICROSECOND
    run_at = fields.get("run_at")
    due = max(created, read_timestamp(run_at)) if run_at else created
    terms = fields.get("retry")
    seconds = fields.get("timeout") or _DEFAULT / SECOND
    return TaskMessage(
        name=str(TaskName(queue, new.name or new.uuid)),
        http_request=_request(fields, new.body, view),
        create_time=created // SECOND * SECOND,
        dispatch_deadline=round(seconds * 1_000) * _MILLISECOND,
        view=view,
        retry_config=config_of_terms(terms) if terms else None,
        **attempt_fields(tries, due),
    )


def _fields(body: bytes) -> dict[str, Any]:
    found = decode(body)
    assert isinstance(found, dict)
    return found


def _request(fields: dict[str, Any], body: bytes, view: TaskView) -> HttpRequestMessage:
    token = fields.get("cloud_tasks", {}).get("oidc")
    method = HttpMethod[(fields.get("method") or "POST").upper()]
    return HttpRequestMessage(
        url=fields["url"],
        http_method=method,
        headers={**(fields.get("headers") or {}), _AGENT[0]: _AGENT[1]},
        body=_body(fields, body, method) if view == TaskView.FULL else b"",
        oidc_token=None if token is None else OidcToken(**token),
    )


def _body(fields: dict[str, Any], body: bytes, method: HttpMethod) -> bytes:
    """
    The body of a request: another API than this one may have created its task.
    """
    if "payload" in fields:
        return base64.b64decode(fields["payload"])
    is_ours = "cloud_tasks" in fields
    return b"" if is_ours or method not in _WITH_BODY else body
