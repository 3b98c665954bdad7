"""
Turns refusals of RabbitMQ into a clearer error, or into a line of C{problems}.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from quebert.amqp.queues import no_single_tasks
from quebert.errors import BrokerError, BrokerRefused, ReplyCode

__all__ = ["no_stream", "noted"]


@contextmanager
def no_stream(queue: str) -> Iterator[None]:
    """
    Say what to do where RabbitMQ refuses something of C{queue} since it is a stream:
    streams have no C{basic.get}, nor C{queue.purge}.
    """
    try:
        yield
    except BrokerRefused as e:
        if e.code != ReplyCode.NOT_IMPLEMENTED:
            raise
        raise BrokerError(no_single_tasks(queue, e)) from e


@contextmanager
def noted(problems: list[str]) -> Iterator[None]:
    """
    Go on where RabbitMQ refuses to show something: the user lacks a permission, or
    another connection has the queue for itself.
    """
    try:
        yield
    except BrokerRefused as e:
        problems.append(f"not all can be seen: {e}")
