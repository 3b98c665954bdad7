"""
Queues that are made over the API, as values; and their JSON, as RabbitMQ keeps it.
Pure.

A definition has what its user may choose.  All else, such as the guard, hooks, files
and signatures, is settled by the file of the mediators that serve the queue.

The JSON has the fields by their names, without those that have their default.  What
this version cannot read whole, such as a field that a later one has added, is no
definition here: L{definition_from_plain} raises.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from quebert.config import _kinds as kinds
from quebert.config._problems import Wrong
from quebert.config._queue import MOST
from quebert.config._watch import check_queue_name
from quebert.errors import ConfigError
from quebert.policy import RetryPolicy

__all__ = [
    "DELETED_FOR",
    "QueueDefinition",
    "definition_from_plain",
    "definition_to_plain",
]

#: Seconds for which no other queue may have the name of one that was deleted.
DELETED_FOR = 7 * 86_400.0
# Characters of the JSON of C{http_target}.
_MOST_TARGET = 65_536
# Larger ones are a mistake.
_LATEST = 1e11
_MOST_VERSION = 2**53


def _is(kind: Callable[[Any], object], *, optional: bool = False) -> Any:
    def check(_: object, field: attrs.Attribute[Any], value: Any) -> None:
        if optional and value is None:
            return
        try:
            kind(value)
        except Wrong as e:
            raise ConfigError(f"{field.name} {e}") from None

    return check


def _per_second(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Wrong("must be a number")
    if not (math.isfinite(value) and 0 < value <= MOST):
        raise Wrong(f"must be more than 0, and at most {MOST}, a second")
    return float(value)


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong("must be a text")
    try:
        value.encode()
        check_queue_name(value)
    except UnicodeEncodeError:
        raise Wrong("must be a text of Unicode") from None
    except ConfigError as e:
        raise Wrong(str(e)) from None
    return value


def _target(value: object) -> object:
    try:
        size = len(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        raise Wrong("must be an object of JSON") from None
    if not isinstance(value, Mapping) or size > _MOST_TARGET:
        raise Wrong(f"must be an object of at most {_MOST_TARGET} characters as JSON")
    return value


def _retry(value: object) -> object:
    if not isinstance(value, RetryPolicy):
        raise Wrong("must be a RetryPolicy")
    if value.max_attempts > MOST or value.max_doublings > 1_000:
        raise Wrong(f"has too many: {MOST} attempts at most, and 1000 doublings")
    return value


_time = kinds.real(0.0, _LATEST)


@attrs.frozen(kw_only=True)
class QueueDefinition:
    """
    A queue that was made over the API.

    @ivar name: of the queue in the broker.
    @ivar rate: how many tasks begin in a second, in all mediators together; C{None} for
        no limit.
    @ivar burst: how many may begin at once; C{None} for what follows from the rate.
    @ivar concurrency: how many may be at work at once, in all mediators together;
        C{None} for no limit but that of each mediator.
    @ivar retry: when a task that failed is tried again.
    @ivar queue_type: C{"classic"} or C{"quorum"}; C{None} leaves it to the broker.  It
        cannot be changed.
    @ivar http_target: what is put in place of parts of the requests of all tasks, as
        Cloud Tasks has it: C{HttpTarget} as proto JSON, with enums as names.
    @ivar version: a whole number that grows with each change, also beyond a deletion.
    @ivar purge_time: tasks that were created before are dropped; seconds since the
        epoch, 0 for none.
    @ivar deleted_at: when the queue was deleted, in seconds since the epoch: all its
        tasks are dropped.  C{None} of a queue that is not.
    @raise ConfigError: a value is wrong; the text names it.
    """

    name: str = attrs.field(validator=_is(_name))
    rate: float | None = attrs.field(
        default=None, validator=_is(_per_second, optional=True)
    )
    burst: int | None = attrs.field(
        default=None, validator=_is(kinds.number(1, MOST), optional=True)
    )
    concurrency: int | None = attrs.field(
        default=None, validator=_is(kinds.number(1, 65_535), optional=True)
    )
    retry: RetryPolicy = attrs.field(factory=RetryPolicy, validator=_is(_retry))
    queue_type: str | None = attrs.field(
        default=None, validator=_is(kinds.choice("classic", "quorum"), optional=True)
    )
    http_target: Mapping[str, Any] = attrs.field(factory=dict, validator=_is(_target))
    version: int = attrs.field(default=1, validator=_is(kinds.number(1, _MOST_VERSION)))
    purge_time: float = attrs.field(default=0.0, validator=_is(_time))
    deleted_at: float | None = attrs.field(
        default=None, validator=_is(_time, optional=True)
    )

    @property
    def is_deleted(self) -> bool:
        """
        Whether the queue was deleted.
        """
        return self.deleted_at is not None

    def is_gone(self, now: float) -> bool:
        """
        Whether it was deleted so long ago that mediators let go of it, and its name is
        free.
        """
        return self.deleted_at is not None and self.deleted_at + DELETED_FOR <= now


_FIELDS = {field.name for field in attrs.fields(QueueDefinition)}
_RETRY = {field.name for field in attrs.fields(RetryPolicy)}
_DEFAULTS = QueueDefinition(name="default")


def definition_to_plain(definition: QueueDefinition) -> dict[str, Any]:
    """
    A definition as an object of JSON.
    """
    plain = attrs.asdict(definition, filter=_is_said)
    return {"name": definition.name, "version": definition.version, **plain}


def _is_said(field: attrs.Attribute[Any], value: Any) -> bool:
    of_policy = field in attrs.fields(RetryPolicy)
    defaults: Any = _DEFAULTS.retry if of_policy else _DEFAULTS
    return bool(value != getattr(defaults, field.name))


def definition_from_plain(plain: Mapping[str, Any]) -> QueueDefinition:
    """
    What such an object tells.

    @raise ConfigError: something in it is not known here, or wrong.
    """
    fields = dict(plain)
    for key in fields:
        if key not in _FIELDS:
            raise ConfigError(f"{key[:40]!r} is not known to this version of quebert")
    if "retry" in fields:
        fields["retry"] = _policy(fields["retry"])
    try:
        return QueueDefinition(**fields)
    except TypeError as e:
        raise ConfigError(f"it is no definition of a queue: {e}") from None


def _policy(plain: Any) -> RetryPolicy:
    if not isinstance(plain, dict):
        raise ConfigError("retry must be an object")
    for key in plain:
        if key not in _RETRY:
            raise ConfigError(
                f"{'retry.' + key[:40]!r} is not known to this version of quebert"
            )
    return RetryPolicy(**plain)
