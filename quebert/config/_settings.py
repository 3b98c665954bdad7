"""
What a configuration file says, as frozen values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Union

import attrs

from quebert._bounds import AT_WORK, BOUNDS
from quebert._protocol.extensions import QUEUE_TYPE
from quebert.cloud_events import CloudEvents
from quebert.config._broker import TLS, Broker
from quebert.config._cluster_web import ClusterWeb
from quebert.config._leases import LeaseSettings
from quebert.config._oidc import OIDC
from quebert.config._web import Listen, Web
from quebert.guard import Guard
from quebert.limits import AdaptiveSettings, BreakerSettings, OriginLimits, Rate
from quebert.policy import RetryPolicy
from quebert.signatures import Key

__all__ = [
    "DEFAULT_URL",
    "EVERY",
    "LOG_FORMATS",
    "LOG_LEVELS",
    "Argument",
    "Backoff",
    "Events",
    "Host",
    "MadeQueues",
    "Priorities",
    "QueueSettings",
    "Service",
    "Settings",
    "Signing",
]

#: The value of an argument of AMQP.
Argument = Union[str, int, float, bool]
#: The name that stands for every host that has no table of its own.
EVERY = "*"
#: What completes the partial URLs of tasks unless told otherwise.
DEFAULT_URL = "http://localhost:8000/"

#: How much is logged: a level, and all that is worse.
LOG_LEVELS = ("debug", "info", "warn", "error", "critical")
#: How it is written.
LOG_FORMATS = ("text", "json")
#: How many settings a mediator tells.
MOST_SHOWN = 2_000


@attrs.frozen
class Backoff:
    """
    How L{DelayOnErrorMediator<quebert.mediator.DelayOnErrorMediator>} waits:
    C{constant ** failures} seconds, C{max_delay} at most.  It gives up by
    C{max_attempts} and C{max_retry_duration}, as L{RetryPolicy} does.

    @ivar constant: the base of the power.
    @ivar max_delay: seconds that a task waits at most.
    @ivar max_attempts: how often a task is tried; -1 for no limit.
    @ivar max_retry_duration: for how many seconds it is tried again; 0 for no limit.
    @ivar traceback: whether a failed task has a whole traceback in it.
    """

    constant: float = 1.5
    max_delay: float = 120.0
    max_attempts: int = -1
    max_retry_duration: float = 0.0
    traceback: bool = False


@attrs.frozen
class Service:
    """
    The processes.

    @ivar processes: how many.
    @ivar grace: seconds that running requests get to finish when a mediator stops.
    @ivar max_memory: bytes that all tasks at work in one of them take together, as
        reckoned by their bodies.  It is no limit of the process, whose memory nobody
        looks at.
    @ivar log_level: one of L{LOG_LEVELS}.
    @ivar log_format: one of L{LOG_FORMATS}.
    @ivar log_tasks: whether the log has a line for each task that is done.
    """

    processes: int = 1
    grace: float = 30.0
    log_level: str = "info"
    log_format: str = "text"
    log_tasks: bool = True
    max_memory: int = AT_WORK


@attrs.frozen
class Signing:
    """
    How the requests of a queue are signed.

    @ivar file: where the keys are from.
    @ivar keys: each of them signs.
    """

    file: str
    keys: tuple[Key, ...] = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class QueueSettings:
    """
    A queue that is watched, and what becomes of its tasks.

    @ivar name: of the queue in the broker.
    @ivar exchange: where tasks are published to; C{""} for the default exchange.
    @ivar key: the routing key that brings them to the queue.
    @ivar key_arguments: of its binding, as exchanges of the type C{headers} need them.
    @ivar exchange_type: such as C{"topic"}.
    @ivar queue_type: C{"classic"} or C{"quorum"}; C{None} leaves it to the broker.
    @ivar arguments: further ones of C{queue.declare}.
    @ivar prefetch: how many tasks may be at work at once; C{None} for the default, 0
        for no limit.  RabbitMQ's C{basic.qos} follows from it.
    @ivar concurrency: another limit for the same: the smaller one counts, and this one
        alone if C{prefetch} is not given; C{None} for no other limit.
    @ivar slow_after: seconds after which a request does not count for
        C{prefetch} any more; C{None} for never.
    @ivar hang_after: seconds after which a request does not count for C{prefetch} any
        more if places are scarce; 0 for never, C{None} for the default.
    @ivar hold_up_to: seconds that a task waits in this process at most.
    @ivar rate: how many tasks begin in a time, in all mediators of the queue; C{None}
        for no limit.
    @ivar burst: how many may begin at once; C{None} for the default.
    @ivar priority: the name of one of the L{Priorities.weights}, or C{None}.
    @ivar default_url: what completes the partial URLs of tasks.
    @ivar timeout: seconds that a request may take whose task does not say.
    @ivar mediator: C{"policy"}, C{"delay-on-error"} or C{"plain"}.
    @ivar retry: fits it; C{None} for C{"plain"}.
    @ivar permanent: statuses after which a task is not tried again.
    @ivar max_retry_after: seconds that an answer can have a task wait; C{None} for
        the default.
    @ivar bury: whether a message that is no task goes to C{NAME.dead}, and is not
        dropped.
    @ivar max_url_length: characters that the URL of a task may have.
    @ivar max_body: bytes that a message may have.
    @ivar headers: of each request, unless the task has them itself.
    @ivar sign: how each request is signed; C{None} for not at all.
    @ivar cloud_events: makes an event of each request; C{None} for none.
    @ivar guard: what its tasks may reach.
    @ivar prehooks: C{module.function} of each.
    @ivar posthooks: C{module.function} of each.
    @ivar shared_concurrency: how many tasks may be at work at once in all mediators of
        the queue, if it was made over the API; C{None} for no limit.
    @ivar drop_before: tasks that were created before are dropped, of a queue that was
        made over the API: seconds since the epoch; infinity for all tasks.
    @ivar http_target: what takes the place of parts of the requests, of a queue that
        was made over the API (L{QueueDefinition<quebert.config.QueueDefinition>}).
    @ivar leases: those of all queues; C{None} for none.
    """

    name: str
    exchange: str = "flow"
    key: str = ""
    key_arguments: Mapping[str, Argument] = attrs.field(factory=dict)
    exchange_type: str = "topic"
    queue_type: str | None = None
    arguments: Mapping[str, Argument] = attrs.field(factory=dict)
    prefetch: int | None = None
    concurrency: int | None = None
    slow_after: float | None = None
    hang_after: float | None = None
    hold_up_to: float | None = None
    rate: Rate | None = None
    burst: int | None = None
    priority: str | None = None
    default_url: str = DEFAULT_URL
    timeout: float | None = None
    mediator: str = "delay-on-error"
    retry: Union[RetryPolicy, Backoff, None] = None
    permanent: tuple[int, ...] = ()
    max_retry_after: float | None = None
    bury: bool = True
    max_url_length: int = BOUNDS.url
    max_body: int = BOUNDS.body
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    sign: Signing | None = None
    cloud_events: CloudEvents | None = None
    guard: Guard = attrs.field(factory=Guard)
    prehooks: tuple[str, ...] = ()
    posthooks: tuple[str, ...] = ()
    shared_concurrency: int | None = None
    drop_before: float = 0.0
    http_target: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    leases: LeaseSettings | None = None

    @property
    def effective_prefetch(self) -> int | None:
        """
        How many of its tasks may be at work at once: what both C{prefetch} and
        C{concurrency} allow; 0 for no limit, C{None} for the default.
        """
        if self.concurrency is None:
            return self.prefetch
        return min(self.prefetch or self.concurrency, self.concurrency)

    @property
    def declared_arguments(self) -> dict[str, Argument]:
        """
        All arguments of C{queue.declare}, with the type if the file has one.
        """
        kind = {} if self.queue_type is None else {QUEUE_TYPE: self.queue_type}
        return {**self.arguments, **kind}


@attrs.frozen(kw_only=True)
class Host:
    """
    Limits for what is requested of one host, over all queues.

    @ivar name: the host, or C{host:port}, in lower case; or L{EVERY}.
    @ivar rate: how many requests in a time; C{None} for no limit.
    @ivar burst: how many may begin at once; C{None} for the default.
    @ivar concurrency: how many requests at once; C{None} for no limit.
    @ivar breaker: when it is left in peace, since it keeps failing; C{None} for
        never.
    @ivar adaptive: how it is found out how much it can take; C{None} for not.
    @ivar connections: how many there may be to each origin at once
        (C{Limits.per_origin} of L{quebert.http}); C{None} for the default.
    @ivar idle: seconds that one is kept unused, 0 for none; C{None} for the default.
    @ivar slowest: bytes per second that an answer must bring after its head, 0 for
        however few; C{None} for the default.
    @ivar tls: for C{https}; C{None} for the platform's authorities, and no
        certificate of ours.
    """

    name: str
    rate: Rate | None = None
    burst: int | None = None
    concurrency: int | None = None
    breaker: BreakerSettings | None = attrs.field(factory=BreakerSettings)
    adaptive: AdaptiveSettings | None = attrs.field(factory=AdaptiveSettings)
    connections: int | None = None
    idle: float | None = None
    slowest: float | None = None
    tls: TLS | None = None

    @property
    def limits(self) -> OriginLimits:
        """
        The same for who keeps to it.
        """
        return OriginLimits(
            rate=self.rate,
            burst=self.burst,
            concurrency=self.concurrency,
            breaker=self.breaker,
            adaptive=self.adaptive,
        )


@attrs.frozen
class Events:
    """
    What mediators tell of their tasks and of themselves, for those who look on.

    @ivar publish: whether they do.
    @ivar interval: seconds between two batches.
    @ivar most: how many records wait, while the broker takes none; then the oldest are
        dropped.
    """

    publish: bool = True
    interval: float = 0.25
    most: int = 100_000


@attrs.frozen
class Priorities:
    """
    How queues share what can be done.

    @ivar weights: the share of each queue of a class, by the name of the class.
    @ivar concurrency: how many tasks of all queues that have a priority are requested
        at once.
    @ivar ageing: seconds after which a task goes first, whatever its class.
    """

    weights: Mapping[str, int] = attrs.field(
        factory=lambda: {"high": 6, "medium": 3, "low": 1}
    )
    concurrency: int = 100
    ageing: float = 60.0


@attrs.frozen
class MadeQueues:
    """
    Queues that were made over the API, as far as mediators serve them.

    @ivar serve: patterns of names, as C{"*"} and C{"mail-*"}; nothing by default.
    @ivar each: how the tasks of each are handled: the part of its settings that the
        definition of a queue does not have; C{None} where nothing is served.
    """

    serve: tuple[str, ...] = ()
    each: QueueSettings | None = None


@attrs.frozen(kw_only=True)
class Settings:
    """
    All that a file says, or a command line about what is watched.

    @ivar broker: where the broker is.
    @ivar quorum_delays: whether tasks that wait in the broker do so in quorum queues;
        C{None} where RabbitMQ has them.
    @ivar management_url: where RabbitMQ's management API is; C{None} for the usual
        place.  Mediators do not use it.
    @ivar service: what concerns the whole process.
    @ivar queues: by their names; one that a command line names several times is there
        as often, under other names after the first.
    @ivar hosts: by their names.
    @ivar priorities: how queues share what can be done.
    @ivar events: what mediators tell of their tasks.
    @ivar leases: the leases that executors ask for; C{None} for none.
    @ivar oidc: the issuer of ID tokens; C{None} for none.
    @ivar web: what each mediator shows of itself.
    @ivar cluster_web: what C{quebert web} serves.  Mediators do not use it.
    @ivar made_queues: which of the queues that were made over the API are served.
    """

    broker: Broker
    quorum_delays: bool | None = None
    management_url: str | None = None
    service: Service = attrs.field(factory=Service)
    queues: Mapping[str, QueueSettings] = attrs.field(factory=dict)
    hosts: Mapping[str, Host] = attrs.field(factory=dict)
    priorities: Priorities = attrs.field(factory=Priorities)
    events: Events = attrs.field(factory=Events)
    leases: LeaseSettings | None = None
    oidc: OIDC | None = None
    web: Web = attrs.field(factory=Web)
    cluster_web: ClusterWeb = attrs.field(factory=ClusterWeb)
    made_queues: MadeQueues = attrs.field(factory=MadeQueues)

    def shown(self) -> dict[str, str]:
        """
        All settings, by their names in the file, but for secrets, and for what is not
        set; of very many, the first L{MOST_SHOWN}.
        """
        return dict(islice(_all_shown("", _fields(self)), MOST_SHOWN))

    def shown_at(self, listen: Listen) -> Settings:
        """
        The same, with L{Web.listen} from elsewhere; no task may go there.
        """

        def shown(queue: QueueSettings) -> QueueSettings:
            own = (*queue.guard.own, *listen.places)
            return attrs.evolve(queue, guard=attrs.evolve(queue.guard, own=own))

        made = self.made_queues
        if made.each is not None:
            made = attrs.evolve(made, each=shown(made.each))
        return attrs.evolve(
            self,
            queues={name: shown(each) for name, each in self.queues.items()},
            made_queues=made,
            web=attrs.evolve(self.web, listen=listen),
        )

    def changes(self, new: Settings) -> list[str]:
        """
        What is different in C{new}, a line each; secrets are not told.
        """
        return list(_changes("", _fields(self), _fields(new)))


# No keys of the file.
_UNSAID = (
    "name",
    "own",
    "cluster_web",
    "drop_before",
    "http_target",
    "leases",
    "shared_concurrency",
)


def _fields(value: Any) -> dict[str, Any]:
    """
    The settings of a value by their names in the file.
    """
    if attrs.has(type(value)):
        fields = attrs.fields(type(value))
        shown = (f.name for f in fields if f.name not in _UNSAID)
        return {name: getattr(value, name) for name in shown}
    return dict(value)


def _is_table(value: Any) -> bool:
    """
    Whether a value is a table in the file, whose keys are compared one by one.  A value
    that is made with attrs and is no table, such as a L{Rate}, is named here.
    """
    nested = attrs.has(type(value)) and not isinstance(value, (Rate, Broker, Listen))
    return nested or isinstance(value, Mapping)


_SECRET = ("broker", "headers", "leases", "oidc", "sign")


def _all_shown(prefix: str, fields: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        key = f"{prefix}{name}"
        if name in _SECRET or value is None or value == ():
            continue
        if _is_table(value):
            yield from _all_shown(f"{key}.", _fields(value))
        else:
            yield key, _shown(value)


def _changes(prefix: str, old: dict[str, Any], new: dict[str, Any]) -> Any:
    for name in sorted({**old, **new}):
        key = f"{prefix}{name}"
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if name in _SECRET:
            yield f"{key} changed"
        elif _is_table(before) and type(before) is type(after):
            yield from _changes(f"{key}.", _fields(before), _fields(after))
        elif before is None and _is_table(after):
            yield f"{key} added"
        elif after is None and _is_table(before):
            yield f"{key} removed"
        elif _is_table(before) or _is_table(after):
            yield f"{key} changed"
        else:
            yield f"{key} changed from {_shown(before)} to {_shown(after)}"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
