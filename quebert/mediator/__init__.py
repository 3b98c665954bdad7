"""
The mediators: the steps between a message and its L{Outcome<quebert.outcome>}.

They know no AMQP: give C{messageReceived} to
L{watch<quebert.amqp.TxAMQPClient.watch>}, or call it with anything that has a
C{body} and C{properties}.  They know no HTTP but an HTTP client that can make a
request.

C{_pipeline} is the way of a task.  On it the task meets C{_codec} and C{_reading},
which tell what it asks for, C{_judging}, C{_hooks}, and C{_requests} with C{_admission}
and C{_attempt}.  If something fails, it meets C{_failures} and a failure policy.

What changes together:

 - Another option: a parameter of L{Mediator}, which it gives to the part that heeds it,
   and an attribute by C{of_part}, if programs may change it.  For a file:
   L{quebert.config}.
 - Another field of tasks: L{quebert.task}; C{Request} and C{Wanted} are tuples, which
   C{_requests} and C{_pipeline} unpack.
 - Another codec than JSON: programs give L{Mediator} a C{decode} and an C{encode};
   C{_codec} calls nothing that knows JSON then.  C{identity_of} in
   C{watch/_held_tasks} (for C{quebert cancel}) knows JSON alone, and C{task/_request}
   tells executors that the body is JSON.  What is done to all bodies of messages, of
   other codecs, too, such as decompression: L{quebert.amqp.watch}.
 - What handlers of Cloud Tasks are told: C{_handler_headers}; their tokens,
   L{quebert.signatures._oidc}, which C{_requests} adds; the C{httpTarget} of their
   queue, C{_target}.
 - Another header of requests: C{TaskReader.read} in C{_reading}, if it tells of the
   task or of its attempts; C{Requests.make}, if it needs the body or a signature.
   C{Host}, C{User-Agent} and the length are written by C{_head} in C{http/_agent}.  As
   many more in C{_ADDED_FIELDS} of C{executor/_limits}; C{docs/executors.rst}.
 - Another error of a request: L{quebert.errors}.  What becomes of a task for one
   status of an answer: C{Rules.outcome} in L{quebert.policy}.  For one kind of error,
   whatever the policy: C{Failures.outcome}, before it asks the policy; and
   C{given_up} in C{_judging}, which may bury the task before its next attempt.
 - Another thing that post-hooks get: C{Pipeline._answered}, which calls them;
   L{Attempt<quebert.mediator._attempt.Attempt>}, which knows the status and the headers
   and hands on the body alone.
 - Another thing that is done to the body of an answer, such as decoding a compressed
   one: C{Attempt._body_came} in C{_attempt}, which has its headers, too.  The HTTP
   client gives bodies as they come, and cuts them (C{Limits.body}).
 - Another way to call hooks, such as in a thread: C{run} and C{_run_after} in
   C{_hooks}; which hooks, C{Mediator.add_prehook} says.
 - Another kind of hook: its type in L{quebert.boundaries}; a list in C{_pipeline},
   where C{reads_part} asks whether there are hooks; a method of L{Mediator}; for a
   file, L{quebert.config} (C{config/_queue} and C{Outside.hook}) and
   C{service/_mediators}, which adds it; C{README.rst}.
 - Another time limit of whole requests (of an answer, L{quebert.http}):
   C{Requests.make} chooses the seconds; it is called by C{Pipeline._execute} and
   C{Pipeline._prepared}, which know the times of a task.
   L{Attempt<quebert.mediator._attempt.Attempt>} raises the error; C{Failures.outcome}
   says what becomes of the task, and C{_admission}, what its host is blamed for.
 - A time limit of hooks: C{_hooks.run}, which C{Pipeline._hooked} and
   C{Pipeline._answered} call;
   L{quebert._consumer_timeout} says how much time there is; C{README.rst}.  A limit of
   one hook would be stored with that hook: C{Mediator.add_prehook} takes it, and the
   lists in C{_pipeline} keep it.
 - Another thing that observers are told: L{quebert.task_events}.
 - Another outcome: L{quebert.outcome}.  Another failure policy: C{_policy_mediators}.
"""

from __future__ import annotations

from quebert.mediator._history import FailedAttempt
from quebert.mediator._leasing import Leasing
from quebert.mediator._mediator import DEFAULT_TIMEOUT, MAX_TIMEOUT, Mediator
from quebert.mediator._policy_mediators import DelayOnErrorMediator, PolicyMediator
from quebert.mediator._target import RequestTarget, retargeted

__all__ = [
    "DEFAULT_TIMEOUT",
    "MAX_TIMEOUT",
    "DelayOnErrorMediator",
    "FailedAttempt",
    "Leasing",
    "Mediator",
    "PolicyMediator",
    "RequestTarget",
    "retargeted",
]
