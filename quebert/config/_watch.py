"""
A queue to watch, as C{--watch} says it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import attrs

from quebert.config._broker import Broker, is_short
from quebert.config._settings import Backoff, QueueSettings, Service, Settings
from quebert.errors import ConfigError
from quebert.guard import Guard

__all__ = ["Watch", "check_queue_name", "settings_of"]


def check_queue_name(name: str) -> None:
    """
    Check the name of a queue to watch.

    @raise ConfigError: no queue can have it, or quebert cannot watch such a queue; the
        text goes on from the name.
    """
    if not 0 < len(os.fsencode(name)) <= 255:
        raise ConfigError("must have a name of 1 to 255 bytes")
    if any(c < " " or c == "\x7f" for c in name):  # RabbitMQ leaves some out
        raise ConfigError("must have a name with no control character")
    if name.startswith("amq."):
        raise ConfigError("cannot be watched: such names are the broker's")
    if name.startswith("quebert."):
        raise ConfigError("cannot be watched: such names are quebert's own")


@attrs.frozen
class Watch:
    """
    A queue to watch.

    @ivar exchange: where its tasks are published to.
    @ivar queue: its name.
    @ivar routing_key: what brings tasks to it.
    @ivar prefetch: how many of its tasks may be in flight; 0 for no limit,
        C{None} for the default.
    """

    exchange: str
    queue: str
    routing_key: str
    prefetch: int | None = None

    def __str__(self) -> str:
        more = "" if self.prefetch is None else f":{self.prefetch}"
        return f"{self.exchange}:{self.queue}:{self.routing_key}{more}"

    @classmethod
    def parse(cls, text: str) -> Watch:
        """
        Read C{exchange:queue:key} or C{exchange:queue:key:prefetch}.

        @raise ConfigError: it is neither.
        """
        parts = text.split(":")
        if len(parts) not in (3, 4) or not parts[1]:
            raise ConfigError(
                f"--watch {text} must be exchange:queue:key:prefetch, such as"
                " flow:medium-priority-queue:tasks.medium:5"
            )
        prefetch = parts[3] if len(parts) == 4 else ""
        if prefetch and not is_short(prefetch):
            raise ConfigError(
                f"--watch {text}: prefetch must be a number from 0 to 65535"
            )
        exchange, queue, key = parts[:3]
        try:
            check_queue_name(queue)
        except ConfigError as e:
            raise ConfigError(f"--watch {text}: the queue {e}") from None
        return cls(exchange, queue, key, int(prefetch) if prefetch else None)


def settings_of(
    watches: Iterable[Watch], broker: Broker, default_url: str, service: Service
) -> Settings:
    """
    The settings of a file that says only this.  A queue may be watched several times.
    """
    queues: dict[str, QueueSettings] = {}
    for watch in watches:
        again = sum(each.name == watch.queue for each in queues.values())
        name = f"{watch} ({again + 1})" if again else watch.queue
        queues[name] = QueueSettings(
            name=watch.queue,
            exchange=watch.exchange,
            key=watch.routing_key,
            prefetch=watch.prefetch,
            default_url=default_url,
            retry=Backoff(),
            guard=Guard(own=broker.places),
        )
    return Settings(broker=broker, service=service, queues=queues)
