"""
Requests to C{quebert web}: whatever comes is answered, and nothing is changed without a
token.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred

from quebert.test.fuzz.choices import Choices
from quebert.test.web.doubles import LOOPBACK, MemoryAPI
from quebert.web._api import Streaming
from quebert.web._exchange import PROBLEM, APIProblem
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
)
_NAMES = (b"host", b"origin", b"sec-fetch-site", b"content-type", b"last-event-id")
_TOKENS = (b"operator", b"mailer", b"reader", b"adder", b"nobody", b"")
#: Statuses that are no fault of the server.
_RIGHT = range(200, 500)


def check(data: bytes) -> None:
    """
    A request of any bytes.
    """
    choices = Choices(data)
    method = choices.pick(_METHODS)
    target = choices.pick(_BEGINNINGS) + choices.short()
    headers = [(b"host", b"localhost")]
    for _ in range(choices.octet() % 4):
        headers.append((choices.pick(_NAMES), choices.short()))
    if choices.flag():
        headers.append((b"content-type", b"application/json"))
    token = choices.pick(_TOKENS)
    if token:
        headers.append((b"authorization", b"Bearer " + token))
    api = MemoryAPI()
    before = len(api.cluster.done)
    answer = _answer(api, method, target, headers, choices.rest())
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
    assert token in (b"operator", b"mailer") or not has_changed, (method, target)
    assert not has_changed or api.audit.lines, (method, target)


def _answer(
    api: MemoryAPI, method: str, target: bytes, headers: Any, body: bytes
) -> Any:
    try:
        request = decoded(method, target, headers, body, LOOPBACK)
    except APIProblem as e:
        return e.answer
    found: list[Any] = []
    Deferred.fromCoroutine(api.api.answer(request)).addBoth(found.append)
    api.clock.pump([1.0] * 31)
    assert len(found) == 1
    return found[0]
