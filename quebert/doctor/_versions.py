"""
The versions of RabbitMQ, and the faults that they are known for.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from quebert.amqp.wire import version_in
from quebert.doctor._findings import Finding, ok, warn

__all__ = ["FAULTS", "Fault", "version_findings"]

Version = tuple[int, ...]
_ABOUT = "version"


@attrs.frozen
class Fault:
    """
    A fault of some versions of RabbitMQ.

    @ivar since: the first version that has it.
    @ivar until: the first one after that, which does not.
    @ivar remedy: what to do about it; empty where quebert works around it.
    """

    since: Version
    until: Version
    text: str
    remedy: str = ""

    def concerns(self, version: Version) -> bool:
        """
        Whether a version has it.
        """
        return self.since <= version < self.until


FAULTS = (
    Fault(
        (0,),
        (3, 10),
        "has no quorum queues for delays: tasks that wait can be lost when it stops",
        "run RabbitMQ 4.3.3 or later; at least 3.10",
    ),
    Fault((0,), (4, 0), "gets no more corrections from its makers"),
    Fault(
        (3, 10),
        (4, 0),
        "goes on refusing what is published over an open channel to a quorum queue that"
        " was full when a policy with max-length was removed",
    ),
    Fault(
        (0,),
        (4, 0),
        "loses messages of quorum queues with more than 32 consumers when it starts"
        " again (as in rabbitmq-server pull request 13971)",
    ),
    Fault(
        (3, 10),
        (4, 3),
        "has delayed tasks wait for dead_letter_worker_publisher_confirm_timeout after"
        " a node was killed",
    ),
    Fault(
        (4, 0),
        (4, 3),
        "counts each message that is given back against its delivery limit",
    ),
    Fault(
        (4, 0),
        (4, 3),
        "has messages with a priority above 4 delay others in a quorum queue",
    ),
    Fault(
        (4, 2, 6),
        (4, 2, 7),
        "wants the permission to configure from whoever asks how a queue is",
        "run RabbitMQ 4.2.7 or later",
    ),
    Fault(
        (4, 3, 0),
        (4, 3, 1),
        "wants the permission to configure from whoever asks how a queue is",
        "run RabbitMQ 4.3.3 or later",
    ),
    Fault(
        (4, 3, 0),
        (4, 3, 3),
        "can strand quorum queues that pass tasks on when the nodes of a cluster are"
        " replaced one by one (rabbitmq-server issue 16652)",
        "run RabbitMQ 4.3.3 or later",
    ),
)


def version_findings(server_properties: Mapping[str, Any]) -> Iterator[Finding]:
    """
    The version, and what it is known for.  Faults that quebert works around are no
    reason to worry.
    """
    name = f"{server_properties.get('product')} {server_properties.get('version')}"
    version = version_in(server_properties)
    if version is None:
        platform = server_properties.get("platform")
        if "quebert" in str(platform):
            yield ok(_ABOUT, f"the broker is the embedded one of {platform}")
        else:
            text = f"the broker is {name}, which quebert was never tested with"
            yield warn(_ABOUT, text, "run RabbitMQ 4.3.3 or later")
        return
    faults = [each for each in FAULTS if each.concerns(version)]
    for each in faults:
        if each.remedy:
            yield warn(_ABOUT, f"{name} {each.text}", each.remedy)
    if not any(each.remedy for each in faults):
        known = "; ".join(f"it {each.text}" for each in faults)
        told = f" (quebert allows for what is known of it: {known})" if known else ""
        yield ok(_ABOUT, f"{name}{told}")
