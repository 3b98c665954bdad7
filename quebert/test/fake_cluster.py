"""
A cluster that is made up, in memory: for the tests of the web server and of its page,
and for those who work on the page (C{python -m quebert.test.fake_web}).

All that it shows follows from its clock and a seed, but for what is done to it.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any
from uuid import UUID

import attrs
from twisted.internet.task import deferLater

from quebert.errors import BrokerError, ConfigError, StoreError
from quebert.events import AttemptBatch, AttemptRecord, WatchState
from quebert.history import (
    DueCount,
    DurationColumn,
    LatencyMap,
    PastAttempt,
    TaskSummary,
)
from quebert.operations import (
    DeadLetter,
    LiveHost,
    LiveMediator,
    LiveQueue,
    Match,
    Progress,
    WhyReason,
)
from quebert.web import (
    AttemptGap,
    BadPageToken,
    ChangeView,
    ClusterView,
    ClusterWatcher,
    DeadGroup,
    DeadPage,
    DeadView,
    Health,
    HistoryView,
    QueueDetail,
    TaskDetail,
    TaskPage,
    TaskQuery,
    WhyView,
)

__all__ = ["QUEUES", "WAITING", "FakeCluster", "waiting_uuid"]

#: The queues, and their part of all that is done.
QUEUES = {
    "mail": 0.62,
    "webhooks": 0.25,
    "reports": 0.08,
    "billing/invoices": 0.04,
    "slow": 0.01,
    "größe:π": 0.0,
}
#: Why the tasks of L{waiting_uuid} wait, with a sentence.
WAITING = {
    "not_due": "its time has not come: it is due in 10 minutes",
    "paused": "the queue is paused",
    "behind": "it is behind 1,200 tasks, of which 40 a second go",
    "rate_limit": "the queue may begin 50 tasks a second",
    "breaker_open": "the circuit breaker of https://hooks.example is open",
    "host_concurrency": "https://api.example has 20 requests, the most that it may",
    "no_consumer": "no mediator watches the queue",
    "prefetch_full": "each mediator has as many tasks as it may",
    "lower_priority": "queues of a higher priority go first",
    "running": "it runs now",
    "retrying": "attempt 3 failed; it is tried again in 30 s",
    "dead": "it was given up: 404 Not Found",
    "done": "it is done",
}
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_HOSTS = ("https://mail.example", "https://hooks.example", "https://api.example")
_STATUSES = {200: 0.9, 204: 0.05, 503: 0.03, 500: 0.01, 404: 0.01}
_DEAD_REASONS = (
    ("exhausted", "503 Service Unavailable", 503, "upstream connect error"),
    ("exhausted", "no answer within 30 s", None, ""),
    ("poison", "the body is not JSON", None, ""),
    ("forbidden", "the guard refuses 10.0.0.7", None, ""),
    ("exhausted", "404 Not Found", 404, '{"error": "no such customer <b>42</b>"}'),
)
_TICK = 0.1
_MEDIATORS = 3


def waiting_uuid(reason: str) -> str:
    """
    The task that waits for a reason of L{WAITING}.
    """
    return str(UUID(int=(0xBADC0DE << 96) + list(WAITING).index(reason)))


@attrs.define
class _Queue:
    """
    What there is of a queue.
    """

    name: str
    part: float
    paused: bool = False
    ready: int = 0
    delayed: int = 40
    retrying: int = 7
    dead: list[DeadView] = attrs.field(factory=list)
    counts: deque[tuple[int, int]] = attrs.field(factory=lambda: deque(maxlen=60))
    recent: deque[PastAttempt] = attrs.field(factory=lambda: deque(maxlen=50))
    now_in: int = 0
    now_out: int = 0


class FakeCluster:
    """
    It can be read, changed and measured (C{Cluster}, C{Controls} and C{ServerReport}).

    @param reactor: keeps the time; C{time} gives the time of day.
    @param rate: tasks a second.
    @ivar broken: why the broker cannot be reached; empty if it can.
    @ivar history_broken: why the history cannot; empty if it can.
    @ivar looked_at: tasks of which a page has those that match; 0 for all.
    @ivar done: what was done to it, a line each.
    """

    def __init__(
        self, reactor: Any, now: Callable[[], float], rate: float = 200.0, seed: int = 1
    ) -> None:
        self._reactor = reactor
        self._now = now
        self._rate = rate
        self._random = random.Random(seed)
        self._watchers: list[ClusterWatcher] = []
        self._queues = {name: _Queue(name, part) for name, part in QUEUES.items()}
        self._started = now()
        self._tasks: OrderedDict[str, TaskDetail] = OrderedDict()
        self._sequence = 0
        self._due = 0.0
        self._ticks = 0
        self._timer: Any = None
        self.broken = ""
        self.history_broken = ""
        self.looked_at = 0
        self.done: list[str] = []
        self._queues["reports"].paused = True
        self._fill_dead("mail", 230)
        self._fill_dead("webhooks", 12)
        for reason in WAITING:
            self._keep_waiting(reason)

    # -- Its life

    def start(self) -> None:
        """
        Have something happen ten times a second.
        """
        self._timer = self._reactor.callLater(_TICK, self._next)

    def stop(self) -> None:
        """
        Have nothing happen any more.
        """
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _next(self) -> None:
        self.start()
        self.tick()

    def tick(self) -> None:
        """
        A tenth of a second goes by.
        """
        self._ticks += 1
        self._due += self._rate * _TICK
        for queue in self._queues.values():
            come = self._whole(self._rate * _TICK * queue.part)
            queue.now_in += come
            queue.ready += come
            if queue.paused or queue.part == 0:
                continue
            wave = 1 + 0.2 * math.sin(self._now() / 7 + len(queue.name))
            goes = min(queue.ready, self._whole(self._rate * _TICK * queue.part * wave))
            queue.ready -= goes
            queue.now_out += goes
            if goes:
                self.attempt(queue.name, goes)
        if self._ticks % 10 == 0:
            for queue in self._queues.values():
                queue.counts.append((queue.now_in, queue.now_out))
                queue.now_in = queue.now_out = 0

    def _whole(self, number: float) -> int:
        return int(number) + (self._random.random() < number % 1)

    def attempt(self, queue: str, count: int) -> list[AttemptRecord]:
        """
        Have some attempts end now.
        """
        now = self._now()
        records = [self._record(queue, now) for _ in range(min(count, 40))]
        many = (records * (count // len(records) + 1))[:count]
        self._sequence += 1
        number = self._random.randrange(_MEDIATORS)
        batch = AttemptBatch(
            mediator=f"mediator-{number}",
            sequence=self._sequence,
            at=now,
            records=tuple(many),
        )
        found = self._queues[queue]
        for record in records[-10:]:
            view = PastAttempt.of(record, batch.mediator)
            found.recent.append(view)
            self._remember(view)
        for watcher in self._watchers:
            watcher.attempted(batch)
        return many

    def lose(self, count: int) -> None:
        """
        Have attempts be lost on the way.
        """
        for watcher in self._watchers:
            watcher.lost("mediator-0", count)

    def _record(self, queue: str, now: float) -> AttemptRecord:
        draw = self._random
        weights = list(_STATUSES.values())
        status = draw.choices(list(_STATUSES), weights)[0]
        seconds = draw.lognormvariate(-3.5, 0.8)
        is_done = status < 300
        return AttemptRecord(
            uuid=str(UUID(int=draw.getrandbits(128), version=4)),
            queue=queue,
            url=f"{draw.choice(_HOSTS)}/{queue}/{draw.randrange(1000)}",
            number=1 if is_done else draw.randrange(1, 5),
            added=now - seconds - 2,
            due=None,
            started=now - seconds,
            ended=now,
            status=status,
            outcome="done" if is_done else "retry",
            reason="" if is_done else f"the answer was {status}",
            answer="" if is_done else "<h1>Oops</h1>",
            retry_at=None if is_done else now + 5,
        )

    def _remember(self, view: PastAttempt) -> None:
        task = TaskSummary(
            uuid=view.uuid,
            queue=view.queue,
            url=view.url,
            state="done" if view.outcome == "done" else "retrying",
            added=view.added,
            attempts=view.number,
            last=view,
            retry_at=view.retry_at,
        )
        attempts = []
        for number in range(1, view.number):
            started = view.started - 10 * (view.number - number)
            attempts.append(
                attrs.evolve(
                    view,
                    number=number,
                    started=started,
                    ended=started + 0.2,
                    status=503,
                    outcome="retry",
                    reason="the answer was 503",
                    retry_at=started + 10,
                )
            )
        detail = TaskDetail(task=task, attempts=(*attempts, view))
        self._tasks[view.uuid] = detail
        # Those that wait stay, however long the tests take.
        if len(self._tasks) > 2_000:
            waiting = set(map(waiting_uuid, WAITING))
            del self._tasks[next(each for each in self._tasks if each not in waiting)]

    def _keep_waiting(self, reason: str) -> None:
        states = {"retrying": "retrying", "dead": "buried", "done": "done"}
        state = "running" if reason == "running" else states.get(reason, "delayed")
        task = TaskSummary(
            uuid=waiting_uuid(reason),
            queue="slow",
            url=f"https://api.example/waiting/{reason}",
            state=state,
            added=self._started - 60,
            due=self._started + 600 if reason == "not_due" else None,
        )
        gap = AttemptGap(
            mediator="mediator-0",
            begin=self._started - 50,
            end=self._started - 40,
            count=120,
        )
        gaps = (gap,) if reason == "behind" else ()
        self._tasks[task.uuid] = TaskDetail(task=task, gaps=gaps)

    def _fill_dead(self, queue: str, count: int) -> None:
        for number in range(count):
            kind, reason, status, answer = _DEAD_REASONS[number % len(_DEAD_REASONS)]
            self._queues[queue].dead.append(
                DeadView(
                    uuid=str(UUID(int=(number << 64) + 1)),
                    url=f"https://api.example/{queue}/{number}",
                    kind=kind,
                    reason=reason,
                    attempts=number % 9 + 1,
                    first=self._started - 4_000 - number,
                    last=self._started - 60 - number,
                    status=status,
                    answer=answer,
                )
            )

    # -- To read

    def watch(self, watcher: ClusterWatcher) -> None:
        self._watchers.append(watcher)

    async def overview(self) -> ClusterView:
        problems = (self.broken,) if self.broken else ()
        return ClusterView(
            at=self._now(),
            queues=tuple(map(self._view, self._queues.values())),
            hosts=self._hosts(),
            mediators=tuple(map(self._mediator, range(_MEDIATORS))),
            problems=problems,
            history=HistoryView(
                ok=not self.history_broken, problem=self.history_broken, behind=0.4
            ),
        )

    def _view(self, queue: _Queue) -> LiveQueue:
        ins = tuple(float(each[0]) for each in queue.counts)
        outs = tuple(float(each[1]) for each in queue.counts)
        missing = (0.0,) * (60 - len(ins))
        is_empty = not queue.ready
        return LiveQueue(
            name=queue.name,
            exists=True,
            ready=None if self.broken else queue.ready,
            delayed=None if self.broken else queue.delayed,
            running=int(self._rate * queue.part * 0.03),
            retrying=queue.retrying,
            dead=None if self.broken else len(queue.dead),
            consumers=0 if queue.paused else _MEDIATORS,
            paused=queue.paused,
            rate_in=ins[-1] if ins else 0.0,
            rate_out=outs[-1] if outs else 0.0,
            oldest=None if is_empty else 1.5,
            p50=0.03 if outs and outs[-1] else None,
            p99=0.21 if outs and outs[-1] else None,
            series_in=missing + ins,
            series_out=missing + outs,
            breakers=(_HOSTS[1],) if queue.name == "webhooks" else (),
            problems=("a rung cannot be seen",) if queue.name == "slow" else (),
        )

    def _hosts(self) -> tuple[LiveHost, ...]:
        now = self._now()
        states = ("closed", "open", "half-open")
        return tuple(
            LiveHost(
                origin=origin,
                breaker=state,
                open_until=now + 20 if state == "open" else None,
                limit=20.0,
                in_flight=number * 4,
                rate=None if number else 100.0,
                mediators=_MEDIATORS,
            )
            for number, (origin, state) in enumerate(zip(_HOSTS, states, strict=True))
        )

    def _mediator(self, number: int) -> LiveMediator:
        queues = {
            name: WatchState(
                consuming=not queue.paused,
                paused=queue.paused,
                prefetch=100,
                in_flight=number * 3,
                received=1000,
                done=990,
                retried=10,
                priority="high" if name == "mail" else "",
                rate=50.0 if name == "reports" else None,
            )
            for name, queue in self._queues.items()
        }
        is_lost = number == _MEDIATORS - 1
        return LiveMediator(
            name=f"mediator-{number}",
            host=f"worker{number}.example",
            pid=1000 + number,
            version="0.19.0",
            started=self._started - 3600 * (number + 1),
            at=self._now() - (40 if is_lost else 1),
            lag=0.002 * (number + 1),
            cpu=0.4 + 0.1 * number,
            memory=80_000_000,
            reconnects=number,
            unconfirmed=number,
            queues=queues,
            settings={"queues.mail.prefetch": "100", "service.grace": "30"},
            lost=is_lost,
        )

    def _find(self, name: str) -> _Queue:
        self._check_broker()
        if name not in self._queues:
            raise ConfigError(f"there is no queue {name!r}")
        return self._queues[name]

    def _check_broker(self) -> None:
        if self.broken:
            raise BrokerError(self.broken)

    def _check_history(self) -> None:
        if self.history_broken:
            raise StoreError(self.history_broken)

    async def queue(self, name: str) -> QueueDetail:
        if name not in self._queues:
            raise ConfigError(f"there is no queue {name!r}")
        queue, now = self._queues[name], self._now()
        draw = random.Random(name)
        columns = []
        for number in range(60):
            busy = queue.part * self._rate * 5
            counts = [
                int(busy * math.exp(-((n - 3 - draw.random()) ** 2) / 2))
                for n in range(len(_BUCKETS) + 1)
            ]
            columns.append(
                DurationColumn(at=now - 300 + 5 * number, counts=tuple(counts))
            )
        due = tuple(DueCount(at=now + 60 * n, count=5 * n % 17) for n in range(1, 20))
        return QueueDetail(
            queue=self._view(queue),
            latency=LatencyMap(buckets=_BUCKETS, columns=tuple(columns)),
            due=due,
            attempts=tuple(reversed(queue.recent)),
        )

    async def dead(
        self, queue: str, matches: Sequence[Match], token: str, size: int
    ) -> DeadPage:
        found = [e for e in self._find(queue).dead if _matched(matches, e)]
        begin = _offset(token, len(found))
        groups = Counter((each.kind, each.reason) for each in found)
        end = begin + size
        return DeadPage(
            dead=tuple(found[begin:end]),
            groups=tuple(
                DeadGroup(kind=kind, reason=reason, count=count)
                for (kind, reason), count in groups.most_common()
            ),
            count=len(found),
            next_page_token=str(end) if end < len(found) else None,
        )

    async def tasks(self, query: TaskQuery) -> TaskPage:
        self._check_history()
        if self.looked_at:
            return self._short_page(query, self.looked_at)
        found = [e.task for e in reversed(self._tasks.values()) if _wanted(query, e)]
        begin = _offset(query.page_token, len(found))
        end = begin + query.page_size
        token = str(end) if end < len(found) else None
        return TaskPage(tasks=tuple(found[begin:end]), next_page_token=token)

    def _short_page(self, query: TaskQuery, most: int) -> TaskPage:
        # Counted from the oldest: tasks that come meanwhile change nothing.
        every = [*self._tasks.values()]
        end = _offset(query.page_token, len(every)) or len(every)
        begin = max(0, end - most)
        some = reversed(every[begin:end])
        found = tuple(e.task for e in some if _wanted(query, e))
        return TaskPage(tasks=found, next_page_token=str(begin) if begin else None)

    async def task(self, uuid: str) -> TaskDetail | None:
        self._check_history()
        return self._tasks.get(uuid)

    async def why(self, uuid: str, queue: str) -> WhyView:
        self._check_broker()
        now = self._now()
        for reason, text in WAITING.items():
            if uuid == waiting_uuid(reason):
                details: dict[str, dict[str, Any]] = {
                    "not_due": {"until": self._started + 600},
                    "paused": {"by": "anna"},
                    "behind": {"position": 1200, "rate": 40.0, "until": now + 30},
                    "breaker_open": {"until": now + 20},
                    "rate_limit": {"rate": 50.0},
                    "retrying": {"until": now + 30},
                }
                first = WhyReason(reason=reason, text=text, **details.get(reason, {}))
                other = WhyReason(reason="no_consumer", text=WAITING["no_consumer"])
                every = (first, other) if reason == "paused" else (first,)
                return WhyView(first=first, every=every, queue="slow")
        known = self._tasks.get(uuid)
        reason = "not_found" if known is None else known.task.state
        text = "nobody knows the task" if known is None else WAITING[reason]
        first = WhyReason(reason=reason, text=text)
        return WhyView(first=first, every=(first,))

    # -- To change

    async def pause(self, queue: str, by: str) -> Sequence[str]:
        self._find(queue).paused = True
        self.done.append(f"pause {queue} by {by}")
        return ()

    async def resume(self, queue: str) -> Sequence[str]:
        self._find(queue).paused = False
        self.done.append(f"resume {queue}")
        return ()

    async def purge(self, queue: str) -> Progress:
        found = self._find(queue)
        count, found.ready = found.ready, 0
        self.done.append(f"purge {queue}")
        return Progress(count, count, count, ended=True)

    async def redrive(
        self, queue: str, matches: Sequence[Match], progress: Progress
    ) -> None:
        found = self._find(queue)
        found.ready += await self._go_through(found, matches, progress)
        self.done.append(f"redrive {queue}")

    async def discard(
        self, queue: str, matches: Sequence[Match], progress: Progress
    ) -> None:
        await self._go_through(self._find(queue), matches, progress)
        self.done.append(f"discard {queue}")

    async def _go_through(
        self, queue: _Queue, matches: Sequence[Match], progress: Progress
    ) -> int:
        letters = list(queue.dead)
        progress.total = len(letters)
        for each in letters:
            progress.seen += 1
            if progress.seen % 10 == 0:
                await deferLater(self._reactor, 0.05)
                self._check_broker()
            if _matched(matches, each):
                progress.done += 1
                queue.dead.remove(each)
        return progress.done

    async def cancel(self, queue: str, uuid: str, by: str) -> ChangeView:
        self._find(queue)
        found = self._tasks.get(uuid)
        if found is None:
            return ChangeView(result="not_found", text="nobody knows the task")
        if found.task.state not in ("delayed", "retrying", "added"):
            return ChangeView(result="too_late", text=f"it is {found.task.state}")
        task = attrs.evolve(found.task, state="cancelled", due=None, retry_at=None)
        self._tasks[uuid] = attrs.evolve(found, task=task)
        self.done.append(f"cancel {uuid} by {by}")
        return ChangeView(result="cancelled", text="it will never be attempted")

    async def cancel_matching(
        self, queue: str, matches: Sequence[Match], progress: Progress, by: str
    ) -> None:
        found = self._find(queue)
        progress.total = found.delayed
        while found.delayed:
            await deferLater(self._reactor, 0.05)
            found.delayed -= 1
            progress.seen += 1
            progress.done += 1

    async def run_now(self, queue: str, uuid: str) -> ChangeView:
        self._find(queue)
        found = self._tasks.get(uuid)
        if found is None:
            return ChangeView(result="not_found", text="nobody knows the task")
        if found.task.state != "delayed":
            return ChangeView(result="not_delayed", text=f"it is {found.task.state}")
        task = attrs.evolve(found.task, state="running", due=None)
        self._tasks[uuid] = attrs.evolve(found, task=task)
        self.done.append(f"run {uuid}")
        return ChangeView(result="running", text="it is attempted now")

    # -- To measure

    def metrics(self, accept: str) -> tuple[str, bytes]:
        text = "# TYPE quebert_fake gauge\nquebert_fake 1\n# EOF\n"
        return "application/openmetrics-text; version=1.0.0", text.encode("ascii")

    def alive(self) -> Health:
        return Health(ok=True, body=b'{"alive": true}')

    def ready(self) -> Health:
        reasons = [self.broken] if self.broken else []
        told = {"ready": not self.broken, "reasons": reasons}
        return Health(ok=not self.broken, body=json.dumps(told).encode("ascii"))


def _matched(matches: Sequence[Match], dead: DeadView) -> bool:
    letter = _Letter(dead)
    return all(match(letter) for match in matches)


class _Letter(DeadLetter):
    """
    A dead letter that says what a view does.
    """

    def __init__(self, view: DeadView) -> None:
        super().__init__({}, b"")
        self._view = view

    def _text(self, name: str) -> str:
        raise AssertionError("nobody asks for a header")

    @property
    def kind(self) -> str:
        return self._view.kind

    @property
    def reason(self) -> str:
        return self._view.reason

    @property
    def status(self) -> str:
        return str(self._view.status or "")

    @property
    def answer(self) -> str:
        return self._view.answer

    @property
    def attempts(self) -> str:
        return str(self._view.attempts)

    @property
    def uuid(self) -> str:
        return self._view.uuid

    @property
    def url(self) -> str:
        return self._view.url


def _wanted(query: TaskQuery, detail: TaskDetail) -> bool:
    task = detail.task
    last = task.last
    return (
        task.uuid.startswith(query.q)
        and query.queue in ("", task.queue)
        and any(fnmatchcase(task.queue, each) for each in query.patterns)
        and query.url in task.url
        and (query.status is None or (last is not None and last.status == query.status))
        and (not query.outcome or (last is not None and last.outcome == query.outcome))
        and (not query.reason or (last is not None and query.reason in last.reason))
        and (query.after is None or (task.added or 0) >= query.after)
        and (query.before is None or (task.added or 0) < query.before)
    )


def _offset(token: str, most: int) -> int:
    if not token:
        return 0
    if token.isdigit() and int(token) <= most:
        return int(token)
    raise BadPageToken("the page token is none of ours, or too old")
