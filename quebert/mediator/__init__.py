"""
The mediators: the steps between a message and its L{Outcome<quebert.outcome>}.

They know no AMQP: give C{messageReceived} to
L{watch<quebert.amqp.TxAMQPClient.watch>}, or call it with anything that has a
C{body} and C{properties}.  They know no HTTP but an HTTP client that can make a
request.

C{_pipeline} is the way of a task.  On it the task meets C{_codec} and C{_reading},
which tell what it asks for, C{_judging}, C{_hooks}, and C{_requests} with C{_admission}
and C{_attempt}.  If something fails, it meets C{_failures} and a failure policy.
"""

from __future__ import annotations

from quebert.mediator._history import FailedAttempt
from quebert.mediator._mediator import DEFAULT_TIMEOUT, MAX_TIMEOUT, Mediator
from quebert.mediator._policy_mediators import DelayOnErrorMediator, PolicyMediator

__all__ = [
    "DEFAULT_TIMEOUT",
    "MAX_TIMEOUT",
    "DelayOnErrorMediator",
    "FailedAttempt",
    "Mediator",
    "PolicyMediator",
]
