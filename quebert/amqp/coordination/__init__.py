"""
What watches and mediators agree on: rates, places, priorities and pauses; cancelled
tasks, and other questions about tasks; and the queues that were made over the API.

This room gives each watch its L{Throttle<quebert.amqp.watch.Throttle>}s and its
L{Switch<quebert.amqp.watch.Switch>}.  A watch knows these roles, and not this room.  A
throttle tells when the next message may begin; a watch may have several.  A switch
turns the watch off while its queue is paused; a watch has one.

Another kind of throttle takes a module here, a line in L{throttles_of}, and an option
of the watch that asks for it (L{quebert.amqp.watch._options}).  A throttle that agrees
with others through RabbitMQ joins them before the watch consumes, and leaves them when
the watch ends: C{Intake} sees to that.  A throttle is not told that the queue is
paused, or goes on: one that must know takes a method of the role, which C{_halt} and
C{_go_on} of C{watch/_intake} call.  What a throttle shares with other watches of the
client comes from L{WatchSession<quebert.amqp.watch._session.WatchSession>}.

A pause is a sign and a note in RabbitMQ, which C{set_paused} and C{leave_note} write
for operators (L{quebert.operations}).  Each watch has a L{PauseSwitch}, which
L{Pauses<quebert.amqp.coordination._pauses.Pauses>} tells what it sees.  A rule by which
a pause begins or ends by itself belongs in L{PauseSwitch}; since when a queue is
paused, its note says, if there is one.

Most modules agree with other mediators through RabbitMQ: on the share of a rate or of
places (C{_shared_rate} and C{_shared_concurrency}, by C{_sharing}), and on pauses
(C{_pause_switch} and those that it uses).  Two are local: C{_pace} keeps one watch to
its rate, or to the share of the rate that C{_shared_rate} gives it; L{PriorityGroup}
divides the places of one process among its queues.  They stand here, since to a watch
they are throttles like the others.

The room is a part of C{amqp}, since L{TxAMQPClient<quebert.amqp.TxAMQPClient>}, which
users make themselves, gives watches what is here.

A throttle is asked about the first message that waits, without seeing it, and not about
suspects (see L{Throttle<quebert.amqp.watch.Throttle>}).  It sees a message that begins.
So a limit of bytes per second is a throttle like C{_pace}, which charges each message
in C{begun}, and has the next one wait.  It needs a method of
L{TokenBucket<quebert.limits.TokenBucket>} that takes as many tokens as a body has
bytes, also more than there are; C{TokenBucket.wait} tells how long such a debt lasts.

A rule by which one message overtakes another, such as one for tenants, needs more.  It
needs lines of messages in L{Places<quebert.amqp.watch._places.Places>}, as memory has
one (C{_heavy}).  C{Deliveries} makes a rule of its own; one that is shared it gets by a
role in C{watch/_session}, which C{TxAMQPClient} fills.  The messages in these lines
must not use up the prefetch: they count in C{Backlog.size}, C{Places.has_room} and
C{Deliveries._fetches_as_usual}; and C{Places.take} gives no place while the rule may
choose another message.  They need a time limit, as those that wait for memory have one
(C{Deliveries._put_off_heavy}).  The rule counts a message from C{Deliveries.begin} to
C{Deliveries._decided}.  To join and leave with its watch, it is also a throttle that
overrides C{join} and C{leave} alone, as C{SharedRate} is.  A message is
not decoded there, so a tenant would be a header.  A rule that goes by the URL is a
C{RequestPlaces} (C{watch/_delivered_message}), as L{OriginPlaces
<quebert.amqp.watch._origin_places.OriginPlaces>} is one.

Operators ask all mediators of a queue about tasks (L{ask_mediators}); L{Questions}
answers for the watches of a client, and knows which tasks are cancelled.  To ask
something else: a kind of L{Question} in C{_question}, and what a
L{Holder<quebert.amqp.watch.Holder>} does at it.  Mediators that do not know the kind do
not answer.

The queues that were made over the API stand in a register that is changed under a lock
(C{_register} and C{_queue_register}).  Cancelled tasks stand in one to which programs
append without asking each other (C{_appended} and C{_cancel_register}); for how long,
C{_cancellation} says.  To keep something else that any number of programs may change:
another user of the first, or of the second, if additions can be merged in any order.

What mediators agree on is in the broker, as exchanges and queues.  Another one of these
takes a name of its own by L{derived<quebert.amqp.queues.derived>}, a line in
C{doctor/_permissions}, and one in the table of permissions in C{docs/operating.rst}.
Throttles are told in C{docs/limits.rst}.  If one may stop consuming for long,
C{_check_tasks} in C{doctor/_queues} finds a queue without consumers.
"""

from quebert.amqp.coordination._asking import (
    PATIENCE,
    Answers,
    Asker,
    ask_mediators,
)
from quebert.amqp.coordination._cancel_register import (
    add_cancelled,
    lock_of,
    old_register_of,
    read_cancelled,
    register_of,
)
from quebert.amqp.coordination._cancellation import (
    MOST_CANCELLED,
    REMEMBERED,
    Cancellation,
)
from quebert.amqp.coordination._pause_note import (
    PauseNote,
    leave_note,
    read_note,
    remove_note,
)
from quebert.amqp.coordination._pause_sign import (
    CONTROL,
    is_paused,
    set_paused,
    sign_of,
)
from quebert.amqp.coordination._pause_switch import PauseSwitch
from quebert.amqp.coordination._pauses import AGAIN, Pauses
from quebert.amqp.coordination._priority_group import PriorityGroup
from quebert.amqp.coordination._question import (
    CANCEL,
    FIND,
    RETRY_NOW,
    MediatorAnswer,
    Question,
)
from quebert.amqp.coordination._questions import Questions
from quebert.amqp.coordination._queue_entries import KnownQueues
from quebert.amqp.coordination._queue_register import (
    QUEUES,
    QUEUES_LOCK,
    announce_queues,
    change_queues,
    read_queues,
    remove_gone_queue,
)
from quebert.amqp.coordination._rate_queues import rate_queue_of
from quebert.amqp.coordination._register import PERSISTENT
from quebert.amqp.coordination._shared_concurrency import places_queue_of
from quebert.amqp.coordination._throttles import throttles_of

__all__ = [
    "AGAIN",
    "CANCEL",
    "CONTROL",
    "FIND",
    "MOST_CANCELLED",
    "PATIENCE",
    "PERSISTENT",
    "QUEUES",
    "QUEUES_LOCK",
    "REMEMBERED",
    "RETRY_NOW",
    "Answers",
    "Asker",
    "Cancellation",
    "KnownQueues",
    "MediatorAnswer",
    "PauseNote",
    "PauseSwitch",
    "Pauses",
    "PriorityGroup",
    "Question",
    "Questions",
    "add_cancelled",
    "announce_queues",
    "ask_mediators",
    "change_queues",
    "is_paused",
    "leave_note",
    "lock_of",
    "old_register_of",
    "places_queue_of",
    "rate_queue_of",
    "read_cancelled",
    "read_note",
    "read_queues",
    "register_of",
    "remove_gone_queue",
    "remove_note",
    "set_paused",
    "sign_of",
    "throttles_of",
]
