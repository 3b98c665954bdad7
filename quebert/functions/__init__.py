"""
Functions that do tasks, in any web server: what they get, what they may answer, and
which requests they are called for.  Pure: no Twisted, no reactor.

A function gets a L{ReceivedTask}, and returns its result.  L{Retry}, L{GiveUp} and
L{Discard} say what becomes of its task, returned or raised.  L{task} and L{Functions}
choose the function for a path.

Who calls functions: C{twistd quexecutor} (L{quebert.executor}), an ASGI server
(L{quebert.functions.asgi}), a WSGI server (L{quebert.functions.wsgi}), Django
(L{quebert.functions.django}), or a view of your own, with a L{Receiver}.

What changes together, each with C{docs/functions.rst}:

 - Another wish: a class in C{_wishes}; what mediators make of it: L{quebert.policy}.
 - Another kind of result: L{quebert.functions.answers}.
 - Another authentication of requests: a class beside C{SignedOnly} in
   L{quebert.functions.admission}, which L{Receiver} and C{ExecutorResource} of
   L{quebert.executor} make.
 - Another way in: a module beside L{quebert.functions.wsgi}.
"""

from quebert.functions._answer import AnsweredError, ExecutorAnswer
from quebert.functions._received import ReceivedTask
from quebert.functions._receiver import Receiver, RequestRefused
from quebert.functions._registry import (
    Function,
    Functions,
    NoFunction,
    all_functions,
    task,
)
from quebert.functions._wishes import Discard, GiveUp, Retry

__all__ = [
    "AnsweredError",
    "Discard",
    "ExecutorAnswer",
    "Function",
    "Functions",
    "GiveUp",
    "NoFunction",
    "ReceivedTask",
    "Receiver",
    "RequestRefused",
    "Retry",
    "all_functions",
    "task",
]
