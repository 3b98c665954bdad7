"""
Why one task waits: collects facts from mediators, the broker and the history.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from quebert._url import absolute, origin_of
from quebert.errors import ConfigError, NoDefaultURL
from quebert.events import FINAL, AttemptRecord
from quebert.operations._access import BrokerAccess
from quebert.operations._live_values import Live, LiveMediator
from quebert.operations._overview import overview
from quebert.operations._reasons import reasons_of
from quebert.operations._status import Status
from quebert.operations._task_search import MOST, TaskSearch
from quebert.operations._why_values import Facts, Why

__all__ = ["why"]

# Queues that a task is looked for in, where nobody says which it is of.
_QUEUES = 50
_LONGEST = 255


async def why(
    broker: BrokerAccess,
    uuid: str,
    queue: str | None = None,
    *,
    seen: Live | None = None,
    attempts: Sequence[AttemptRecord] = (),
    most: int = MOST,
) -> Why:
    """
    Why a task waits, or what has become of it.

    @param queue: the queue of the task; C{None} if that is not known: then the queues
        of its attempts, and those in C{seen}, are looked at.
    @param seen: the newest live view (L{live<quebert.operations.live>}); without it,
        limits and breakers are unknown.
    @param attempts: the attempts at the task, from the history, the oldest first.
    @param most: tasks of the delay ladder that are looked at.
    @raise ConfigError: the uuid cannot be one, or the URL is no AMQP URL.
    @raise BrokerError: there is no broker in five seconds, or it refuses the login, or
        the connection is lost.
    """
    if not 0 < len(uuid) <= _LONGEST:
        raise ConfigError(f"a uuid has 1 to {_LONGEST} characters")
    seen = seen or Live(at=0.0)
    queues = tuple(_queues(queue, seen, attempts))
    async with broker.client() as (client, wire):
        search = TaskSearch(client, wire, uuid, queues, only=queue)
        await search.run(most, is_over=_is_over(attempts))
        chosen = search.queue or (queues[0] if len(queues) == 1 else "")
        status = None
        if chosen:
            status = (await overview(broker, [chosen])).queues[chosen]
        facts = _facts(search, chosen, seen, attempts, status, client.now())
    unseen = dict.fromkeys(search.unseen)
    return Why(
        uuid=uuid,
        queue=chosen,
        reasons=reasons_of(facts),
        unseen=() if search.found else tuple(unseen),
    )


def _queues(
    queue: str | None, seen: Live, attempts: Sequence[AttemptRecord]
) -> Iterator[str]:
    if queue is not None:
        yield queue
        return
    known = [*(each.queue for each in reversed(attempts))]
    known += [each.name for each in seen.queues]
    yield from [*dict.fromkeys(known)][:_QUEUES]


def _is_over(attempts: Sequence[AttemptRecord]) -> bool:
    # A dead letter can be redriven.
    return bool(attempts) and attempts[-1].outcome in FINAL - {"buried"}


def _facts(
    search: TaskSearch,
    queue: str,
    seen: Live,
    attempts: Sequence[AttemptRecord],
    status: Status | None,
    now: float,
) -> Facts:
    last = attempts[-1] if attempts else None
    watching = [each for each in seen.mediators if not each.lost]
    url = search.url or (last.url if last is not None else "")
    origin = _origin(url, queue, watching)
    watches = {m.name: m.queues[queue] for m in watching if queue in m.queues}
    shared = [
        watch
        for each in watching
        if queue in each.queues and each.queues[queue].priority
        for name, watch in each.queues.items()
        if name != queue and watch.priority
    ]
    return Facts(
        uuid=search.uuid,
        queue=queue,
        now=now,
        status=status,
        held=tuple(search.held),
        ladder=search.ladder,
        position=search.position,
        unseen_ready=search.unseen_ready.get(queue, 0),
        dead=search.dead,
        last=last,
        watches=watches,
        present=search.present.get(queue, ()),
        others=sum(each.in_flight for each in shared),
        host=next((each for each in seen.hosts if each.origin == origin), None),
        rate_out=next((e.rate_out for e in seen.queues if e.name == queue), None),
        not_all_seen=bool(search.unseen),
    )


def _origin(url: str, queue: str, watching: Sequence[LiveMediator]) -> str:
    """
    The origin of a URL, which mediators may complete.
    """
    for each in watching if url else ():
        told = each.settings
        default = told.get(f"queues.{queue}.default_url") or told.get("default_url", "")
        with suppress(ValueError, NoDefaultURL):
            return origin_of(absolute(url, default)[0])
    return origin_of(url)
