"""
L{Simulation}: a queue, its mediator and an executor, whose time a test sets.

The mediator, its policy, its limits and the tasks are those of production.  The queue
is L{MemoryQueue}, and the executor is called.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from types import TracebackType
from typing import Any

from twisted.internet.task import Clock

from quebert.amqp import WatchOptions
from quebert.config import QueueSettings, read
from quebert.errors import ConfigError
from quebert.functions import Function
from quebert.guard import Guard
from quebert.limits import Rate, RateLike, TokenBucket
from quebert.mediator import Mediator, PolicyMediator
from quebert.operations import DeadLetter
from quebert.producer import EXCHANGE, Letter, intercept, item_letter
from quebert.service import admission_of, id_tokens_for, id_tokens_of, mediator
from quebert.testing._added import AddedTask
from quebert.testing._called_client import CalledClient
from quebert.testing._executors import Answers, Ask, executor_of
from quebert.testing._memory_queue import EndlessRetries, MemoryQueue
from quebert.testing._moved import added_task, moved
from quebert.testing._queued import DroppedTask, SimulatedAttempt

__all__ = ["Simulation"]

# Random waits are the same each time; nobody is to be kept from guessing them.
_SEED = 0


class Simulation:
    """
    A queue whose time passes when a test says so, its mediator, and an executor::

        sim = Simulation(answers=[503, 503, 200])
        sim.add_task("/mail", delay=86_400)
        sim.advance(days=1, minutes=1)
        assert [each.status for each in sim.attempts] == [503, 503, 200]

    In a C{with} statement, it gets all tasks that this process adds, by whatever
    producer.  Their times are moved by as much as its time is ahead.  While time
    passes, it always gets them: an executor may add tasks.

    Time that the executor asks for is not simulated: C{time.time()} is as ever.

    @param function: does the tasks, as in an executor of L{quebert.functions}.
    @param wsgi: an application that gets the requests instead.
    @param asgi: the same for ASGI.
    @param answers: answers instead of an executor: a list, of which the last is given
        for ever, or a function that is called with each L{SimulatedRequest
        <quebert.testing.SimulatedRequest>}.  Each is an L{Answer
        <quebert.testing.Answer>}, or its status, or an exception for no answer.
    @param make_mediator: a class of mediators, or a function that makes one.
    @param start: when it begins; now by default.
    @param prefetch: how many tasks are requested at once; 0 for no limit.
    @param rate: how many begin in a time, such as C{"10/s"}.
    @param burst: how many may begin at once.
    @param guard: judges the URL of each request; it looks up no name.
    @param options: of the mediator, such as C{policy}, C{permanent}, C{defaulturl} and
        C{admission}.
    @ivar mediator: the mediator; hooks may be added to it.
    @raise ConfigError: there is not one executor, or an option is wrong.
    """

    def __init__(
        self,
        function: Function | None = None,
        *,
        wsgi: Any = None,
        asgi: Any = None,
        answers: Answers | None = None,
        make_mediator: Callable[..., Mediator] = PolicyMediator,
        start: datetime | None = None,
        prefetch: int = WatchOptions().prefetch,
        rate: RateLike | None = None,
        burst: int | None = None,
        guard: Guard | None = None,
        **options: Any,
    ) -> None:
        ask = executor_of(function, wsgi=wsgi, asgi=asgi, answers=answers)
        if ask is None:
            raise ConfigError("give one of function, wsgi, asgi and answers")
        if make_mediator is PolicyMediator:
            options.setdefault("random", Random(_SEED).random)  # nosec B311
        self._begin(
            ask,
            partial(make_mediator, **options),
            start,
            guard or Guard(),
            prefetch,
            None if rate is None else TokenBucket.of(Rate.of(rate), burst),
        )

    def _begin(
        self,
        ask: Ask,
        make_mediator: Callable[..., Mediator],
        start: datetime | None,
        guard: Guard,
        prefetch: int,
        bucket: TokenBucket | None,
    ) -> None:
        self._clock = Clock()
        self._clock.rightNow = _seconds_of(start)
        self._entered = ExitStack()
        self._client = CalledClient(ask, self._clock, guard, self._exchanged)
        self.mediator = make_mediator(
            http=self._client, clock=self._clock, now=self._clock.seconds
        )
        receive = self.mediator.messageReceived
        self._queue = MemoryQueue(receive, self._clock, prefetch, bucket)

    def _exchanged(self, *exchange: Any) -> None:
        self._queue.exchanged(*exchange)

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        queue: str | None = None,
        function: Function | None = None,
        *,
        wsgi: Any = None,
        asgi: Any = None,
        answers: Answers | None = None,
        start: datetime | None = None,
    ) -> Simulation:
        """
        A simulation of a queue in a configuration file: its mediator, retries, hooks,
        headers, signatures, rate and concurrency, the URLs that its guard refuses, and
        the limits of C{[hosts]}.

        @param queue: its name; it may be left out where the file has but one.
        @raise BadConfig: something in the file is wrong.
        @raise ConfigError: the file has no such queue, or there is not one executor.
        """
        settings = read(os.fspath(path))
        named = _chosen(settings.queues, queue, os.fspath(path))
        ask = executor_of(function, wsgi=wsgi, asgi=asgi, answers=answers)
        if ask is None:
            raise ConfigError("give one of function, wsgi, asgi and answers")

        def make(http: Any, clock: Clock, now: Callable[[], float]) -> Mediator:
            options: dict[str, Any] = {"now": now}
            if named.mediator == "policy":
                options["random"] = Random(_SEED).random  # nosec B311
            made = mediator(named, http, clock, **options)
            made.admission = admission_of(settings.hosts)
            id_tokens = id_tokens_of(settings, now)
            made.id_tokens = id_tokens_for(id_tokens, settings, named.name)
            return made

        prefetch = named.effective_prefetch
        simulation = cls.__new__(cls)
        simulation._begin(
            ask,
            make,
            start,
            named.guard,
            WatchOptions().prefetch if prefetch is None else prefetch,
            None if named.rate is None else TokenBucket.of(named.rate, named.burst),
        )
        return simulation

    # -- Adding tasks

    def add_task(self, url: str, params: Any = None, **keywords: Any) -> str:
        """
        Add a task, and return its uuid.

        @param keywords: those of L{quebert.producer.add_task}.
        @raise BadTask: an argument is wrong.
        """
        item = {"url": url, "params": params, **keywords}
        uuid, letter = item_letter(item, self._clock.seconds())
        self._queue.add(added_task(EXCHANGE, letter))
        return uuid

    def __enter__(self) -> Simulation:
        self._entered.enter_context(intercept(self._take))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._entered.close()

    def _take(self, exchange: str, letter: Letter) -> None:
        """
        Take a message that a producer would publish.
        """
        self.take(added_task(exchange, moved(letter, self._clock.seconds())))

    def take(self, added: AddedTask) -> None:
        """
        Add a task that was added elsewhere, as it is.
        """
        self._queue.add(added)

    # -- Time

    @property
    def now(self) -> datetime:
        """
        Its time, in UTC.
        """
        return datetime.fromtimestamp(self._clock.seconds(), UTC)

    def advance(
        self,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> list[SimulatedAttempt]:
        """
        Have time pass; with no arguments, have that happen which is due now.

        @return: the attempts that began.
        @raise EndlessRetries: tasks are tried again and again without a pause.
        """
        span = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if span < timedelta(0):
            raise ConfigError("time does not go back")
        before = len(self._queue.attempts)
        with intercept(self._take):
            self._queue.pass_to(self._clock.seconds() + span.total_seconds())
        self._client.check()
        return self._queue.attempts[before:]

    def finish(self, *, days: float = 400) -> list[SimulatedAttempt]:
        """
        Have time pass until all tasks are done, dropped or dead.

        @param days: how long that may take.
        @return: the attempts that began.
        @raise EndlessRetries: some are not, after so long.
        """
        end = self._clock.seconds() + timedelta(days=days).total_seconds()
        before = len(self._queue.attempts)
        with intercept(self._take):
            while not self._queue.is_idle:
                when = self._queue.next_event()
                if when is None or when > end:
                    text = f"after {days:g} days {len(self.waiting)} tasks still wait"
                    raise EndlessRetries(text)
                self._queue.pass_to(when)
                self._client.check()
        return self._queue.attempts[before:]

    # -- What has happened

    @property
    def attempts(self) -> list[SimulatedAttempt]:
        """
        The requests that were made, in their order.
        """
        return self._queue.attempts

    @property
    def waiting(self) -> list[AddedTask]:
        """
        The tasks that wait, or are at work; those first that come first.
        """
        return self._queue.waiting

    @property
    def done(self) -> list[AddedTask]:
        """
        The tasks that are done.
        """
        return self._queue.done

    @property
    def dropped(self) -> list[DroppedTask]:
        """
        The tasks that have expired, or that their executor has discarded.
        """
        return self._queue.dropped

    @property
    def dead(self) -> list[DeadLetter]:
        """
        The tasks that were given up, as C{quebert dead} finds them.
        """
        return self._queue.dead


def _chosen(queues: Any, name: str | None, path: str) -> QueueSettings:
    if name is None and len(queues) == 1:
        (only,) = queues.values()
        return only  # type: ignore[no-any-return]
    found: QueueSettings | None = queues.get(name)
    if found is None:
        there = ", ".join(queues) or "none"
        wanted = "name a queue" if name is None else f"there is no queue {name!r}"
        raise ConfigError(f"{path}: {wanted}; its queues are: {there}")
    return found


def _seconds_of(start: datetime | None) -> float:
    """
    In seconds since the epoch.  Now is a whole second, so that delays are exact.
    """
    if start is None:
        return float(int(time.time()))
    return (start if start.tzinfo else start.replace(tzinfo=UTC)).timestamp()
