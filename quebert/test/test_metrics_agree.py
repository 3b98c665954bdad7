"""
All figures, after thousands of tasks with failures, expiry and burials, on three
mediators of which one is killed: what each mediator shows, what the events tell of all
of them, what C{quebert web} has of them in its API, its metrics, its history and on its
page, and what the executor saw, agree.
"""

from __future__ import annotations

import json
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import gatherResults

from quebert.amqp import TxAMQPClient
from quebert.events import (
    AttemptBatch,
    EventHandler,
    Gap,
    MediatorState,
    reading,
)
from quebert.metrics import ClusterMetrics
from quebert.producer import Producer
from quebert.test.conftest import AnyBroker, Names
from quebert.test.support import PATIENCE, Executor, Program, until
from quebert.test.test_processes import mediator
from quebert.test.test_view_process import Figures, Onlooker, Samples
from quebert.test.web_figures import PageFigures, WebFigures, page_figures, web_figures
from quebert.testing import EmbeddedBroker, RabbitMQNode, free_port

#: Tasks at once, of each mediator.
PREFETCH = 50
MEDIATORS = ("1", "2", "3")
KILLED = "3"
#: What becomes of attempts.
FATES = {
    "done": ("2xx", "done"),
    "buried": ("4xx", "buried"),
    "discarded": ("none", "expired"),
}
#: What becomes of an attempt with which status, and of its task in the end.
OUTCOMES = {200: "done", 410: "buried", 500: "retry"}
#: Of a task that comes too late.
LATE = {"ttl": 1, "timestamp": "2026-11-23T20:15:00Z"}
#: How many of ten tasks have which kind, and what becomes of these.
KINDS = {"plain": 7, "flaky": 1, "gone": 1, "late": 1}
ENDS = {"plain": "done", "flaky": "done", "gone": "buried", "late": "expired"}
#: Whole lives that are compared, beside those in which the mediator that is killed had
#: a part.
LIVES = 60


class Listening(EventHandler):
    """
    Counts what the events tell, of all mediators and of each.
    """

    def __init__(self) -> None:
        self.cluster = ClusterMetrics(since=0.0)
        self.of: dict[str, ClusterMetrics] = {}
        self.missing = 0

    def attempts(self, batch: AttemptBatch, gap: Gap | None) -> None:
        """
        Attempts of a mediator.
        """
        self.cluster.attempts(batch)
        self.of.setdefault(batch.mediator, ClusterMetrics(since=0.0)).attempts(batch)
        self.missing += 0 if gap is None else gap.count

    def state(self, state: MediatorState) -> None:
        """
        A mediator tells how it is.
        """

    async def until(self, name: str, shown: Counter[tuple[str, str]]) -> None:
        """
        Wait until a mediator has told as much as it shows.
        """
        await until(lambda: attempts_of(self.of[name]) == shown)


def attempts_of(metrics: ClusterMetrics) -> Counter[tuple[str, str]]:
    """
    How many attempts had which status and outcome.
    """
    found: Counter[tuple[str, str]] = Counter()
    for (_, status, outcome), number in metrics.samples()["attempts_total"]:
        found[status, outcome] += number
    return found


def shown_attempts(samples: Samples, queue: str) -> Counter[tuple[str, str]]:
    """
    The same of what is shown of a queue.
    """
    found: Counter[tuple[str, str]] = Counter()
    for (name, labels), value in samples.items():
        of = dict(labels)
        if name == "attempts_total" and of["queue"] == queue:
            found[of["status"], of["outcome"]] += int(value)
    return found


