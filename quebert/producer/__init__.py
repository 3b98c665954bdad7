"""
Adding tasks: from Twisted with L{Producer}, and from anything else (Django,
Flask, a script) with L{add_task}, which blocks and needs C{quebert[blocking]}.

Both write the same bytes, and both return once the broker has confirmed the
task; one that no queue takes is an error.  A task that was perhaps added
before the connection broke is an error with L{Producer} (adding it again, with
the same uuid, is safe) and added again by L{add_task}: at worst it is there
twice, never lost.
"""

from quebert.producer._blocking import BlockingProducer, add_task
from quebert.producer._letter import HIGH, LOW, MEDIUM
from quebert.producer._twisted import Producer

__all__ = ["HIGH", "LOW", "MEDIUM", "BlockingProducer", "Producer", "add_task"]
