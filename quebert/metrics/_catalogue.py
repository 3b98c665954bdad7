"""
All metrics that there are: their names, kinds, labels and texts.  Pure.

A name ends as Prometheus has it: that of a counter in "total", any other with the unit
if there is one.  C{docs/metrics.rst} has the same table.

To add a metric: a line of L{FAMILIES}; its figures in C{_samples} of L{ClusterMetrics
<quebert.metrics.ClusterMetrics>}; the table in C{docs/metrics.rst};
a panel in C{examples/observe/grafana.json}.
"""

from __future__ import annotations

import attrs

__all__ = ["FAMILIES", "PREFIX", "Family"]

PREFIX = "quebert_"


@attrs.frozen
class Family:
    """
    One metric.

    @ivar name: as in the exposition, but for L{PREFIX}.
    @ivar kind: C{"counter"}, C{"gauge"} or C{"histogram"}.
    @ivar labels: their names.
    @ivar text: the meaning, in a sentence.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str

    @property
    def full_name(self) -> str:
        """
        As it is in the exposition.
        """
        return PREFIX + self.name


_QUEUE = ("queue",)
_ORIGIN = ("origin",)
_MEDIATOR = ("mediator",)

#: All of them, in the order of the exposition.
FAMILIES = (
    # What mediators do
    Family("tasks_received_total", "counter", _QUEUE, "Tasks that RabbitMQ delivered."),
    Family(
        "tasks_settled_total",
        "counter",
        ("queue", "fate"),
        "What became of them: done, retried, discarded, buried or returned.",
    ),
    Family("tasks_in_flight", "gauge", _QUEUE, "Tasks that mediators have now."),
    Family("tasks_held", "gauge", _QUEUE, "Those of them that wait in a mediator."),
    Family(
        "attempts_total",
        "counter",
        ("queue", "status", "outcome"),
        "Attempts, by the class of the status and the outcome.",
    ),
    Family(
        "request_duration_seconds",
        "histogram",
        _QUEUE,
        "Duration of attempts with a request.",
    ),
    Family(
        "task_wait_seconds",
        "histogram",
        _QUEUE,
        "Time from when an attempt was due until it began.",
    ),
    Family(
        "task_life_seconds",
        "histogram",
        _QUEUE,
        "Time from when a task was added until it was over.",
    ),
    # How queues are watched
    Family("consumers", "gauge", _QUEUE, "Mediators that consume the queue."),
    Family("queue_paused", "gauge", _QUEUE, "1 if the queue is paused."),
    Family(
        "prefetch",
        "gauge",
        _QUEUE,
        "Tasks that mediators may have at once; +Inf for no limit.",
    ),
    Family(
        "rate_limit",
        "gauge",
        _QUEUE,
        "Tasks per second that may begin, in all mediators.",
    ),
    # What RabbitMQ has
    Family("queue_ready_tasks", "gauge", _QUEUE, "Tasks that wait in the queue."),
    Family("queue_delayed_tasks", "gauge", _QUEUE, "Tasks whose time has not come."),
    Family("queue_retrying_tasks", "gauge", _QUEUE, "Tasks that wait for a retry."),
    Family("queue_dead_tasks", "gauge", _QUEUE, "Dead letters of the queue."),
    Family(
        "queue_oldest_seconds",
        "gauge",
        _QUEUE,
        "Age of the task that has waited longest in the queue.",
    ),
    # Hosts
    Family(
        "origin_breakers",
        "gauge",
        ("origin", "state"),
        "Mediators whose circuit breaker is closed, half-open or open.",
    ),
    Family("origin_in_flight", "gauge", _ORIGIN, "Requests that run now."),
    Family(
        "origin_concurrency_limit",
        "gauge",
        _ORIGIN,
        "Requests that there may be at once, of all mediators.",
    ),
    Family(
        "origin_rate_limit",
        "gauge",
        _ORIGIN,
        "Requests per second that there may be, of all mediators.",
    ),
    # Mediators
    Family("mediators", "gauge", (), "Mediators that tell how they are."),
    Family(
        "mediator_up",
        "gauge",
        _MEDIATOR,
        "1 if the mediator has told how it is lately.",
    ),
    Family(
        "mediator_start_time_seconds",
        "gauge",
        _MEDIATOR,
        "When the mediator was started, since the epoch.",
    ),
    Family(
        "mediator_cpu_seconds_total",
        "counter",
        _MEDIATOR,
        "Processor time that the mediator has used.",
    ),
    Family("mediator_memory_bytes", "gauge", _MEDIATOR, "Memory that it takes."),
    Family(
        "mediator_reactor_lag_seconds",
        "gauge",
        _MEDIATOR,
        "By how much its reactor was late at most, lately.",
    ),
    Family(
        "mediator_reconnects_total",
        "counter",
        _MEDIATOR,
        "How often it has connected to RabbitMQ again.",
    ),
    Family(
        "mediator_unconfirmed_messages",
        "gauge",
        _MEDIATOR,
        "Publications for whose confirm it waits.",
    ),
    # The events themselves
    Family(
        "events_dropped_total",
        "counter",
        (),
        "Attempts that no mediator could tell of, or that were lost on the way.",
    ),
    Family("ready", "gauge", (), "1 if /readyz says yes."),
    Family("build_info", "gauge", ("version",), "1, with the version of quebert."),
)
