"""
Whether somebody reads the tasks that executors have leased.
"""

from __future__ import annotations

from quebert.amqp.queues import depth
from quebert.doctor._findings import Finding, fail, ok, warn
from quebert.doctor._subject import Subject
from quebert.errors import MayNotLook
from quebert.policy import LEASES

__all__ = ["check_leases"]

_REMEDY = "start a quebert web that has the table [leases] of the mediators"


async def check_leases(subject: Subject) -> list[Finding]:
    """
    Whether a C{quebert web} reads the queue of leased tasks.  Without one, a leased
    task is neither completed nor attempted again.

    @raise BrokerError: RabbitMQ does not answer.
    """
    settings = subject.settings
    has_leases = settings is not None and settings.leases is not None
    try:
        found = await depth(subject.wire, LEASES)
    except MayNotLook:
        if has_leases:
            raise
        return []
    if found is not None and found.consumers:
        return [ok("leases", f"a quebert web reads {LEASES}")] if has_leases else []
    if found is not None and found.ready:
        text = f"{found.ready} leased tasks wait in {LEASES}, and nobody reads them"
        return [fail("leases", text, _REMEDY)]
    if has_leases:
        text = f"executors may lease tasks, and nobody reads {LEASES}"
        return [warn("leases", text, _REMEDY)]
    return []
