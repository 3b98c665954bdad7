"""
What a person does to queues while tasks go through them: pausing, purging, looking how
they are, and dealing with what is dead.  Each operation makes a connection of its own::

    async def mend(reactor):
        broker = BrokerAccess(reactor, "amqp://guest:guest@localhost:5672/")
        await pause(broker, "tasks")
        print(await status(broker, "tasks"))
        await redrive(broker, "tasks", [Match.parse("kind=exhausted")])
        await resume(broker, "tasks")

    twisted.internet.task.react(mend)

Knows no command line: what is printed is the matter of the commands.
"""

from quebert.operations._access import BrokerAccess
from quebert.operations._dead_letters import discard, look_up, redrive, take_stock
from quebert.operations._letter import DeadLetter
from quebert.operations._matching import Match
from quebert.operations._pausing import pause, resume
from quebert.operations._progress import Progress
from quebert.operations._purging import purge
from quebert.operations._status import Status, held_by_others, status

__all__ = [
    "BrokerAccess",
    "DeadLetter",
    "Match",
    "Progress",
    "Status",
    "discard",
    "held_by_others",
    "look_up",
    "pause",
    "purge",
    "redrive",
    "resume",
    "status",
    "take_stock",
]
