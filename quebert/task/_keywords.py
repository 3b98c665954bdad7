"""
The keywords of C{add_task}, and which of them a misspelt one may mean.  Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

__all__ = ["FIELDS", "OF_MAKERS", "check_keywords", "meant_by"]

#: The fields that a mediator reads from a task, or writes into it: those in
#: docs/tasks.rst.
FIELDS = frozenset(
    {
        "callback_name",
        "callback_url",
        "cloud_tasks",
        "failures",
        "filter",
        "headers",
        "method",
        "params",
        "payload",
        "retry",
        "run_at",
        "timeout",
        "timestamp",
        "traceback",
        "ttl",
        "url",
        "uuid",
    }
)
# The fields that make() has no parameter for: they go into the task as they are.
_PASSED_ON = frozenset({"failures", "filter", "timestamp", "traceback"})
#: Producers do not make these.
OF_MAKERS = frozenset({"callback_name", "cloud_tasks"})
# Only the functions of quebert.producer have these: a producer is made with them.
_OF_PRODUCERS = frozenset({"amqp_url", "exchange", "patience"})
# All keywords of C{add_task}, blocking or not.
_KEYWORDS = sorted(
    (FIELDS - OF_MAKERS - {"url"})
    | _OF_PRODUCERS
    | {"delay", "extra", "kind", "max_body", "max_url_length", "priority"}
)
# Names that other task queues have, and the keywords for the same here.
_ELSEWHERE = {
    "args": "params",
    "body": "params",
    "callback": "callback_url",
    "countdown": "delay",
    "data": "params",
    "dispatch_deadline": "timeout",
    "eta": "run_at",
    "expires": "ttl",
    "failure_callback": "callback_url",
    "id": "uuid",
    "json": "params",
    "kwargs": "params",
    "max_attempts": "retry",
    "max_retries": "retry",
    "queue": "kind",
    "retries": "retry",
    "retry_policy": "retry",
    "schedule_time": "run_at",
    "task_id": "uuid",
    "time_limit": "timeout",
}


def check_keywords(names: Iterable[str]) -> None:
    """
    Check the keywords of C{add_task} that it has no parameter for.

    @raise TypeError: a name is none of C{timestamp}, C{filter}, C{failures} and
        C{traceback}; the text has the nearest keyword.
    """
    for name in names:
        if name in _OF_PRODUCERS:
            text = f"a producer's add_task() has no keyword {name!r}"
            raise TypeError(f"{text}: give {name} to the producer when you make it")
        if name == "name":  # it needs the rows that quebert web keeps
            raise TypeError(
                "add_task() over AMQP gives tasks no names: they need the HTTP API"
                " (QUEBERT_URL), so take add_task() of quebert.client.Client. A field"
                " of your own goes into extra={'name': ...}."
            )
        if name not in _PASSED_ON:
            raise TypeError(
                f"add_task() has no keyword {name!r}{_nearest(name)} A field of your"
                f" own goes into extra={{{name!r}: ...}}."
            )


def _nearest(name: str) -> str:
    meant = meant_by(name)
    return f": did you mean {meant}?" if meant else f"; it has {', '.join(_KEYWORDS)}."


def meant_by(name: str, known: Collection[str] = _KEYWORDS) -> str | None:
    """
    The keyword that somebody may mean by a name.

    @param known: the keywords that there are; those of C{add_task} by default.
    """
    lower = name.lower().replace("-", "_")
    # Two short names of a different meaning are soon alike.
    close = get_close_matches(lower, _ELSEWHERE, n=1, cutoff=0.85)
    if close and _ELSEWHERE[close[0]] in known:
        return _ELSEWHERE[close[0]]
    return next(iter(get_close_matches(lower, known, n=1)), None)
