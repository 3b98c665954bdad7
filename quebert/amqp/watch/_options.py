"""
The options of a watch: L{WatchOptions}.

An option that a configuration file has, too, is a field of the same name in
L{QueueSettings<quebert.config.QueueSettings>}, read in C{config/_queue.py} (by
C{handling}, if queues that are made over the API have it, too, else by C{queue}), and
told in C{docs/configuration.rst}.  C{service/_ways.py} passes on all fields of
equal names.  On the command line, C{--watch} has C{prefetch} alone
(C{config/_watch.py}; the synopsis and the texts in C{service/_options.py}).  If others
call the option by another name: C{_ELSEWHERE} in C{config/_table.py}.

Each option is heeded in one place: C{rate}, C{burst}, C{share_rate},
C{shared_concurrency}, C{group} and C{weight} by
L{throttles_of<quebert.amqp.coordination.throttles_of>}; C{exchange_type} and
C{key_arguments} by L{TxAMQPClient.watch<quebert.amqp.TxAMQPClient.watch>};
C{arguments} and C{queue_type} by C{Intake}, which declares the queue, and by those who
ask for the type of the queue, or for an argument.  C{Deliveries} gives the others to
C{Handler}, C{Settlement}, C{HangingHosts}, C{Places} or C{Consumer}.  One that concerns
the start or the end of a watch: L{Watcher<quebert.amqp.watch.Watcher>}.  One that is an
argument of the queue goes into C{WatchOptions.declared}, and into
C{QueueSettings.declared_arguments}, with which the doctor compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from quebert._consumer_timeout import HOLD_LIMIT
from quebert._protocol.extensions import QUEUE_TYPE
from quebert.amqp.queues import STREAM
from quebert.amqp.watch._hanging_hosts import HANG_AFTER
from quebert.amqp.watch._settlement import HOLD_UP_TO
from quebert.amqp.watch._throttle import ThrottleGroup
from quebert.errors import ConfigError
from quebert.limits import Rate, RateLike

__all__ = ["DEFAULT_PREFETCH", "WatchOptions"]

#: How many messages may be with the callback at once unless told otherwise.
DEFAULT_PREFETCH = 100


def _copied(given: Mapping[str, Any] | None) -> dict[str, Any]:
    return dict(given or {})


def _rate(given: RateLike | None) -> Rate | None:
    try:
        return None if given is None else Rate.of(given)
    except ConfigError as e:
        raise ConfigError(f"rate={given!r}: {e}") from None


@attrs.frozen(kw_only=True, unsafe_hash=False)
class WatchOptions:
    """
    How a queue is watched.  The names are those of a configuration file, where it has
    them.

    @ivar prefetch: how many tasks may be at work at once; 0 for no limit.  RabbitMQ's
        C{basic.qos} follows from it.
    @ivar exchange_type: the type of the exchange.
    @ivar queue_type: C{"classic"} or C{"quorum"}; the broker's default otherwise.  A
        C{"stream"} is refused: no task of it can be taken out.
    @ivar arguments: further arguments of C{queue.declare}.
    @ivar key_arguments: arguments of C{queue.bind}, which an exchange of the type
        C{headers} needs.
    @ivar slow_after: seconds after which a callback that still runs does not count for
        C{prefetch} any more, so that slow messages do not keep quick ones waiting;
        C{None} for never.
    @ivar hold_up_to: seconds that a message which is put back for later waits in this
        process, at most; for longer it waits in the broker.
    @ivar hang_after: seconds after which a request does not count for C{prefetch} any
        more where places are scarce; 0 for never.
    @ivar error_delay: seconds after which a message whose callback failed is put back,
        doubled for each failure in a row, up to 120 s; 0 for at once.
    @ivar rate: how many messages begin in a time at most, such as C{"500/s"},
        C{"30/m"}, C{"10/h"} or a number, per second; C{None} for no limit.
    @ivar burst: how many at once; a quarter of a second's by default.
    @ivar share_rate: all who watch this queue with a rate, in other processes, too,
        keep to it together; else each by itself.
    @ivar shared_concurrency: how many messages may be at work at once in all who watch
        this queue with this option, in other processes, too; each has an equal part.
        C{None} for no limit but C{prefetch}.
    @ivar group: shares its places between this queue and others, such as a
        L{PriorityGroup<quebert.amqp.PriorityGroup>}.
    @ivar weight: share of the group's places: of a queue with 2, twice as many messages
        begin as of one with 1.
    @raise ConfigError: one of these is wrong.
    """

    prefetch: int = DEFAULT_PREFETCH
    exchange_type: str = "topic"
    queue_type: str | None = None
    arguments: Mapping[str, Any] = attrs.field(factory=dict, converter=_copied)
    key_arguments: Mapping[str, Any] = attrs.field(factory=dict, converter=_copied)
    slow_after: float | None = None
    hold_up_to: float = HOLD_UP_TO
    hang_after: float = HANG_AFTER
    error_delay: float = 1.0
    rate: Rate | None = attrs.field(default=None, converter=_rate)
    burst: float | None = None
    share_rate: bool = True
    shared_concurrency: int | None = None
    group: ThrottleGroup | None = None
    weight: float = 1.0

    def __attrs_post_init__(self) -> None:
        if self.declared.get(QUEUE_TYPE) == STREAM:
            text = (
                "must be classic or quorum: nobody can take single tasks from a stream"
            )
            raise ConfigError(f"queue_type={STREAM!r} {text}")
        if self.prefetch not in range(65536):
            raise ConfigError(f"prefetch={self.prefetch} must be from 0 to 65535")
        places = self.shared_concurrency
        if places is not None and not places >= 1:
            raise ConfigError(f"shared_concurrency={places} must be at least 1")
        if self.slow_after is not None and not self.slow_after > 0:
            text = "must be more than 0 seconds"
            raise ConfigError(f"slow_after={self.slow_after} {text}")
        if not 0 <= self.hold_up_to <= HOLD_LIMIT:
            text = f"must be from 0 to {HOLD_LIMIT:.0f} seconds"
            raise ConfigError(f"hold_up_to={self.hold_up_to} {text}")
        for name, wanted in (
            ("hang_after", "seconds, 0 for never"),
            ("error_delay", "seconds, 0 for at once"),
        ):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name}={getattr(self, name)} must be {wanted}")
        if self.burst is not None and self.rate is None:
            raise ConfigError(f"burst={self.burst} needs a rate beside it")
        if not 0 < self.weight < float("inf"):
            raise ConfigError(f"weight={self.weight} must be more than 0")

    @property
    def declared(self) -> dict[str, Any]:
        """
        The arguments that the queue is declared with.
        """
        kind = {} if self.queue_type is None else {QUEUE_TYPE: self.queue_type}
        return {**self.arguments, **kind}
