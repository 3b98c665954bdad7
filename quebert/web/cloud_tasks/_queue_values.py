"""
Queues, as Cloud Tasks shows them and as quebert keeps them.  Pure.
"""

from __future__ import annotations

from typing import Any

import attrs

from quebert.errors import BadTask
from quebert.limits import Rate, burst_of
from quebert.task import BOUNDS, Task, request
from quebert.web.cloud_tasks._boundaries import CloudQueue
from quebert.web.cloud_tasks._enums import QueueState
from quebert.web.cloud_tasks._limits import CloudTasksLimits
from quebert.web.cloud_tasks._messages import (
    HttpTarget,
    QueueMessage,
    RateLimitsMessage,
    RetryConfig,
    UriOverride,
)
from quebert.web.cloud_tasks._names import QueueName
from quebert.web.cloud_tasks._proto import fields_of, read_message, written
from quebert.web.cloud_tasks._retries import config_of_policy, policy_of
from quebert.web.cloud_tasks._sentences import invalid
from quebert.web.cloud_tasks._task_values import oidc_field

__all__ = ["new_queue", "queue_message", "updated_queue"]

#: What Google takes where nothing is given.
_RATE, _CONCURRENCY = 500.0, 1_000
# A second has so many bursts: 100 at 500/s, as with Google.
_BURSTS = 5
_RATE_FIELD = "rate_limits.max_dispatches_per_second"
_CONCURRENCY_FIELD = "rate_limits.max_concurrent_dispatches"
# What would end the host within a URL.
_OF_HOSTS = frozenset("/?#@\\")
# The parts that can be changed, and what they are here.
_PARTS = {
    _RATE_FIELD: ("rate", "burst"),
    _CONCURRENCY_FIELD: ("concurrency",),
    "retry_config": ("retry",),
    "http_target": ("http_target",),
}


# -- From Cloud Tasks


def new_queue(name: str, message: QueueMessage, limits: CloudTasksLimits) -> CloudQueue:
    """
    The queue that a client asks for.

    @param name: in RabbitMQ.
    @raise CloudTasksError: a value cannot be.
    """
    if message.app_engine_routing_override is not None:
        raise invalid("App Engine is not supported: Queue.httpTarget can be set.")
    rates = message.rate_limits or RateLimitsMessage()
    _check_rates(rates, limits)
    rate = rates.max_dispatches_per_second or min(_RATE, limits.rate)
    concurrent = rates.max_concurrent_dispatches
    return CloudQueue(
        name=name,
        rate=rate,
        burst=max(1, int(rate / _BURSTS)),
        concurrency=concurrent or min(_CONCURRENCY, limits.concurrency),
        retry=policy_of(message.retry_config or RetryConfig()),
        http_target=_target(message.http_target),
    )


def _check_rates(rates: RateLimitsMessage, limits: CloudTasksLimits) -> None:
    rate, concurrent = rates.max_dispatches_per_second, rates.max_concurrent_dispatches
    if rate < 0:
        raise invalid("RateLimits.maxDispatchesPerSecond cannot be negative.")
    if rate > limits.rate:
        most = f"less than or equal to {limits.rate:g}"
        raise invalid(f"RateLimits.maxDispatchesPerSecond must be {most}.")
    if concurrent < 0:
        raise invalid("RateLimits.maxConcurrentDispatches cannot be negative.")
    if concurrent > limits.concurrency:
        most = f"less than or equal to {limits.concurrency}"
        raise invalid(f"RateLimits.maxConcurrentDispatches must be {most}.")


def _target(target: HttpTarget | None) -> dict[str, Any]:
    if target is None:
        return {}
    if target.oauth_token is not None:
        raise invalid("HttpTarget.oauthToken is not supported; oidcToken is.")
    token = target.oidc_token
    if token is not None and not (token.service_account_email and token.audience):
        text = "must have serviceAccountEmail and audience"
        raise invalid(f"HttpTarget.oidcToken {text}.")
    override = target.uri_override
    if override is not None and override.host == "":
        raise invalid("UriOverride.host cannot be empty.")
    if override is not None and not 0 <= (override.port or 0) < 65_536:
        raise invalid("UriOverride.port must be between 0 and 65535.")
    if len(target.header_overrides) > BOUNDS.headers:
        raise invalid(f"HttpTarget.headerOverrides must be at most {BOUNDS.headers}.")
    for each in target.header_overrides:
        if each.header is None or not each.header.key:
            raise invalid("HttpTarget.headerOverrides must each have a key.")
    _check_request(target)
    return written(target)


