"""
The health of a mediator, with the reasons if it is not ready.  Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

__all__ = ["QueueHealth", "Readiness", "Reason", "readiness_of"]

# Reasons that are told one by one.
_MOST = 100


@attrs.frozen
class Reason:
    """
    One thing that is not as it should be.

    @ivar name: C{"starting"}, C{"stopping"}, C{"broker_away"}, C{"paused"},
        C{"not_consuming"} or C{"worker_down"}.
    @ivar text: a sentence.
    @ivar queue: which it is of; empty for all.
    """

    name: str
    text: str
    queue: str = ""


@attrs.frozen
class QueueHealth:
    """
    How one queue is watched.

    @ivar consuming: whether RabbitMQ delivers, or a limit lets nothing begin for now.
    @ivar paused: whether the queue is paused.
    @ivar connected: whether there is a connection to its RabbitMQ.
    @ivar problem: why the queue cannot be watched; empty if that is not known.
    """

    consuming: bool
    paused: bool = False
    connected: bool = True
    problem: str = ""


@attrs.frozen
class Readiness:
    """
    Whether all is as it should be.

    @ivar reasons: why it is not; empty if it is.
    """

    reasons: tuple[Reason, ...] = ()

    @property
    def ready(self) -> bool:
        """
        Whether there is nothing wrong.
        """
        return not self.reasons

    def as_json(self) -> list[dict[str, str]]:
        """
        The reasons, as JSON has them.
        """
        found = [attrs.asdict(each) for each in self.reasons[:_MOST]]
        return [{k: v for k, v in each.items() if v} for each in found]

    @classmethod
    def from_json(cls, reasons: Iterable[Mapping[str, Any]]) -> Readiness:
        """
        Read the JSON that L{as_json} gave.
        """
        return cls(
            tuple(
                Reason(str(each["name"]), str(each["text"]), str(each.get("queue", "")))
                for each in reasons
            )
        )

    def document(self) -> bytes:
        """
        The answer of C{/readyz}.
        """
        return _json({"ready": self.ready, "reasons": self.as_json()})


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"


def readiness_of(
    queues: Mapping[str, QueueHealth], *, started: bool, stopping: bool
) -> Readiness:
    """
    Whether a mediator consumes all that it should.

    @param queues: all that it should consume, by their names.
    """
    if stopping:
        return Readiness((Reason("stopping", "The mediator is being stopped."),))
    reasons = []
    if not started:
        reasons.append(Reason("starting", "The mediator has not started yet."))
    for name, each in queues.items():
        if not each.connected:
            text = "There is no connection to RabbitMQ."
            reasons.append(Reason("broker_away", text, name))
        elif each.paused:
            reasons.append(Reason("paused", f"Queue {name!r} is paused.", name))
        elif not each.consuming:
            why = f": {each.problem}" if each.problem else "."
            text = f"Queue {name!r} is not consumed{why}"
            reasons.append(Reason("not_consuming", text, name))
    return Readiness(tuple(reasons))