class Requests:
    """
    What the executor saw of each task, in order: which mediator asked, and the answer.
    """

    def __init__(self, executor: Executor) -> None:
        self.of: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self.seen: Counter[tuple[str, int]] = Counter()
        self.finished: set[str] = set()
        #: Those of the mediator that is killed, in order: the task, and the answer.
        self.of_killed: list[tuple[str, int]] = []
        self._executor = executor
        executor.answer = self._answer

    def _answer(self, task: Any) -> int:
        uuid, kind = task["uuid"], task["params"]["kind"]
        by = self._executor.headers[-1]["x-mediator"]
        tried = [each for each in self.of[uuid] if each[1] == 500]
        status = {"gone": 410, "flaky": 200 if tried else 500}.get(kind, 200)
        if status != 500:
            self.finished.add(uuid)
        self.of[uuid].append((by, status))
        self.seen[by, status] += 1
        if by == KILLED:
            self.of_killed.append((uuid, status))
        return status


def requests_of(life: Any, mediator: str) -> Counter[int]:
    """
    The statuses of the requests of a mediator for a task, as the history has them.
    """
    made = [each for each in life["attempts"] if each["mediator"] == mediator]
    answered = [each for each in made if each["status"] is not None]
    for each in answered:
        assert each["outcome"] == OUTCOMES[each["status"]]
    return Counter(each["status"] for each in answered)


def compare_lives(
    requests: Requests, lives: dict[str, Any], mediators: dict[str, str]
) -> None:
    """
    The lives of tasks in the history are those that the executor saw.  Of the mediator
    that was killed, only the newest attempts may be missing.

    @param mediators: their names, by their numbers.
    """
    told: Counter[tuple[str, int]] = Counter()
    for uuid, life in lives.items():
        for number, name in mediators.items():
            found = requests_of(life, name)
            if number == KILLED:
                told.update({(uuid, status): n for status, n in found.items()})
            else:
                seen = Counter(n for by, n in requests.of[uuid] if by == number)
                assert found == seen, (uuid, number, life)
    last_told, first_untold = -1, len(requests.of_killed)
    for place, each in enumerate(requests.of_killed):
        if told[each]:
            told[each] -= 1
            last_told = place
        else:
            first_untold = min(first_untold, place)
    assert not told.total(), told
    # Answers come in another order than requests, by no more than there are at once.
    assert last_told < first_untold + PREFETCH


def write(path: Path, names: Names, executor: Executor, number: str, port: int) -> Path:
    """
    Write the configuration of a mediator.
    """
    config = path / f"{number}.toml"
    config.write_text(
        f'broker.url_env = "QUEBERT_AMQP_URL"\nweb.listen = {port}\n'
        f'service.default_url = "{executor.url}"\nservice.log_tasks = false\n'
        f'[queues.{names.queue}]\nexchange = "{names.exchange}"\n'
        f'key = "{names.key}"\nprefetch = {PREFETCH}\npermanent = [410]\n'
        "retry = { min_backoff = 1, max_backoff = 1 }\n"
        f'headers.X-Mediator = "{number}"\n'
    )
    return config


def tasks_of(names: Names, count: int) -> dict[str, dict[str, Any]]:
    """
    Tasks of all kinds, by their uuids.
    """
    kinds = [kind for kind, share in KINDS.items() for _ in range(share)]
    found: dict[str, dict[str, Any]] = {}
    for number in range(count):
        kind = kinds[number % 10]
        found[f"{kind}-{number}"] = {
            "uuid": f"{kind}-{number}",
            "url": "/x",
            "kind": names.key.partition(".")[0],
            "params": {"kind": kind},
        }
    return found


@pytest.fixture
def broker(
    chosen_broker: AnyBroker, request: pytest.FixtureRequest
) -> Iterator[AnyBroker]:
    """
    A broker on whose delay ladder other tests have left nothing: quebert web looks
    through 200 delayed tasks, and does not know how many of a queue wait behind them.
    """
    if isinstance(chosen_broker, RabbitMQNode):
        yield request.getfixturevalue("own_rabbitmq")
    else:
        with EmbeddedBroker() as embedded:
            yield embedded


