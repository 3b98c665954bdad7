"""
What holds a watch back for the sake of others: rates, pauses and priorities.

This room gives each watch its L{Throttle<quebert.amqp.watch.Throttle>}s and its
L{Switch<quebert.amqp.watch.Switch>}.  A watch knows these roles, and not this room.  So
another kind of throttle takes a module here, a line in L{throttles_of}, and an option
in L{WatchOptions<quebert.amqp.WatchOptions>} that asks for it.  A throttle tells by
itself when the next message may begin, and a watch may have several; a switch turns a
watch off by what others say, and there is one.

Most modules agree with other mediators through RabbitMQ: on the share of a rate
(C{_shared_rate} and those that it uses), and on pauses (C{_pause_switch} and those that
it uses).  Two are local: C{_pace} keeps one watch to its rate, or to the share of the
rate that C{_shared_rate} gives it; L{PriorityGroup} divides the places of one process
among its queues.  They stand here since a watch meets them as throttles, too.

The room is a part of C{amqp}, since L{TxAMQPClient<quebert.amqp.TxAMQPClient>}, which
users make themselves, gives watches what is here.
"""

from quebert.amqp.coordination._pause_sign import (
    CONTROL,
    is_paused,
    set_paused,
    sign_of,
)
from quebert.amqp.coordination._pause_switch import PauseSwitch
from quebert.amqp.coordination._pauses import AGAIN, Pauses
from quebert.amqp.coordination._priority_group import PriorityGroup
from quebert.amqp.coordination._rate_queues import rate_queue_of
from quebert.amqp.coordination._throttles import throttles_of

__all__ = [
    "AGAIN",
    "CONTROL",
    "PauseSwitch",
    "Pauses",
    "PriorityGroup",
    "is_paused",
    "rate_queue_of",
    "set_paused",
    "sign_of",
    "throttles_of",
]
