"""
Tasks that are cancelled while mediators attempt them, and what is true of each.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections import Counter
from typing import Any

import attrs
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from quebert import operations
from quebert._lanes import all_of
from quebert.amqp import TxAMQPClient
from quebert.errors import BrokerError
from quebert.operations import (
    CANCELLED,
    MARKED,
    NOT_FOUND,
    TOO_LATE,
    BrokerAccess,
    Cancelled,
)
from quebert.task import format_time
from quebert.test.support import Executor

__all__ = ["CancelRaces", "Race"]

reactor: Any = global_reactor


@attrs.define(eq=False)
class Race:
    """
    One task, and what came of cancelling it.

    @ivar arrivals: when executors got it.
    @ivar told: what was said of it; C{None} if that has failed.
    @ivar told_at: when.
    """

    uuid: str
    arrivals: list[float] = attrs.field(factory=list)
    told: Cancelled | None = None
    told_at: float = 0.0

    def untruth(self, kills: bool) -> str:
        """
        What was said that is not true; empty if all is.

        @param kills: whether mediators were killed: such a one had begun a request that
            never came, or had a task that the broker did not have back yet.
        """
        if self.told is None:
            return ""
        count = len(self.arrivals)
        later = sum(when > self.told_at for when in self.arrivals)
        match self.told.result, self.told.attempted:
            case operations.CANCELLED, False if count:
                return f"was attempted {count} times"
            case operations.CANCELLED | operations.NOT_FOUND, _ if later:
                return f"was attempted {later} times after that"
            # A mediator that is cut off may begin still.
            case operations.MARKED, _ if later > 1:
                return f"was attempted {later} times after that"
            case operations.TOO_LATE, _ if not count and not kills:
                return "was not attempted"
            case operations.TOO_LATE, _ if later > 1:
                return f"was attempted {later} times after that"
            case operations.NOT_FOUND, _ if not count and not kills:
                return "was not attempted, nor found"
        return ""


class CancelRaces:
    """
    @param executor: answers after random times; a third of the tasks fails.
    @param client: adds tasks.
    @param lanes: how many races there are at a time.
    @ivar races: those that have begun, by their uuids.
    """

    def __init__(
        self,
        broker: BrokerAccess,
        client: TxAMQPClient,
        executor: Executor,
        queue: str,
        *,
        lanes: int = 12,
        seed: int = 1,
    ) -> None:
        self.races: dict[str, Race] = {}
        self._broker = broker
        self._client = client
        self._deletions = operations.Deletions(client)
        self._queue = queue
        self._lanes = lanes
        self._random = random.Random(seed)
        executor.answer = self._answer

    def _answer(self, task: Any) -> Any:
        self.races[task["uuid"]].arrivals.append(reactor.seconds())
        status = 500 if task["params"]["fails"] else 200
        answered: Deferred[int] = deferLater(reactor, task["params"]["seconds"])
        return answered.addCallback(lambda _: status)

    async def run(self, count: int) -> None:
        """
        Have so many races.
        """
        await all_of((self._race() for _ in range(count)), self._lanes)

    async def _race(self) -> None:
        race, choice = Race(str(uuid.uuid4())), self._random
        self.races[race.uuid] = race
        task: dict[str, Any] = {
            "url": "/task",
            "uuid": race.uuid,
            "params": {
                "fails": choice.random() < 0.33,
                "seconds": choice.choice((0.0, 0.05, 0.6)),
            },
        }
        if choice.random() < 0.25:
            task["run_at"] = format_time(time.time() + choice.uniform(-1, 2))
        persistent = {"delivery-mode": 2}
        body = json.dumps(task).encode()
        try:
            await self._client.publish("", self._queue, body, persistent)
        except BrokerError:
            return
        await deferLater(reactor, choice.uniform(0, 0.1))
        try:
            race.told = await self._cancel(race.uuid)
        except BrokerError:
            return
        race.told_at = reactor.seconds()

    async def _cancel(self, uuid: str) -> Cancelled:
        """
        Cancel a task, in either way.
        """
        if self._random.random() < 0.5:
            return await self._deletions.delete(self._queue, uuid, "a test")
        return await operations.cancel(self._broker, self._queue, uuid, by="a test")

    @property
    def results(self) -> Counter[str]:
        """
        What was said how often.
        """
        told = (race.told for race in self.races.values())
        return Counter("failed" if each is None else each.result for each in told)

    def check(self, *, kills: bool = False) -> None:
        """
        All that was said is true.

        @param kills: whether mediators were killed.
        """
        told = [(race.untruth(kills), race) for race in self.races.values()]
        untruths = [each for each in told if each[0]]
        assert not untruths, untruths
        known = {CANCELLED, MARKED, NOT_FOUND, TOO_LATE, "failed"}
        assert self.results.keys() <= known
