"""
For tests, ours and those of users.

Of code that adds tasks: L{captured_tasks} collects the tasks, or has each done at once;
there is no broker.  Of code that does tasks, and of retry policies: L{Simulation} is a
queue with the real mediator, whose time a test sets; weeks pass in milliseconds.  Of
programs whole: L{EmbeddedBroker} needs nothing, starts in no time, and can have a week
pass at once; L{RabbitMQNode} is an installed RabbitMQ.

C{docs/testing.rst} shows all of them.  Twisted is imported only for what needs it, and
no reactor is.

To add a way of asking an executor (L{executor_of
<quebert.testing._executors.executor_of>}): a keyword there, of L{captured_tasks}, and
of L{Simulation}.  Another outcome: C{_settled} in C{_memory_queue}.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from quebert.testing._added import AddedTask
from quebert.testing._captured import TaskFailed, captured_tasks
from quebert.testing._exchange import Answer, SimulatedRequest
from quebert.testing._rabbitmq import RabbitMQNode, find_rabbitmq, free_port

if TYPE_CHECKING:
    from quebert.broker import EmbeddedBroker
    from quebert.testing._memory_queue import EndlessRetries
    from quebert.testing._queued import DroppedTask, SimulatedAttempt
    from quebert.testing._simulation import Simulation

__all__ = [
    "AddedTask",
    "Answer",
    "DroppedTask",
    "EmbeddedBroker",
    "EndlessRetries",
    "RabbitMQNode",
    "SimulatedAttempt",
    "SimulatedRequest",
    "Simulation",
    "TaskFailed",
    "captured_tasks",
    "find_rabbitmq",
    "free_port",
]

#: What needs Twisted, and where it is.
_WITH_TWISTED = {
    "DroppedTask": "quebert.testing._queued",
    "EmbeddedBroker": "quebert.broker",
    "EndlessRetries": "quebert.testing._memory_queue",
    "SimulatedAttempt": "quebert.testing._queued",
    "Simulation": "quebert.testing._simulation",
}


def __getattr__(name: str) -> Any:
    if name not in _WITH_TWISTED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_WITH_TWISTED[name]), name)
    globals()[name] = found
    return found
