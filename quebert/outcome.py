"""
What became of a delivery: a closed union of frozen values.  Pure.

A callback given to L{quebert.amqp.TxAMQPClient.watch} may return any of them;
a mediator always does.  The watcher alone carries them out.
"""

from __future__ import annotations

from typing import Union

import attrs

__all__ = ["Discard", "Done", "Outcome", "Retry"]


@attrs.frozen
class Done:
    """
    The task was executed; the message is acknowledged.
    """


@attrs.frozen
class Retry:
    """
    The message goes back to the queue it came from.

    @ivar body: the new body, or C{None} for the one it came with.
    @ivar after: seconds from now until it goes back.
    """

    body: bytes | None = None
    after: float = 0.0


@attrs.frozen
class Discard:
    """
    The message is dropped; acknowledged and logged, never tried again.

    @ivar reason: one sentence for the log.
    """

    reason: str


Outcome = Union[Done, Retry, Discard]
