"""
Whether the queues of the delay ladder, its rungs, pass tasks on.

A probe goes through each rung by itself.  Where a rung is empty, its probe expires
there at once, since it has an expiration of its own.  A probe that has none waits as
long as any task, and shows whether tasks come in time: so go the probes through the
rungs of a second or two.  No probe goes into a longer rung in which tasks wait: it
would wait behind them.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from quebert._protocol.properties import encode_properties
from quebert.amqp.delays import ARRIVALS, UNCLAIMED, Rungs, browse_store, is_for
from quebert.amqp.link import Publisher
from quebert.amqp.queues import depth
from quebert.amqp.wire import Message, temporary_channel
from quebert.doctor._findings import Finding, fail, unknown, warn
from quebert.doctor._probes import ReturnedProbes, returns
from quebert.doctor._subject import Subject, together
from quebert.errors import BrokerError, Unroutable

__all__ = ["ABOUT", "MEND", "NODES", "Passing", "Rung", "names_of"]

#: What the findings are about.
ABOUT = "delays"
#: What to do where something is missing, ...
MEND = "have a mediator run: it declares within half a minute all that it needs"
#: ... and where a queue does not work.
NODES = "see the log of RabbitMQ; restart the node that leads the queue"
# Seconds that a person may have a probe wait.
_LONGEST_PROBE = 63
# How often it is looked at most for probes that arrived elsewhere: some may arrive, or
# come back to the queue, while they are taken.
_LOOKS = 3
# How many names are told.
_MOST_NAMES = 5
# Seconds that a probe may be early: clocks are read in different places.
_EARLY = 0.1
# Milliseconds for which the queue that probes come back to stays, for those of a stuck
# rung or of a doctor that was killed: the ladder keeps what has no queue to come to.
_KEEP = 600_000


@attrs.frozen
class Rung:
    """
    A queue of the ladder.

    @ivar seconds: how long a task waits there.
    @ivar ready: how many tasks do.
    """

    name: str
    seconds: int
    ready: int

    @property
    def probe(self) -> bytes:
        """
        The body of its probe.
        """
        return self.name.encode()


class Passing:
    """
    The probes of one examination.

    @ivar free: the rungs that a probe goes through.
    @ivar busy: those that no probe goes through, since tasks wait there.
    """

    def __init__(self, subject: Subject, rungs: Rungs, whole: Sequence[Rung]) -> None:
        self._subject = subject
        self._rungs = rungs
        self.free = [r for r in whole if self._is_timed(r) or not r.ready]
        self.busy = [r for r in whole if r not in self.free]

    def _is_timed(self, rung: Rung) -> bool:
        """
        Whether its probe takes as long as any task.
        """
        return rung.seconds <= self._subject.wait

    async def check(self) -> list[Finding]:
        """
        Which rungs do not pass a probe on, or too early.
        """
        subject, clock = self._subject, self._subject.client.reactor
        async with returns(subject, "delayed", keep=_KEEP) as returned:
            binding = {"queue": returned.queue, "routing_key": returned.queue}
            async with temporary_channel(subject.wire) as channel:
                await channel.call("queue_bind", exchange=ARRIVALS, **binding)
            began = clock.seconds()
            problems = await self._send_all(returned)
            pairs = zip(self.free, problems, strict=True)
            sent = [rung for rung, problem in pairs if problem is None]
            end = began + subject.wait + subject.patience
            missing = await returned.wait({each.probe for each in sent}, end)
            rerouted = await self._take_rerouted(returned.queue) if missing else set()
            if missing <= rerouted:
                await subject.refusal("queue_delete", queue=returned.queue)
            found = [each for each in problems if each is not None]
            found += [_rerouted(subject)] if rerouted else []
            judged = [each for each in sent if each.probe not in rerouted]
            return [*found, *await self._judge(judged, returned, began)]

    async def _take_rerouted(self, queue: str) -> set[bytes]:
        """
        Remove the probes for C{queue} that came out of the ladder with another routing
        key; returns their bodies.
        """
        wire, taken, stay = self._subject.wire, set[bytes](), 0

        async def visit(message: Message) -> bool:
            is_ours = is_for(queue, message, UNCLAIMED)
            taken.update({message.body} if is_ours else ())
            return is_ours

        publisher = self._subject.client.make_publisher()
        send = publisher.publish
        try:
            for _ in range(_LOOKS):
                now = await depth(wire, UNCLAIMED)
                if now is None or now.ready <= stay:
                    break
                stay = await browse_store(wire, UNCLAIMED, now.ready, send, visit)
        finally:
            publisher.shut()
        return taken

    async def _send_all(self, returned: ReturnedProbes) -> list[Finding | None]:
        publisher = self._subject.client.make_publisher()
        try:
            return await together(
                self._send(publisher, returned, each) for each in self.free
            )
        finally:
            publisher.shut()

    async def _send(
        self, publisher: Publisher, returned: ReturnedProbes, rung: Rung
    ) -> Finding | None:
        """
        Send a probe through one rung; what is wrong, if it cannot be sent.
        """
        subject = self._subject
        exchange, key = rung.name, returned.queue
        expiration = None if self._is_timed(rung) else "1"
        properties = encode_properties({"expiration": expiration, "delivery-mode": 2})

        async def publish() -> bool:
            await publisher.publish(exchange, key, rung.probe, properties)
            return True

        try:
            if await subject.within(subject.patience, publish()):
                return None
        except Unroutable:
            text = f"queue {rung.name} is not bound to exchange {exchange}: no task can"
            return fail(ABOUT, f"{text} be delayed by {rung.seconds} s", MEND)
        except BrokerError as e:
            return fail(ABOUT, f"queue {rung.name} takes no task: {e}", NODES)
        text = f"queue {rung.name} takes no task in {subject.patience:g} s"
        return fail(ABOUT, text, NODES)

    async def _judge(
        self, sent: Sequence[Rung], returned: ReturnedProbes, began: float
    ) -> list[Finding]:
        found: list[Finding] = []
        stuck: list[Rung] = []
        busy = self.busy
        for rung in sent:
            probe = returned.found.get(rung.probe)
            if probe is None:
                overtaken = await self._is_overtaken(rung)
                (busy if overtaken else stuck).append(rung)
            elif self._is_timed(rung) and probe.at - began < rung.seconds - _EARLY:
                found.append(_too_early(rung, probe.at - began))
        if stuck:
            text = f"{names_of(stuck)} is stuck: no probe came out of it in time"
            remedy = f"{MEND}; {NODES}"
            found.append(fail(ABOUT, text, remedy))
        return found + _not_tried(busy)

    async def _is_overtaken(self, rung: Rung) -> bool:
        """
        Whether somebody else's task has come into the queue just before our probe.
        """
        now = await depth(self._subject.wire, rung.name)
        return now is not None and now.ready > 1 and not self._is_timed(rung)


def _rerouted(subject: Subject) -> Finding:
    return warn(
        ABOUT,
        "a policy gives delayed tasks another routing key (dead-letter-routing-key):"
        f" they arrive in queue {UNCLAIMED}, from where mediators bring them, some"
        " seconds late",
        "have no policy match the queues of quebert: rabbitmqctl list_policies -p"
        f" {subject.vhost}, and rabbitmqctl list_operator_policies -p {subject.vhost}",
    )


def _too_early(rung: Rung, took: float) -> Finding:
    return fail(
        ABOUT,
        f"a task that is to wait {rung.seconds} s in {rung.name} came out of it after"
        f" {took:.1f} s",
        "look for a policy with a message-ttl: rabbitmqctl list_policies",
    )


def _not_tried(busy: Sequence[Rung]) -> list[Finding]:
    if not busy:
        return []
    longest = min(max(each.seconds for each in busy), _LONGEST_PROBE)
    remedy = f"quebert doctor --wait {longest} tries those of {longest} s and less, too"
    return [
        unknown(ABOUT, f"not tried, since tasks wait there: {names_of(busy)}", remedy)
    ]


def names_of(rungs: Sequence[Rung | str]) -> str:
    """
    The names, or the first of them.
    """
    names = [each if isinstance(each, str) else each.name for each in rungs]
    told = ", ".join(names[:_MOST_NAMES])
    others = len(names) - _MOST_NAMES
    return told if others <= 0 else f"{told} and {others} more"
