"""
What several mediators agree on through RabbitMQ: rates, priorities and pauses.
"""

from quebert.amqp.coordination._door import Door
from quebert.amqp.coordination._pause import AGAIN, Pauses, Pausing
from quebert.amqp.coordination._pause_sign import (
    CONTROL,
    is_paused,
    set_paused,
    sign_of,
)
from quebert.amqp.coordination._priority_group import PriorityGroup
from quebert.amqp.coordination._shared_rate import rate_queue_of
from quebert.amqp.coordination._throttle import PaceStatus, Throttle

__all__ = [
    "AGAIN",
    "CONTROL",
    "Door",
    "PaceStatus",
    "Pauses",
    "Pausing",
    "PriorityGroup",
    "Throttle",
    "is_paused",
    "rate_queue_of",
    "set_paused",
    "sign_of",
]
