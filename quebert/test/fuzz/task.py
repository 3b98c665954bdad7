"""
A message whose body is anything, and what mediators make of it.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from unittest import mock

from twisted.internet.task import Clock

from quebert import task as tasks
from quebert._bounds import memory_of
from quebert.errors import BadTask, NoDefaultURL
from quebert.http._agent import _URL, _head
from quebert.mediator import DelayOnErrorMediator, Mediator, PolicyMediator
from quebert.mediator._mediator import MAX_TIMEOUT
from quebert.outcome import Bury, Discard, Done, Retry
from quebert.policy._history import (
    ANSWERED,
    ANSWERS,
    ATTEMPTS,
    FIRST_ATTEMPT,
    IN_BODY,
    LAST_ATTEMPT,
    LAST_STATUS,
)
from quebert.task import _json
from quebert.task._keywords import FIELDS
from quebert.test.checks import in_one_go
from quebert.test.fuzz.choices import Choices
from quebert.test.mediating import NOW, FakeHTTP, FakeMessage

__all__ = ["check"]

_DEFAULTS = ("http://localhost:8000/base/file?query", "")
_CODES = (200, 404, 503, 204, 301, 408, 413, 429)
_FIELDS = ("Retry-After", "Quebert-Outcome", "Content-Type")
#: What C{messageReceived} may fire with.
_OUTCOMES = (Bury, Discard, Done, Retry)


def check(data: bytes) -> None:
    """
    The first bytes choose the answer, a header of it, and the properties of the
    message; the others are its body.
    """
    choices = Choices(data)
    first = choices.octet()
    value = choices.take(choices.octet() % 64).decode("latin-1")
    properties = _properties(choices)
    body = choices.rest()
    task = _decoded(body)
    _requested(task, _DEFAULTS[first % 2])
    message = FakeMessage(body, properties)
    _mediated(message, _CODES[first >> 1 & 7], {_FIELDS[first >> 4 & 1]: value})


def _properties(choices: Choices) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    for _ in range(choices.octet() % 8):
        headers[choices.pick(_HEADERS)] = choices.pick(_KINDS)(choices)
    if "timestamp" not in headers:
        return {"headers": headers} if headers else {}
    sent_at = headers.pop("timestamp")
    return {"headers": headers, "timestamp": sent_at, "message-id": choices.text()}


_HEADERS = (
    ATTEMPTS,
    FIRST_ATTEMPT,
    LAST_ATTEMPT,
    LAST_STATUS,
    IN_BODY,
    "timestamp",
    ANSWERS,
    ANSWERED,
)
#: The types that values of AMQP have.
_KINDS: tuple[Callable[[Choices], Any], ...] = (
    Choices.octet,
    Choices.number,
    lambda choices: -choices.number(),
    lambda choices: struct.unpack(">d", choices.take(8).ljust(8, b"\0"))[0],
    Choices.text,
    Choices.short,
    Choices.flag,
    lambda choices: [choices.octet(), {"a": None}],
    lambda choices: NOW - choices.number() / 10,
    lambda choices: datetime.fromtimestamp(choices.number() % 2**37, UTC),
)


def _decoded(body: bytes) -> Any:
    """
    What a body says, which is the same with orjson and without, takes no more memory
    than is reckoned with, and can be written again.
    """
    quick = _outcome(body)
    with mock.patch.object(_json, "orjson", None):
        slow = _outcome(body)
        assert slow == quick, (slow, quick)
    _read_in_part(body, quick)
    if isinstance(quick, BadTask):
        return None
    taken = _memory(quick) + len(body)
    assert taken <= memory_of(body) + 1_000, (taken, memory_of(body))
    if isinstance(quick, dict):
        assert tasks.decode(tasks.encode(quick)) == quick
    return quick


def _read_in_part(body: bytes, whole: Any) -> None:
    """
    The fields that mediators read are the same where no others are decoded.
    """
    if "integer string conversion" in str(whole):
        return  # such a number may stand in a field that is not read
    part: Any
    try:
        part = in_one_go(tasks.read_part(body))
    except BadTask as e:
        part = _Bad(str(e))
    if isinstance(whole, dict):
        whole = {k: v for k, v in whole.items() if k in _READ}
    else:
        whole = _Bad("")  # it may be JSON, and no object
    assert part == whole, (part, whole)


_READ = FIELDS - {"params", "traceback"}


class _Bad(BadTask):
    """
    One that is equal to another: the words of the libraries differ.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bad)

    __hash__ = BadTask.__hash__


def _outcome(body: bytes) -> Any:
    try:
        return tasks.decode(body)
    except BadTask as e:
        return _Bad(str(e))


def _memory(value: Any) -> int:
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        return size + sum(_memory(k) + _memory(v) for k, v in value.items())
    return size + sum(map(_memory, value)) if isinstance(value, list) else size


def _requested(task: Any, default: str) -> None:
    """
    A task that can be requested has a head that is one request and no more.
    """
    try:
        tasks.schedule(task, NOW)
        wanted = tasks.request(task, default)
    except (BadTask, NoDefaultURL) as e:
        _check_sentence(str(e))
        return
    parts = _URL.fullmatch(wanted.url)
    assert parts is not None, wanted.url
    head = _head(wanted.method, parts["target"], "h", wanted.headers.items(), 0)
    assert head is not None, wanted.headers
    assert head.endswith("\r\n\r\n")
    assert head.count("\r\n\r\n") == 1
    assert head.lower().count("\r\nhost:") == 1
    assert head.lower().count("\r\ncontent-length:") == 1
    assert "\r\ntransfer-encoding:" not in head.lower().replace("_", "-")


def _mediated(message: FakeMessage, code: int, fields: dict[str, str]) -> None:
    """
    Mediators always have an outcome, which a watch can carry out.
    """
    for kind in (Mediator, DelayOnErrorMediator, PolicyMediator):
        http, clock = FakeHTTP(code, b"answer", fields), Clock()
        options: dict[str, Any] = {"http": http, "clock": clock, "now": lambda: NOW}
        mediator: Mediator = kind(**options)
        outcomes: list[Any] = []
        mediator.messageReceived(message).addBoth(outcomes.append)
        (outcome,) = outcomes
        assert isinstance(outcome, _OUTCOMES), outcome
        if isinstance(outcome, Retry) and outcome.after is not None:
            assert 0 <= outcome.after < float("inf"), outcome
        if isinstance(outcome, (Bury, Discard)):
            _check_sentence(outcome.reason)
        if isinstance(outcome, Retry) and outcome.body is not None:
            json.loads(outcome.body)
        clock.advance(2 * MAX_TIMEOUT)
        assert not clock.getDelayedCalls()


def _check_sentence(sentence: str) -> None:
    assert len(sentence) < 2_000, len(sentence)
