"""
Which throttles a watch has, by its options: the one place that knows all kinds.
L{quebert.amqp.coordination} tells what another kind takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from quebert._protocol.extensions import QUEUE_TYPE
from quebert.amqp.coordination._pace import Pace
from quebert.amqp.coordination._shared_concurrency import SharedConcurrency
from quebert.amqp.coordination._shared_rate import SharedRate

if TYPE_CHECKING:
    from quebert.amqp.link import Session
    from quebert.amqp.watch import Throttle, WatchOptions

__all__ = ["throttles_of"]


def throttles_of(
    session: Session, queue: str, options: WatchOptions
) -> Iterator[Throttle]:
    """
    The throttles of a watch of C{queue}: a rate, which others may share, places that
    others share, and a group.

    @param session: has what a throttle may need: the reactor, the time of day, and
        connections.
    @raise ConfigError: the weight is wrong.
    """
    quorum = options.declared.get(QUEUE_TYPE) == "quorum"
    if options.rate is not None:
        pace = Pace(options.rate, options.burst, lambda: session.reactor)
        yield pace
        if options.share_rate:
            yield SharedRate(
                queue,
                pace,
                session.make_publisher(),
                lambda: session.reactor,
                quorum=quorum,
            )
    if options.shared_concurrency is not None:
        yield SharedConcurrency(
            queue,
            options.shared_concurrency,
            lambda: session.reactor,
            quorum=quorum,
        )
    if options.group is not None:
        yield options.group.join(options.weight, lambda: session.reactor)
