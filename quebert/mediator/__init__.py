"""
The mediators: the steps between a message and its L{Outcome<quebert.outcome>}.

They know no AMQP: give C{messageReceived} to
L{watch<quebert.amqp.TxAMQPClient.watch>}, or call it with anything that has a
C{body} and C{properties}.  They know no HTTP but an HTTP client that can make a
request.
"""

from __future__ import annotations

from quebert.mediator._backing_off import DelayOnErrorMediator
from quebert.mediator._giving_up import PolicyMediator
from quebert.mediator._mediator import DEFAULT_TIMEOUT, MAX_TIMEOUT, Mediator
from quebert.mediator._history import FailedAttempt

__all__ = [
    "DEFAULT_TIMEOUT",
    "MAX_TIMEOUT",
    "DelayOnErrorMediator",
    "FailedAttempt",
    "Mediator",
    "PolicyMediator",
]
