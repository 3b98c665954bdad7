"""
Queues and exchanges: declaring them, asking about them, and looking through them.
"""

from quebert.amqp.queues._bindings import Bindings, QueueBinding
from quebert.amqp.queues._browse import Browsing, Visit, browse, fingerprint
from quebert.amqp.queues._dead_letters import KIND, REASON, DeadLetters, dead_letters_of
from quebert.amqp.queues._declared import LENGTHS, Declared, declared, losses
from quebert.amqp.queues._declaring import (
    CLASSIC,
    QUORUM,
    STREAM,
    declare_queue,
    declare_task_queue,
    no_single_tasks,
    own_quorum,
    unreached_length_limit,
)
from quebert.amqp.queues._existing import (
    Depth,
    depth,
    find_exchange,
    find_queue,
)
from quebert.amqp.queues._lookers import count_lookers, looking
from quebert.amqp.queues._names import NAME_LIMIT, derived, fitting, risk_of
from quebert.amqp.queues._new_queues import NewQueues
from quebert.amqp.queues._watchable import check_watchable

__all__ = [
    "CLASSIC",
    "KIND",
    "LENGTHS",
    "NAME_LIMIT",
    "QUORUM",
    "REASON",
    "STREAM",
    "Bindings",
    "Browsing",
    "DeadLetters",
    "Declared",
    "Depth",
    "NewQueues",
    "QueueBinding",
    "Visit",
    "browse",
    "check_watchable",
    "count_lookers",
    "dead_letters_of",
    "declare_queue",
    "declare_task_queue",
    "declared",
    "depth",
    "derived",
    "find_exchange",
    "find_queue",
    "fingerprint",
    "fitting",
    "looking",
    "losses",
    "no_single_tasks",
    "own_quorum",
    "risk_of",
    "unreached_length_limit",
]
