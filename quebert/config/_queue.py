"""
The tables of a configuration file that are about queues.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Union

import attrs

from quebert._bounds import MESSAGE
from quebert._consumer_timeout import HOLD_LIMIT, LONGEST_REQUEST
from quebert._protocol.extensions import QUEUE_TYPE
from quebert.cloud_events import CloudEvents
from quebert.config import _kinds as kinds
from quebert.config._guard import guard
from quebert.config._outside import Outside, headers
from quebert.config._problems import Wrong
from quebert.config._settings import (
    Argument,
    Backoff,
    Priorities,
    QueueSettings,
    Signing,
)
from quebert.config._table import Table
from quebert.config._watch import check_queue_name
from quebert.errors import ConfigError
from quebert.policy import RetryPolicy

__all__ = ["MOST", "handling", "queue"]

#: More are a mistake.
MOST = 1_000_000

Kinds = dict[str, Callable[[Any], Any]]
Retry = Union[RetryPolicy, Backoff, None]

_MEDIATORS = ("policy", "delay-on-error", "plain")
_LIMITS: Kinds = {
    "max_attempts": kinds.number(1, MOST, unlimited=True),
    "max_retry_duration": kinds.duration(unlimited=True),
}
_POLICY: Kinds = {
    **_LIMITS,
    "min_backoff": kinds.duration(0.01),
    "max_backoff": kinds.duration(0.01),
    "max_doublings": kinds.number(0, 1_000),
    "jitter": kinds.choice("none", "full"),
}
_BACKOFF: Kinds = {
    **_LIMITS,
    "constant": kinds.real(1.0, 1_000.0),
    "max_delay": kinds.duration(),
    "traceback": kinds.flag,
}
#: The keys of a queue that C{[service]} can set for all queues.
FOR_ALL: Kinds = {
    "default_url": kinds.http_url,
    "max_url_length": kinds.number(1, MOST),
    "max_body": kinds.number(1, MESSAGE),
}
# What the mediator "policy" alone has, beside its terms.
_WITH_POLICY = ("max_retry_after", "permanent")


def queue(
    name: str,
    table: Table,
    defaults: Mapping[str, Any],
    priorities: Priorities,
    outside: Outside,
) -> QueueSettings:
    """
    What a table of C{[queues]} says.

    @param defaults: values of the keys L{FOR_ALL}, where the table has none, and the
        C{guard} whose keys the table may replace.
    @param priorities: of which it may name one.
    """
    _check_name(name, table)
    fields: dict[str, Any] = {"name": name}
    fields |= table.given(
        exchange=kinds.name,
        key=kinds.name,
        exchange_type=kinds.choice("topic", "direct", "fanout", "headers"),
        queue_type=kinds.choice("classic", "quorum"),
        concurrency=kinds.number(1, 65_535),
        rate=kinds.rate,
        burst=kinds.number(1, MOST),
    )
    fields |= handling(table, defaults, priorities, outside)
    fields["mediator"], fields["retry"] = _retry(table)
    fields["arguments"] = _arguments(table, "arguments")
    fields["key_arguments"] = _arguments(table, "key_arguments")
    table.end()
    found = QueueSettings(**fields)
    _check(found, table)
    return found


def handling(
    table: Table, defaults: Mapping[str, Any], priorities: Priorities, outside: Outside
) -> dict[str, Any]:
    """
    How the tasks of a queue are handled, whatever the queue: the fields of
    L{QueueSettings} that a queue of the file has, and those that were made over the
    API.

    @param defaults: see L{queue}.
    """
    fields = {**defaults}
    fields |= table.given(
        prefetch=kinds.number(0, 65_535),
        slow_after=kinds.duration(0.001),
        hang_after=kinds.duration(),
        hold_up_to=kinds.duration(0.0, HOLD_LIMIT),
        priority=kinds.choice(*priorities.weights),
        **FOR_ALL,
        timeout=kinds.duration(0.001, LONGEST_REQUEST),
        permanent=kinds.array(_status),
        max_retry_after=kinds.duration(),
        bury=kinds.flag,
        prehooks=kinds.array(outside.hook),
        posthooks=kinds.array(outside.hook),
    )
    fields["guard"] = guard(table.table("guard"), defaults["guard"])
    fields["sign"] = _signing(table, outside)
    fields["cloud_events"] = _cloud_events(table)
    fields["headers"] = headers(table.table("headers"), outside)
    return fields


def _signing(table: Table, outside: Outside) -> Signing | None:
    inner = table.table("sign")
    found = inner.get("secrets_file", outside.signing_keys, None)
    inner.end()
    if table.has_table("sign") and not list(inner):
        table.wrong("sign", 'must be { secrets_file = "PATH" }')
    return None if found is None else Signing(*found)


def _cloud_events(table: Table) -> CloudEvents | None:
    inner = table.table("cloud_events")
    found = inner.given(source=kinds.text, type=kinds.text)
    inner.end()
    if not table.has_table("cloud_events"):
        return None
    for key in ("source", "type"):
        if key not in inner:
            inner.wrong(key, "is missing")
    if len(found) < 2:  # what is wrong has been noted
        return None
    try:
        return CloudEvents(**found)
    except ConfigError as e:
        table.wrong("cloud_events", f"is wrong: {e}")
        return None


def _arguments(table: Table, key: str) -> dict[str, Argument]:
    """
    Arguments of AMQP, by their names.
    """
    inner = table.table(key)
    found: dict[str, Argument] = {}
    for name in inner:
        if key == "arguments" and name == QUEUE_TYPE:
            inner.wrong(name, "must be set by the key queue_type of the queue")
        value = inner.get(name, kinds.argument, None)
        if value is not None:
            found[name] = value
    return found


def _status(value: object) -> int:
    if value in range(200, 300) and not isinstance(value, bool):
        raise Wrong(f"must be the status of a failure, not {value}, which is a success")
    return kinds.number(300, 599)(value)


def _check_name(name: str, table: Table) -> None:
    try:
        check_queue_name(name)
    except ConfigError as e:
        table.document.wrong(table.path, str(e))


def _check(found: QueueSettings, table: Table) -> None:
    if found.key_arguments and found.exchange_type != "headers":
        told = kinds.shown(found.exchange_type)
        text = f'needs exchange_type = "headers", and it is {told}'
        table.wrong("key_arguments", text)
    if "key" not in table and found.exchange and found.exchange_type != "headers":
        text = 'is missing: the routing key of its tasks, like "tasks.#"'
        table.wrong("key", text)
    if "burst" in table and "rate" not in table:
        table.wrong("burst", "needs a rate beside it")
    for key in _WITH_POLICY:
        if key in table and found.mediator != "policy":
            told = kinds.shown(found.mediator)
            table.wrong(key, f'needs mediator = "policy", and it is {told}')


def _retry(table: Table) -> tuple[str, Retry]:
    """
    The mediator, and how it tries again: the one follows from the other where it
    is not said.
    """
    retry = table.table("retry")
    ours = any(key in retry for key in _POLICY)
    ours = ours or any(key in table for key in _WITH_POLICY)
    theirs = "constant" in retry or "max_delay" in retry
    guess = "policy" if ours and not theirs else "delay-on-error"
    mediator = table.get("mediator", kinds.choice(*_MEDIATORS), guess)
    if mediator == "plain":
        if list(retry):
            table.wrong(
                "retry",
                'cannot be set for the mediator "plain", which waits for a second',
            )
        return mediator, None
    known = _POLICY if mediator == "policy" else _BACKOFF
    other = sorted({**_POLICY, **_BACKOFF}.keys() - known.keys())
    for key in other:
        if key in retry:
            right = f"{kinds.shown(mediator)}, which has {', '.join(known)}"
            retry.wrong(key, f"cannot be set for the mediator {right}")
    retry.know(*other)
    fields = retry.given(**known)
    retry.end()
    if mediator == "policy":
        return mediator, _policy(fields, table)
    return mediator, Backoff(**fields)


def _policy(fields: dict[str, Any], table: Table) -> RetryPolicy:
    try:
        return RetryPolicy(**fields)
    except ConfigError as e:  # two of them do not fit
        table.wrong("retry", f"does not fit: {e}")
        return RetryPolicy()


# Each field of a policy can be said.
assert {f.name for f in attrs.fields(RetryPolicy)} == set(_POLICY)
