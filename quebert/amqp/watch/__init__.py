"""
One watched queue, from its deliveries to the outcomes that settle them.
"""

from quebert.amqp.watch._handler import Callback
from quebert.amqp.watch._ledger import Counts
from quebert.amqp.watch._memory_budget import Budget
from quebert.amqp.watch._one_suspect import OneSuspect
from quebert.amqp.watch._options import WatchOptions
from quebert.amqp.watch._suspects import Suspects, flight_sign, in_order_sign
from quebert.amqp.watch._switch import Step, Switch
from quebert.amqp.watch._throttle import PaceStatus, Throttle, ThrottleGroup
from quebert.amqp.watch._watcher import DRAIN, OnDisconnect, Watcher

__all__ = [
    "DRAIN",
    "Budget",
    "Callback",
    "Counts",
    "OnDisconnect",
    "OneSuspect",
    "PaceStatus",
    "Step",
    "Suspects",
    "Switch",
    "Throttle",
    "ThrottleGroup",
    "WatchOptions",
    "Watcher",
    "flight_sign",
    "in_order_sign",
]
