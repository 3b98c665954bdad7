"""
Queues and exchanges: declaring them, asking about them, and looking through them.

What changes together:

 - Another type of queue: C{_declaring}, beside L{CLASSIC} and L{QUORUM}; C{queue_type}
   of L{WatchOptions<quebert.amqp.WatchOptions>} and in C{config/_queue.py}; who asks
   for a type: L{NewQueues} (does it lose what it has confirmed?), C{_dead_letters} (is
   C{<queue>.dead} as safe?), C{coordination/_throttles} (the queues of a rate),
   L{losses}, C{doctor/_queues} and C{operations/_refusals} (what cannot be done with
   it); C{docs/configuration.rst}, C{watching.rst} and C{operating.rst}.  For the
   embedded broker: L{quebert.broker.state}, and C{docs/dev.rst}.
 - A source whose messages cannot be given back, such as a stream, changes more in
   C{watch}: C{Settlement}, C{Returns} and C{Redelivery}; C{Replacements}, and
   C{delays/_forwarding}, which publish a retry to the queue that its message came from
   (C{Watcher} and C{Deliveries} tell them that queue);
   C{Consumer._take_over} (where does the next consumer begin?); and C{Deliveries} with
   its C{Ledger}, which would know up to which offset all messages are settled.  AMQP
   0-9-1 keeps no offset: a place for it, and an agreement that one mediator consumes,
   would be in L{quebert.amqp.coordination}.  A stream wants a prefetch
   (C{WatchOptions}).
 - Another argument of task queues: L{quebert._protocol.extensions}; of the queues of
   dead letters, such as a time to live: C{_dead_letters}.
 - Another queue or exchange of quebert's own: its name by L{derived}, with C{quebert.}
   at the beginning, so that nobody watches it (C{config/_watch}); a line in
   C{doctor/_permissions} and one in the table in C{docs/operating.rst}.
"""

from quebert.amqp.queues._bindings import Bindings, QueueBinding
from quebert.amqp.queues._browse import (
    Browsing,
    Visit,
    browse,
    fingerprint,
    held_at_most,
)
from quebert.amqp.queues._dead_letters import (
    DEAD_LETTERS,
    KIND,
    REASON,
    DeadLetters,
    dead_letters_of,
)
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
    is_gone,
)
from quebert.amqp.queues._lookers import count_lookers, looking
from quebert.amqp.queues._names import NAME_LIMIT, derived, fitting, risk_of
from quebert.amqp.queues._new_queues import NewQueues
from quebert.amqp.queues._watchable import check_watchable

__all__ = [
    "CLASSIC",
    "DEAD_LETTERS",
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
    "held_at_most",
    "is_gone",
    "looking",
    "losses",
    "no_single_tasks",
    "own_quorum",
    "risk_of",
    "unreached_length_limit",
]
