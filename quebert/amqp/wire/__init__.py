"""
AMQP over one connection: its frames, channels, deliveries and confirms.

What changes together:

 - Another method of AMQP: L{Channel.call} knows the methods of the classes in
   C{_spec._CLASSES}.  One that is to be quick is written by a function of
   L{Channel}, and read in C{Channel.method_received}; its bytes are made and read in
   L{quebert._protocol.basic}.
 - Another header of ours: L{quebert.amqp.wire._headers}.
 - Another rule of confirms, or a time limit: C{_publications}; C{Channel.publish} and
   L{Publisher<quebert.amqp.link.Publisher>}, which tell their callers of it; and those
   who decide by the error: C{watch/_until_confirmed} (again, or not),
   C{watch/_settlement} (copies), C{watch/_end_teller} (ends without a note),
   C{delays/_forwarding} and C{delays/_astray}, C{coordination/_pause_sign}
   (which has a limit), C{coordination/_spare_tokens} (which publishes once),
   C{operations/_access} (which has a limit) and C{doctor/_dead} (which expects two
   errors); and C{producer/_problems}, which does not go this way and makes these errors
   itself.  C{_until_confirmed}, C{_forwarding} and C{_astray} log no
   C{ChannelLost}, also where only the connection that publishes was lost: the error for
   a late confirm must be another one, or nobody is told.  A time limit begins in
   C{Publications._send}, which sends at once or when there is room, and rests while the
   broker blocks (C{Wire.block}, C{Wire.unblock}).  C{Publisher._replace} is to shut the
   channel at once then, and C{_unanswered} to warn of nothing that has failed.
 - Another limit of frames, channels or heartbeats: C{Wire.tuned}, and C{log_in} in
   C{producer/_frame_stream}.
 - Another way to acknowledge, or another moment: C{_acks}.  It acknowledges several
   deliveries with one frame.  Call C{Channel.flush} where an acknowledgement must be
   written at once, as C{Browsing._copy} does in C{queues}.  A watch loses nothing by
   the wait until the end of the turn, and does not call it.
 - Another way to give back: C{Channel.give_back}, which writes a C{basic.nack} for
   each delivery, and C{Channel.give_all_back}, which writes one with C{multiple}.  That
   one gives back all that is unsettled up to its tag, also what a watch has at work:
   C{Acks.outstanding} tells what that is.
 - What is told of a returned message: C{Publications.returned}; of the producer without
   Twisted, C{producer/_connection}.
 - What is done while RabbitMQ blocks the connection: C{Wire.block} and C{Wire.unblock}.
 - Another way to log in: C{Wire.negotiate}, and C{connection_start} in C{_wire};
   C{link/_negotiation}, which gives them the user and the password, and names the user
   where RabbitMQ refuses; C{producer/_frame_stream}; L{quebert.config.Broker}, which
   has the user and the password; C{connection_finding} in C{doctor/_examine}, which
   tells what to mend; and L{quebert.broker.protocol._login} at the other end.  For a
   setting: L{quebert.amqp.link}.
"""

from quebert.amqp.wire._broker_version import version_in, version_of
from quebert.amqp.wire._channel import Channel
from quebert.amqp.wire._headers import (
    ALONE,
    DELAY,
    ENDS,
    ERRORS,
    EXCHANGE,
    FLIGHT,
    IN_QUESTION,
    NOT_BEFORE,
    OURS,
    ROUTING_KEY,
    RUN_NOW,
)
from quebert.amqp.wire._message import Message
from quebert.amqp.wire._publication_group import UNKNOWN, Outgoing
from quebert.amqp.wire._publications import NotSent, Unconfirmed
from quebert.amqp.wire._replacement_properties import (
    amended_properties,
    copied_properties,
)
from quebert.amqp.wire._spec import SPEC
from quebert.amqp.wire._temporary_channel import (
    Call,
    call_in_one_write,
    refusal,
    temporary_channel,
)
from quebert.amqp.wire._wire import Wire

__all__ = [
    "ALONE",
    "DELAY",
    "ENDS",
    "ERRORS",
    "EXCHANGE",
    "FLIGHT",
    "IN_QUESTION",
    "NOT_BEFORE",
    "OURS",
    "ROUTING_KEY",
    "RUN_NOW",
    "SPEC",
    "UNKNOWN",
    "Call",
    "Channel",
    "Message",
    "NotSent",
    "Outgoing",
    "Unconfirmed",
    "Wire",
    "amended_properties",
    "call_in_one_write",
    "copied_properties",
    "refusal",
    "temporary_channel",
    "version_in",
    "version_of",
]