def _check_request(target: HttpTarget) -> None:
    """
    See that a task can be sent to a target: mediators serve no queue whose tasks
    cannot.
    """
    override = target.uri_override or UriOverride()
    path, query = override.path_override, override.query_override
    host = override.host or "localhost"
    if not _OF_HOSTS.isdisjoint(host):
        raise invalid("UriOverride.host must be the name of a host alone.")
    url = f"http://{host}:{override.port or 80}/"
    url += path.path.removeprefix("/") if path else ""
    url += f"?{query.query_params}" if query else ""
    headers = (each.header for each in target.header_overrides)
    task: Task = {
        "url": url,
        "headers": {each.key: each.value for each in headers if each is not None},
        "cloud_tasks": {"queue": "q", "task": "t"},
    }
    if target.oidc_token is not None:
        task["cloud_tasks"]["oidc"] = oidc_field(target.oidc_token)
    try:
        request(task, "")
    except BadTask as e:
        raise invalid(f"HttpTarget cannot be used: {e}.") from None


def updated_queue(
    queue: CloudQueue,
    message: QueueMessage,
    mask: tuple[str, ...],
    limits: CloudTasksLimits,
) -> CloudQueue:
    """
    A queue with the fields changed that a mask names; with all, where it names none.

    @raise CloudTasksError: a value cannot be, or there is no such field.
    """
    kept = {"paused", "purge_time", "version"}
    if mask and mask != ("*",):
        message = _with_named(queue, message, mask)
        for part, fields in _PARTS.items():
            if not _is_named(part, mask):
                kept.update(fields)
    found = new_queue(queue.name, message, limits)
    return attrs.evolve(found, **{field: getattr(queue, field) for field in kept})


def _with_named(
    queue: CloudQueue, message: QueueMessage, mask: tuple[str, ...]
) -> QueueMessage:
    """
    The queue that is to be made of one, without what the mask does not name: that may
    be beyond the limits.
    """
    changed = _as_given(queue)
    for path in mask:
        changed = _merged(changed, message, path.split("."), path)
    rates = changed.rate_limits or RateLimitsMessage()
    if not _is_named(_RATE_FIELD, mask):
        rates = attrs.evolve(rates, max_dispatches_per_second=0.0)
    if not _is_named(_CONCURRENCY_FIELD, mask):
        rates = attrs.evolve(rates, max_concurrent_dispatches=0)
    has_retry = _is_named("retry_config", mask)
    return attrs.evolve(
        changed,
        rate_limits=rates,
        retry_config=changed.retry_config if has_retry else None,
    )


def _is_named(part: str, mask: tuple[str, ...]) -> bool:
    """
    Whether a mask names a part of a queue, a part of that, or more than that.
    """
    return any(
        f"{part}.".startswith(f"{path}.") or path.startswith(f"{part}.")
        for path in mask
    )


def _as_given(queue: CloudQueue) -> QueueMessage:
    """
    A queue, as a client would have it made so.
    """
    limits = RateLimitsMessage(
        max_dispatches_per_second=queue.rate or 0.0,
        max_concurrent_dispatches=queue.concurrency or 0,
    )
    return QueueMessage(
        rate_limits=limits,
        retry_config=config_of_policy(queue.retry),
        http_target=_target_of(queue),
    )


def _merged(old: Any, new: Any, names: list[str], path: str) -> Any:
    """
    C{old} with one field of C{new}, which stands at C{names}.
    """
    name, *inner = names
    field = fields_of(type(old)).get(name)
    if field is None or (inner and not attrs.has(field.kind.inner)):
        raise invalid(f"update_mask: there is no field {path[:100]!r} in a Queue.")
    value = getattr(new, name)
    if inner:
        empty = field.kind.inner()
        value = _merged(getattr(old, name) or empty, value or empty, inner, path)
    return attrs.evolve(old, **{name: value})


# -- To Cloud Tasks


def queue_message(name: QueueName, queue: CloudQueue) -> QueueMessage:
    """
    A queue, as clients see it.
    """
    burst = queue.burst or (queue.rate and burst_of(Rate(queue.rate), None)) or 0
    purged = round(queue.purge_time * 1_000_000) * 1_000
    return QueueMessage(
        name=str(name),
        rate_limits=RateLimitsMessage(
            max_dispatches_per_second=queue.rate or 0.0,
            max_burst_size=int(burst),
            max_concurrent_dispatches=queue.concurrency or 0,
        ),
        retry_config=config_of_policy(queue.retry),
        state=QueueState.PAUSED if queue.paused else QueueState.RUNNING,
        purge_time=purged or None,
        http_target=_target_of(queue),
    )


def _target_of(queue: CloudQueue) -> HttpTarget | None:
    target = queue.http_target
    return read_message(HttpTarget, target, "http_target") if target else None
