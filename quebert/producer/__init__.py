"""
Adding tasks: with L{add_task}, which blocks, from Django, Flask or a script; with
L{quebert.producer.aio} from asyncio; and with L{Producer} from Twisted.

All write the same bytes, and all return once the broker has confirmed the
task; one that no queue takes is an error.  When the connection breaks before
that, nobody knows: L{Producer} fails, and L{add_task} adds the task once more
if its connection was an old one, and fails if that is in vain.  Adding it
again, with the same uuid, is safe: at worst it is there twice, never lost.
C{add_tasks} adds many, with a window of them unconfirmed.

What is common to all: the message in C{_letter}, one of many tasks in C{_items}, the
task in L{quebert.task}.

What changes together:

 - Another property of messages: C{_letter}; of tasks that are added over HTTP,
   C{web/cluster/_task_broker}.  What a retry changes of it: C{_changes} in
   C{amqp/wire/_replacement_properties}.
 - Another keyword of C{add_task}: C{_twisted}, C{bulk/_formats}, C{cli/_add}, and the
   docstrings of C{_blocking} and C{task/_keywords}.
 - Another answer of a broker: C{_connection} and L{quebert.amqp.link}, which read it,
   and C{_problems}, which tells it.

A test takes tasks before they are published with C{intercept}, as L{quebert.testing}
does; another way to publish asks C{taken} in C{_intercept} first.

Only L{Producer} needs Twisted, which is imported when a program asks for it: by then
gevent or another reactor may be in its place.
"""

from typing import TYPE_CHECKING, Any

from quebert.producer._blocking import BlockingProducer, add_task, add_tasks
from quebert.producer._intercept import intercept
from quebert.producer._items import TaskResult, item_letter
from quebert.producer._letter import EXCHANGE, HIGH, LOW, MEDIUM, Letter, task_body

if TYPE_CHECKING:
    from quebert.producer._twisted import Producer

__all__ = [
    "EXCHANGE",
    "HIGH",
    "LOW",
    "MEDIUM",
    "BlockingProducer",
    "Letter",
    "Producer",
    "TaskResult",
    "add_task",
    "add_tasks",
    "intercept",
    "item_letter",
    "task_body",
]


def __getattr__(name: str) -> Any:
    if name != "Producer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from quebert.producer._twisted import Producer

    globals()[name] = Producer
    return Producer
