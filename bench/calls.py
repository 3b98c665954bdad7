"""
How straight the way of a task through quebert is: the calls from its delivery to its
acknowledgement, and how often they go from one module to another, and from one room
(a package) to another.

The mediator is in this process, and has no hooks; with C{--deployed} it has a retry
policy and limits, as C{peers/quebert_deployed.py} has.  Timers call, too, so of several
tasks, one after the other, the one with the fewest calls counts.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import attrs
from letters import Letter, channel_to, publish
from race import console
from rich.table import Table
from roster import PEERS
from stage import Stage
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater, react
from web import StageError

import quebert
from quebert.amqp import TxAMQPClient, Watcher
from quebert.limits import AdaptiveSettings, BreakerSettings, OriginLimits, Origins
from quebert.mediator import Mediator, PolicyMediator
from quebert.policy import RetryPolicy

WARMUP, TRIES = 200, 5
#: Seconds for which a task's last calls are waited for.
SETTLE = 0.3
_OURS = Path(quebert.__file__).parent


@attrs.frozen
class Call:
    """
    A call of a function of quebert's.

    @ivar module: its path in quebert, without the suffix.
    """

    module: str
    function: str

    @property
    def room(self) -> str:
        """
        The package that its module is in.
        """
        return self.module.rpartition("/")[0] or self.module


@attrs.frozen
class Way:
    """
    The calls that one task makes, in their order.
    """

    calls: list[Call]

    @property
    def moves(self) -> Iterator[tuple[str, str]]:
        """
        From which module to which the way goes, each time that it leaves one.
        """
        for one, other in pairwise(self.calls):
            if one.module != other.module:
                yield one.module, other.module

    @property
    def rooms(self) -> list[str]:
        """
        The rooms that the way goes through, in their order.
        """
        return [room for room, _ in groupby(each.room for each in self.calls)]


class Recorder:
    """
    Notes the calls of this thread while it is entered.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def __enter__(self) -> Recorder:
        sys.setprofile(self._happened)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)

    def _happened(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(f"{_OURS}/"):
            module = Path(code.co_filename).relative_to(_OURS).with_suffix("")
            self.calls.append(Call(str(module), code.co_qualname))


def deployed() -> Mediator:
    """
    A mediator with a retry policy, and admission control that admits all tasks.
    """
    policy = RetryPolicy(max_attempts=50, jitter="full")
    adaptive = AdaptiveSettings(start=WARMUP)
    limits = OriginLimits(breaker=BreakerSettings(), adaptive=adaptive)
    return PolicyMediator(policy=policy, admission=Origins(limits))


async def way(clock: IReactorTime, stage: Stage, mediator: Mediator) -> Way:
    """
    The way of a task through a mediator that has done others before.
    """
    peer = PEERS[0]
    letter = stage.letter(peer, stage.web.url)
    queue = letter.exchange  # the peer's own producer has declared both
    client = TxAMQPClient.from_url(stage.amqp)
    watcher = await client.watch(queue, queue, "#", mediator.messageReceived)
    add(stage, letter, WARMUP)
    await done(clock, watcher, WARMUP)
    await quiet(clock)
    ways = []
    for number in range(TRIES):
        add(stage, letter, 1)  # it is not read before the reactor turns
        with Recorder() as recorder:
            await deferLater(clock, SETTLE)
        await done(clock, watcher, WARMUP + 1 + number)
        ways.append(Way(recorder.calls))
    await client.stop()
    return min(ways, key=lambda each: len(each.calls))


def add(stage: Stage, letter: Letter, number: int) -> None:
    """
    Publish tasks to a queue that is watched.
    """
    with channel_to(stage.amqp) as channel:
        publish(channel, letter, number)


async def done(clock: IReactorTime, watcher: Watcher, count: int) -> None:
    """
    Wait until so many tasks are done.

    @raise StageError: that takes too long.
    """
    for _ in range(200):
        if watcher.counts.done >= count and not watcher.in_flight:
            return
        await deferLater(clock, 0.05)
    raise StageError(f"{count} tasks are not done: {watcher.counts}")


async def quiet(clock: IReactorTime) -> None:
    """
    Wait until the watch has made what it needs in RabbitMQ, and nothing is called.

    @raise StageError: that takes too long.
    """
    for _ in range(100):
        with Recorder() as recorder:
            await deferLater(clock, SETTLE)
        if not recorder.calls:
            return
    raise StageError(f"something is still called: {recorder.calls[-1]}")


def show(found: Way, every: bool) -> None:
    """
    Print the sums, and each call if that is wanted.
    """
    moves = list(found.moves)
    calls = Counter(each.module for each in found.calls)
    table = Table("module", "calls", "times entered")
    entered = Counter(to for _, to in moves)
    for module, count in calls.most_common():
        table.add_row(module, str(count), str(entered[module]))
    console.print(table)
    rooms = found.rooms
    console.print(
        f"{len(found.calls)} calls, {len(moves)} moves between {len(calls)} modules,"
        f" {len(rooms) - 1} between {len(set(rooms))} rooms"
    )
    for each in found.calls if every else ():
        console.print(f"{each.module:32} {each.function}", highlight=False)


def main() -> None:
    """
    Measure, and show it.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="show each call")
    parser.add_argument(
        "--deployed", action="store_true", help="with a retry policy and limits"
    )
    said = parser.parse_args()

    async def run(clock: IReactorTime) -> None:
        with Stage() as stage:
            mediator = deployed() if said.deployed else Mediator()
            show(await way(clock, stage, mediator), said.list)

    react(lambda clock: Deferred.fromCoroutine(run(clock)))


if __name__ == "__main__":
    main()
