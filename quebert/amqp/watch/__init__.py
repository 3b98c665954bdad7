"""
One watched queue, from its deliveries to the outcomes that settle them.

What changes together is told by these:

 - Another outcome: L{quebert.outcome}.
 - Another state or fate of a delivery: L{quebert.amqp.watch._delivery}.
 - After how many ends of mediators a message is attempted alone, or buried as poison:
   C{SUSPECT} and C{POISONOUS} in C{_record}.  Another rule of what is done then:
   L{quebert.amqp.watch._redelivery}.
 - Another option: L{quebert.amqp.watch._options}.  An argument of consumers, such as
   a priority: L{quebert._protocol.extensions}.
 - What is done when RabbitMQ ends a consumer: C{_cancelled} and C{_consume_anew} in
   C{_intake}.
 - Another reason why no message begins: for one queue, a throttle
   (L{quebert.amqp.coordination}).  For a whole client, such as a connection that is
   blocked, C{Deliveries.close} with a reason of its own, as C{paused}, C{stopped} and
   C{suspect} are; a watch that begins meanwhile is to be closed, too, and
   C{OneSuspect} is to ask, since suspects have no places.
 - Another thing that counts as memory: L{quebert.amqp.watch._task_memory}.
 - Another thing that is done to a message before its callback gets it, such as decoding
   a compressed body: C{Deliveries._received}, which all messages pass first.  These
   read the body after it: C{TaskMemory}, C{HeldTasks}, C{Redelivery} (the callback
   tasks of what is buried) and the mediator; and C{Settlement} and C{Replacements}
   publish it again; which properties stay, C{_changes} in
   C{wire/_replacement_properties} says.
 - A limit of the time for which a message is at work, or unsettled: a L{Deadlines
   <quebert._deadlines.Deadlines>} in C{Deliveries}, as C{slow_after} has one;
   L{quebert._consumer_timeout} has the seconds.
 - What happens when places are taken: L{Places<quebert.amqp.watch._places.Places>},
   which tells it; C{Deliveries} makes what it tells, as C{HangingHosts}.
 - Another way to give messages back: C{Channel.give_back} in L{quebert.amqp.wire};
   C{Returns.return_waiting}, which gives back all that have not begun.

A stream is not watched: each of its consumers would get all
messages, and none can be given back (L{quebert.amqp.queues} tells what that takes).

C{prefetch} is the option of a watch: its number of places.  C{prefetch_count} is what
RabbitMQ is told for a consumer, which a throttle, or messages that wait, can change.

These words are used of messages:

 - callback: what a watch calls with each message.  Of a mediator it is one attempt at
   the task: its hooks and its request.
 - place: C{prefetch} messages may be at work at once; each of these has a place.
 - settle: acknowledge a message, or give it back.  RabbitMQ delivers no other consumer
   a message that is not settled.
 - hold: have a message wait unsettled, and without a place: for its retry, or until
   RabbitMQ has confirmed what replaces it.
 - give back: settle a message by C{basic.nack} with C{requeue}.  RabbitMQ delivers it
   again.
 - put back: publish a message anew, to its queue or to the delay ladder.  A task is
   retried so; one that is due soon is held until then.
 - postpone: have a message that was not attempted begin again in some seconds, as it
   is.  It is held until then.
 - replace: publish what takes the place of a message, then acknowledge the message.  A
   message is replaced by its retry (put back), by a copy, or by a dead letter (bury).
 - end note: what is published, beside or without a replacement, before a message is
   acknowledged for good that somebody wants to know the end of.
 - callback task: a task that tells the end of another one, which asks for that.  It is
   published likewise, if the callback of the watch is a mediator.
 - copy: replace a message that was not attempted by one whose headers count the ends of
   mediators.
 - bury: move a message to the queue C{<queue>.dead}.
 - return: have a message that is not finished here come again: give it back, or copy
   it.
 - suspect: a message at which several mediators have ended suddenly, one after the
   other.  It is attempted while nothing else is.
"""

from quebert.amqp.watch._delivered_message import DeliveredMessage
from quebert.amqp.watch._end_notes import EndNotes, callback_message, wants_end_note
from quebert.amqp.watch._handler import Callback
from quebert.amqp.watch._held_tasks import identity_of
from quebert.amqp.watch._ledger import Counts
from quebert.amqp.watch._memory_budget import Budget
from quebert.amqp.watch._one_suspect import OneSuspect
from quebert.amqp.watch._options import WatchOptions
from quebert.amqp.watch._questioning import (
    DROPPED,
    RETRYING,
    RETURNING,
    RUNNING,
    WAITING,
    HeldTask,
    Holder,
    Questioning,
)
from quebert.amqp.watch._suspects import Suspects, flight_sign, in_order_sign
from quebert.amqp.watch._switch import Step, Switch
from quebert.amqp.watch._throttle import PaceStatus, Throttle, ThrottleGroup
from quebert.amqp.watch._watcher import DEFAULT_GRACE, OnDisconnect, Watcher

__all__ = [
    "DEFAULT_GRACE",
    "DROPPED",
    "RETRYING",
    "RETURNING",
    "RUNNING",
    "WAITING",
    "Budget",
    "Callback",
    "Counts",
    "DeliveredMessage",
    "EndNotes",
    "HeldTask",
    "Holder",
    "OnDisconnect",
    "OneSuspect",
    "PaceStatus",
    "Questioning",
    "Step",
    "Suspects",
    "Switch",
    "Throttle",
    "ThrottleGroup",
    "WatchOptions",
    "Watcher",
    "callback_message",
    "flight_sign",
    "identity_of",
    "in_order_sign",
    "wants_end_note",
]
