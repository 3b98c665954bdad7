"""
Adding tasks: from Twisted with L{Producer}, and from anything else (Django,
Flask, a script) with L{add_task}, which blocks and needs pika.

Both write the same bytes, and both return once the broker has confirmed the
task; one that no queue takes is an error.  When the connection breaks before
that, nobody knows: L{Producer} fails, and L{add_task} adds the task once more
if its connection was an old one, and fails if that is in vain.  Adding it
again, with the same uuid, is safe: at worst it is there twice, never lost.
C{add_tasks} of a producer adds many, with a window of them unconfirmed.

What is common to both: the message in C{_letter}, one of many tasks in C{_items}, the
task in L{quebert.task}.  Another property of messages is set in C{_letter}; another
keyword of C{add_task} stands in C{_twisted}, C{bulk/_formats}, C{cli/_add}, the
docstrings of C{_blocking} and C{task/_keywords}; what a broker may answer is read in
C{_pika} and in L{quebert.amqp.link}.
"""

from quebert.producer._blocking import BlockingProducer, add_task
from quebert.producer._items import TaskResult
from quebert.producer._letter import HIGH, LOW, MEDIUM
from quebert.producer._twisted import Producer

__all__ = [
    "HIGH",
    "LOW",
    "MEDIUM",
    "BlockingProducer",
    "Producer",
    "TaskResult",
    "add_task",
]
