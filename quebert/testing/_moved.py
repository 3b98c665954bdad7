"""
Messages of producers, moved to the time of a simulation.
"""

from __future__ import annotations

import time

import attrs

from quebert import task as tasks
from quebert.errors import BadTask
from quebert.producer import Letter
from quebert.testing._added import AddedTask

__all__ = ["added_task", "moved"]

# Seconds by which the time in a task may differ from the time of this call, if the task
# was made for it.
_JUST_NOW = 5.0


def added_task(exchange: str, letter: Letter) -> AddedTask:
    """
    The task in a message that a producer would publish.
    """
    return AddedTask(exchange, letter.routing_key, letter.body, letter.properties)


def moved(letter: Letter, now: float) -> Letter:
    """
    A message as if it had been made at C{now}; one that is no task, as it is.
    """
    try:
        task = tasks.decode(letter.body)
        made, today = tasks.parse_time(task["timestamp"]), time.time()
        # A task may say itself when it was made: then it stays as old as it is.
        ahead = now - (made if abs(made - today) < _JUST_NOW else today)
        for name in task.keys() & {"timestamp", "run_at"}:
            when = tasks.parse_time(task[name]) + ahead
            task[name] = tasks.format_time(round(when, 6))
    except (BadTask, ValueError, TypeError, LookupError, AttributeError, OverflowError):
        return letter
    properties = {**letter.properties, "timestamp": int(now)}
    return attrs.evolve(letter, body=tasks.encode(task), properties=properties)
