"""
AMQP as the embedded broker speaks it: connections, channels, methods.

What changes together:

 - Another method: a function in C{_commands}, which has the table of them; for a method
   of channel 0, C{STATES} in C{_server}; C{capabilities} in C{_login}, if clients ask
   for it there.
 - Another rule of confirms: C{_publishing} says what is confirmed or refused.  When it
   is said: at the end of a turn, after the commit (C{finish_turn} in
   C{_frame_connection}, and C{_end_turn} in C{broker/_broker}).  Whether a queue takes
   a message is for L{Router.publish<quebert.broker.state.Router.publish>} to say.
 - Another way to log in: C{_login}; C{lets_in} in C{broker/_broker} has the passwords,
   and C{_strangers} the guesses.
"""

from quebert.broker.protocol._frame_connection import FrameConnection
from quebert.broker.protocol._server import ServerConnection
from quebert.broker.protocol._strangers import MOST_STRANGERS, Guesses, Strangers

__all__ = [
    "MOST_STRANGERS",
    "FrameConnection",
    "Guesses",
    "ServerConnection",
    "Strangers",
]
