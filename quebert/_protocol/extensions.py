"""
The names by which RabbitMQ extends AMQP 0-9-1: arguments of queues, of consumers and of
bindings, and headers of messages.  Client and embedded broker take them from here.  A
name that RabbitMQ changes is changed here; where its versions differ, those who read it
must look for both names.

To add an argument of queues: its name here; for the embedded broker,
L{quebert.broker.state._arguments}.  A user's argument reaches C{queue.declare} without
another line (C{arguments} of L{WatchOptions<quebert.amqp.WatchOptions>} and of a queue
in a file).  If a mediator is to declare with it, the place depends on the queue: of
tasks, L{quebert.amqp.queues._declaring}; of dead letters, C{_argument_sets} in
C{queues/_dead_letters}; of delayed tasks, L{quebert.amqp.delays._rungs}.  Queues that
exist keep their arguments: for the ladder, see L{quebert.amqp.delays}.  If it has
RabbitMQ drop messages: L{losses<quebert.amqp.queues.losses>}, for warnings and the
doctor.

To add an argument of consumers, such as a priority, or a flag of C{basic.consume}, such
as C{exclusive}: C{_consume} in L{quebert.amqp.watch._consumer}, for which the watch
needs an option (L{quebert.amqp.watch._options}); the embedded broker refuses all
arguments with C{x-} (C{_basic_consume} in C{protocol/_commands}), and
L{Queue.next_consumer<quebert.broker.state.Queue.next_consumer>} says whose turn it is.

To read another header of RabbitMQ's: its name here, and a property of
L{Message<quebert.amqp.wire.Message>}.
"""

from __future__ import annotations

__all__ = [
    "ACQUIRED_COUNT",
    "COPYING_HEADERS",
    "COUNTS",
    "DEAD_LETTER_EXCHANGE",
    "DEAD_LETTER_ROUTING_KEY",
    "DEAD_LETTER_STRATEGY",
    "DEATHS",
    "DEATH_HEADERS",
    "DELAYED_RETRY_MAX",
    "DELIVERY_COUNT",
    "DELIVERY_LIMIT",
    "EXPIRES",
    "FIRST_DEATH",
    "MATCH",
    "MAX_AGE",
    "MAX_IN_MEMORY_BYTES",
    "MAX_IN_MEMORY_LENGTH",
    "MAX_LENGTH",
    "MAX_LENGTH_BYTES",
    "MAX_PRIORITY",
    "MESSAGE_TTL",
    "OVERFLOW",
    "PRIORITY",
    "QUEUE_LEADER_LOCATOR",
    "QUEUE_MASTER_LOCATOR",
    "QUEUE_MODE",
    "QUEUE_TYPE",
    "QUEUE_VERSION",
    "QUORUM_INITIAL_GROUP_SIZE",
    "SINGLE_ACTIVE_CONSUMER",
    "UNSEEN_KEYS",
    "VISIBLE_KEYS",
]

# -- Arguments of queues

#: The type: classic, quorum or stream.  Where it is not given, a virtual host may have
#: a default of its own.
QUEUE_TYPE = "x-queue-type"
#: Milliseconds that a message may wait.
MESSAGE_TTL = "x-message-ttl"
#: Milliseconds that the queue is kept while nobody uses it.
EXPIRES = "x-expires"
#: Where dead letters are published to, and with which routing key if not with theirs.
DEAD_LETTER_EXCHANGE = "x-dead-letter-exchange"
DEAD_LETTER_ROUTING_KEY = "x-dead-letter-routing-key"
#: Of a quorum queue: whether RabbitMQ waits for the confirm of a dead letter.
DEAD_LETTER_STRATEGY = "x-dead-letter-strategy"
#: How many messages the queue has at most, and how many bytes of bodies.
MAX_LENGTH = "x-max-length"
MAX_LENGTH_BYTES = "x-max-length-bytes"
#: What happens beyond that: the oldest messages are dropped, or new ones refused.
OVERFLOW = "x-overflow"
#: Of a stream: how old a message may become.
MAX_AGE = "x-max-age"
#: Whether one consumer at a time gets messages.
SINGLE_ACTIVE_CONSUMER = "x-single-active-consumer"
#: Of a quorum queue: how often a message may come back to it, or since 4.3 how often it
#: may fail.  RabbitMQ 3.10 drops a message at its first return where this is -1; it has
#: no limit of its own.
DELIVERY_LIMIT = "x-delivery-limit"
#: Of a quorum queue: for how many milliseconds it holds back, at most, what was given
#: back.
DELAYED_RETRY_MAX = "x-delayed-retry-max"
#: Of a classic queue.
MAX_PRIORITY = "x-max-priority"
QUEUE_MODE = "x-queue-mode"
QUEUE_VERSION = "x-queue-version"
QUEUE_MASTER_LOCATOR = "x-queue-master-locator"
#: Of a queue in a cluster.
QUEUE_LEADER_LOCATOR = "x-queue-leader-locator"
QUORUM_INITIAL_GROUP_SIZE = "x-quorum-initial-group-size"
#: Of a quorum queue up to RabbitMQ 3.13, without effect since 3.10.
MAX_IN_MEMORY_LENGTH = "x-max-in-memory-length"
MAX_IN_MEMORY_BYTES = "x-max-in-memory-bytes"

# -- Arguments of consumers and bindings

#: The priority of a consumer.
PRIORITY = "x-priority"
#: Of a binding to a headers exchange: whether all of its headers must match, or any.
MATCH = "x-match"

# -- Headers of messages

#: Of a message from a quorum queue.  Up to RabbitMQ 4.2 it counts how often the message
#: came back for any reason, since 4.3 how often it came back because its delivery
#: failed.
DELIVERY_COUNT = "x-delivery-count"
#: Since RabbitMQ 4.3: how often it came back for any reason.
ACQUIRED_COUNT = "x-acquired-count"
#: Both tell of this message, and not of a copy.
COUNTS = (DELIVERY_COUNT, ACQUIRED_COUNT)

#: Of a dead letter: its deaths, the latest first.
DEATHS = "x-death"
_PARTS = ("reason", "queue", "exchange")
#: Of a dead letter: why and where it died first, by the names in L{DEATHS}.
FIRST_DEATH = {part: f"x-first-death-{part}" for part in _PARTS}
#: All that RabbitMQ writes into a dead letter.  It drops dead letters that these
#: headers show to go in circles without a rejection.
DEATH_HEADERS = (
    DEATHS,
    *FIRST_DEATH.values(),
    *(f"x-last-death-{part}" for part in _PARTS),
)

#: Written by a publisher: further routing keys, and those that consumers do not see.
VISIBLE_KEYS, UNSEEN_KEYS = "CC", "BCC"
#: RabbitMQ copies a message to the queues of these keys: a message that is put back
#: with them would be a new task to each.
COPYING_HEADERS = (VISIBLE_KEYS, UNSEEN_KEYS)