@ensureDeferred
@pytest.mark.parametrize("count", [600, pytest.param(20_000, marks=pytest.mark.long)])
async def test_agree(
    broker: AnyBroker,
    client: TxAMQPClient,
    executor: Executor,
    start: Callable[..., Program],
    names: Names,
    tmp_path: Path,
    count: int,
) -> None:
    """
    To the unit, but for the attempts of the last batch of the mediator that is killed.
    """
    requests = Requests(executor)
    onlookers = {each: Onlooker(free_port()) for each in MEDIATORS}
    programs: dict[str, Program] = {}
    listening = Listening()
    async with web_figures(start, broker, names.queue, tmp_path) as web:
        for each in MEDIATORS:
            config = write(tmp_path, names, executor, each, onlookers[each].port)
            programs[each] = mediator(start, broker, f"--config={config}")
        for onlooker in onlookers.values():
            await onlooker.ready()
        async with page_figures(web) as page, reading(client, listening):
            tasks = tasks_of(names, count)
            await add(client, names, tasks)
            await until(lambda: requests.seen.total() > count // 3)
            await until(lambda: len(listening.of) == len(MEDIATORS))
            programs[KILLED].signal(signal.SIGKILL)

            def is_over() -> bool:
                return len(requests.finished) == count * 9 // 10 and not executor.now

            patience = max(PATIENCE, count / 50)
            await until(is_over, patience, lambda: requests.seen)
            living: Counter[tuple[str, str]] = Counter()
            known: dict[str, str] = {}
            for each in set(MEDIATORS) - {KILLED}:
                known[each], shown = await shown_by(
                    onlookers[each], requests, names.queue, each
                )
                await listening.until(known[each], shown)
                living += shown
            everything = attempts_of(listening.cluster)
            check_sums(requests, everything, living, count)
            assert listening.missing == 0
            [known[KILLED]] = listening.of.keys() - known.values()
            dead = await check_web(web, tasks, everything, living)
            await check_tasks(web, requests, tasks, known)
            if page is not None:
                await check_page(page, everything, dead)
                flaky = next(
                    uuid
                    for uuid, seen in requests.of.items()
                    if [status for _, status in seen] == [500, 200]
                    and all(by != KILLED for by, _ in seen)
                )
                assert await page.statuses(flaky) == ["500", "200"]


async def add(client: TxAMQPClient, names: Names, tasks: dict[str, Any]) -> None:
    """
    Add tasks, of which those that come too late go by a publish.
    """
    to = names.key.replace("#", "medium")
    late = [
        client.publish(names.exchange, to, json.dumps({**each, **LATE}).encode())
        for each in tasks.values()
        if each["params"]["kind"] == "late"
    ]
    items = [each for each in tasks.values() if each["params"]["kind"] != "late"]
    results: list[Any] = []
    producer = Producer(client, names.exchange)
    added = await producer.add_tasks(items, results.append)
    assert added == len(items), results[0]
    await gatherResults(late)


async def shown_by(
    onlooker: Onlooker, requests: Requests, queue: str, number: str
) -> tuple[str, Counter[tuple[str, str]]]:
    """
    The name of a mediator, and the attempts that it shows, once these are those that
    the executor saw.
    """

    def agrees(samples: Samples) -> bool:
        shown, figures = shown_attempts(samples, queue), Figures(samples, queue)
        seen = {n: requests.seen[number, n] for n in OUTCOMES}
        return (
            shown["2xx", "done"] == seen[200]
            and shown["4xx", "buried"] == seen[410]
            # Those that waited for their host are retried, too.
            and shown["5xx", "retry"]
            == seen[500]
            <= figures("tasks_settled_total", fate="retried")
            and figures("tasks_in_flight") == 0
            and all(
                figures("tasks_settled_total", fate=fate) == shown[key]
                for fate, key in FATES.items()
            )
        )

    samples = await onlooker.samples(agrees)
    shown = shown_attempts(samples, queue)
    requested = Figures(samples, queue)("request_duration_seconds_count")
    assert requested == requests_in(shown)
    [(_, name)] = (next(iter(of)) for each, of in samples if each == "mediator_up")
    return name, shown


def requests_in(attempts: Counter[tuple[str, str]]) -> int:
    """
    How many of these had an answer.
    """
    return sum(n for (status, _), n in attempts.items() if status != "none")


def check_sums(
    requests: Requests,
    everything: Counter[tuple[str, str]],
    living: Counter[tuple[str, str]],
    count: int,
) -> None:
    """
    What all mediators told is what the executor saw, but for what the one that was
    killed had no time to tell; what it had in flight came again.
    """
    killed = sum(requests.seen[KILLED, status] for status in OUTCOMES)
    untold = killed - requests_in(everything - living)
    assert 0 <= untold <= killed
    tenth = count // 10
    over = {("2xx", "done"): 8 * tenth, ("4xx", "buried"): tenth}
    for key, number in over.items():
        assert everything[key] <= number + PREFETCH
        assert everything[key] + untold >= number


def kind_of(uuid: str) -> str:
    """
    The kind of a task.
    """
    return uuid.partition("-")[0]


async def check_web(
    web: WebFigures,
    tasks: Iterable[str],
    everything: Counter[tuple[str, str]],
    living: Counter[Any],
) -> int:
    """
    C{quebert web} has all that was told, in its metrics, its history and its API, to
    the unit; gives how many tasks are dead.
    """
    outcomes: Counter[str] = Counter()
    for (_, outcome), number in everything.items():
        outcomes[outcome] += number

    def agrees(samples: Samples) -> bool:
        figures = Figures(samples, web.queue)
        # A mediator tells its own counts each two seconds.
        return shown_attempts(samples, web.queue) == everything and all(
            living[key] <= figures("tasks_settled_total", fate=fate)
            for fate, key in FATES.items()
        )

    figures = Figures(await web.onlooker.samples(agrees), web.queue)
    assert figures("request_duration_seconds_count") == requests_in(everything)
    assert figures("task_life_seconds_count") == outcomes.total() - sum(
        outcomes[each] for each in ("retry", "postponed")
    )
    for fate, key in FATES.items():
        settled = figures("tasks_settled_total", fate=fate)
        assert settled <= everything[key] + PREFETCH
    await web.counted(outcomes)
    # It takes some seconds until it is seen that a mediator was killed.
    waiting = ("ready", "running", "delayed", "retrying")
    row, dead = await web.row_and_dead(
        lambda row: row["consumers"] == 2 and all(row[each] == 0 for each in waiting)
    )
    assert dead["count"] == sum(each["count"] for each in dead["groups"])
    # Some may be buried twice: those that the mediator had that was killed.
    buried = sum(ENDS[kind] == "buried" for kind in map(kind_of, tasks))
    assert buried <= dead["count"] <= buried + PREFETCH
    columns = (await web.ask(f"/v1/queues/{web.queue}"))["latency"]["columns"]
    took = sum(sum(each["counts"]) for each in columns)
    assert took == requests_in(everything)
    return int(row["dead"])


async def check_tasks(
    web: WebFigures,
    requests: Requests,
    tasks: dict[str, dict[str, Any]],
    known: dict[str, str],
) -> None:
    """
    The history has each task with its end, and with as many attempts as the executor
    saw; and the whole lives of some, and of all in which the mediator that was killed
    had a part.

    @param known: the names of the mediators, by their numbers.
    """
    told = await web.tasks()
    assert told.keys() <= tasks.keys()
    shared = {uuid for uuid, _ in requests.of_killed}
    for uuid in tasks:
        kind = kind_of(uuid)
        if uuid in shared or kind == "late":
            continue
        assert told[uuid]["state"] == ENDS[kind], told[uuid]
        assert told[uuid]["attempts"] == len(requests.of[uuid]), told[uuid]
    some = [*told][:: len(told) // LIVES]
    compare_lives(requests, await web.lives({*some, *shared} & told.keys()), known)


async def check_page(
    page: PageFigures, everything: Counter[tuple[str, str]], dead: int
) -> None:
    """
    The page shows what the API tells.
    """
    row = {"Ready": 0, "Running": 0, "Delayed": 0, "Retrying": 0, "Dead": dead}
    await page.until({**row, "Cons.": 2}, everything.total())
    assert await page.dead() == dead
