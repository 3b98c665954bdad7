"""
Requests to C{quebert web}: whatever comes is answered, and nothing is changed without a
token.
"""

from __future__ import annotations

import json
from typing import Any

from quebert.task import decode, schedule
from quebert.test.fuzz.choices import Choices
from quebert.test.web.doubles import LOOPBACK, MemoryAPI
from quebert.web._api import Streaming
from quebert.web._exchange import PROBLEM, APIProblem
from quebert.web._head import RequestHead
from quebert.web._request import decoded

__all__ = ["check"]

_METHODS = ("GET", "POST", "DELETE", "PUT", "HEAD", "PATCH", "OPTIONS", "G\xe4T")
_BEGINNINGS = (
    b"/v1/queues/",
    b"/v1/queues/mail",
    b"/v1/queues/mail/dead",
    b"/v1/tasks",
    b"/v1/tasks?",
    b"/v1/tasks/",
    b"/v1/tasks/u:run",
    b"/v1/tasks:cancel",
    b"/v1/queues/mail/dead:redrive",
    b"/",
    b"",
    b"/v1/tasks:batch",
)
_NAMES = (
    "host",
    "origin",
    "sec-fetch-site",
    "content-type",
    "last-event-id",
    "idempotency-key",
)
_TOKENS = ("operator", "mailer", "reader", "adder", "mail-adder", "nobody", "")
#: Statuses that are no fault of the server.
_RIGHT = range(200, 500)


def check(data: bytes) -> None:
    """
    A request of any bytes.
    """
    choices = Choices(data)
    method = choices.pick(_METHODS)
    target = choices.pick(_BEGINNINGS) + choices.short()
    headers = {"host": "localhost"}
    for _ in range(choices.octet() % 4):
        headers[choices.pick(_NAMES)] = choices.short().decode("latin-1")
    if choices.flag():
        headers["content-type"] = "application/json"
    token = choices.pick(_TOKENS)
    if token:
        headers["authorization"] = f"Bearer {token}"
    api = MemoryAPI()
    before = len(api.cluster.done)
    text = target.decode("latin-1")
    head = RequestHead(method=method, target=text, fields=headers)
    answer = _answer(api, head, choices.rest())
    if isinstance(answer, Streaming):
        assert "read" in answer.grant.rights
        return
    assert answer.status in _RIGHT, answer
    if answer.status >= 400:
        assert answer.content_type == PROBLEM
        problem = json.loads(answer.body)
        assert problem["status"] == answer.status
        assert len(answer.body) < 15_000
    has_changed = len(api.cluster.done) > before or bool(api.told)
    assert token in ("operator", "mailer") or not has_changed, (method, target)
    assert not has_changed or api.audit.lines, (method, target)
    _check_created(api, token)


def _check_created(api: MemoryAPI, token: str) -> None:
    """
    Each task has a row, and is for a queue to which the token may add.
    """
    for queue, created in api.broker.queues.items():
        assert token == "adder" or (token == "mail-adder" and queue.startswith("mail"))
        assert not queue.startswith(("quebert.", "amq."))
        for each in created:
            schedule(decode(each.body))
            assert api.rows.rows[each.uuid][1].task.uuid == each.uuid


def _answer(api: MemoryAPI, head: RequestHead, body: bytes) -> Any:
    try:
        request = decoded(head, body, LOOPBACK)
    except APIProblem as e:
        return e.answer
    found: list[Any] = []
    api.api.answer(request).addBoth(found.append)
    api.clock.pump([1.0] * 31)
    assert len(found) == 1
    return found[0]
