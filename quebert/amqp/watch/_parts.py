"""
The parts of a watch that several others use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from quebert.amqp.watch._delivered_message import DeliveredMessage
    from quebert.amqp.watch._ledger import Ledger
    from quebert.amqp.watch._one_suspect import OneSuspect
    from quebert.amqp.watch._places import Places
    from quebert.amqp.watch._redelivery import Redelivery
    from quebert.amqp.watch._settlement import Settlement

__all__ = ["WatchParts"]


@attrs.frozen
class WatchParts:
    """
    @ivar ledger: where each delivery stands.
    @ivar settlement: settles the deliveries.
    @ivar redelivery: decides about messages that have come before.
    @ivar places: who is at work, and who waits for that.
    @ivar one_suspect: attempts the suspects of all watches of a client.
    """

    ledger: Ledger[DeliveredMessage]
    settlement: Settlement
    redelivery: Redelivery
    places: Places
    one_suspect: OneSuspect
