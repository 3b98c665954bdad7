"""
Clients of the HTTP API that give up no request, and note what they are told.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from queue import Queue
from typing import Any, TypeVar
from urllib.parse import urlsplit

import attrs

from quebert.test.durability._orders import DELETE, NOTHING, RUN, Order

__all__ = ["ENDED", "AcceptedTask", "Client", "Clients", "Told"]

#: Seconds in which an answer must come, and in which a request must be answered for
#: good, whatever is killed meanwhile.
TIMEOUT, PATIENCE = 30.0, 300.0
# Seconds in which a task is found that is to run now: RabbitMQ may be killed again and
# again while it is looked for.
_RUN_PATIENCE = 900.0
# Seconds until a request is made again.
_AGAIN = 0.2
#: That a task that is to be deleted is done, or that an earlier try has deleted it.
ENDED = "ended"
# Clients that delete tasks and run them now, for each that creates some; and tasks that
# may wait for these.
_CHANGERS, _WAITING = 3, 200
# Answers that say: ask again.
_LATER = (429, 503)


S = TypeVar("S")
T = TypeVar("T")


class DurabilityError(Exception):
    """
    A request is not answered, or in a way that nobody expects.
    """


@attrs.define
class AcceptedTask:
    """
    A task that was answered with 201.

    @ivar label: as its executor sees it: C{NUMBER/COPY.TRY}.
    @ivar fate: what was done with it.
    @ivar told: the result of its deletion.
    @ivar told_at: when that was answered, in seconds since the epoch.
    """

    label: str
    uuid: str
    order: Order
    fate: str = NOTHING
    told: str = ""
    told_at: float = 0.0


@attrs.define
class Told:
    """
    What clients were told.

    @ivar accepted: the tasks, by their labels.
    @ivar taken: names that were refused, since they were taken.
    @ivar answers: how often there was each status; 0 for no answer.
    @ivar results: how often there was each result of a deletion and of C{:run}.
    @ivar broken: answers that should not be; sentences.
    @ivar longest: seconds that one request took until it was answered for good.
    """

    accepted: dict[str, AcceptedTask] = attrs.field(factory=dict)
    taken: set[tuple[str, str]] = attrs.field(factory=set)
    answers: Counter[int] = attrs.field(factory=Counter)
    results: Counter[str] = attrs.field(factory=Counter)
    broken: list[str] = attrs.field(factory=list)
    longest: float = 0.0

    def by_name(self) -> Mapping[tuple[str, str], list[AcceptedTask]]:
        """
        The tasks of each queue and name.
        """
        found = defaultdict(list)
        for each in self.accepted.values():
            if each.order.name is not None:
                found[each.order.queue, each.order.name].append(each)
        return found

    def by_key(self) -> Mapping[tuple[str, int], set[str]]:
        """
        The uuids of each key and number.
        """
        found = defaultdict(set)
        for each in self.accepted.values():
            if each.order.key is not None:
                number = int(each.label.partition("/")[0])
                found[each.order.key, number].add(each.uuid)
        return found


class Client:
    """
    Makes requests until they are answered.

    @param base: the URL of the API, without a path.
    @param told: notes the answers.
    """

    def __init__(self, base: str, token: str, told: Told) -> None:
        self._place = urlsplit(base).netloc
        self._token = token
        self._told = told
        self._connection: http.client.HTTPConnection | None = None

    def once(
        self, method: str, path: str, body: Any = None, key: str | None = None
    ) -> tuple[int, Any]:
        """
        Make a request; gives the status, 0 without an answer, and its JSON.
        """
        headers = {"Authorization": f"Bearer {self._token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if key is not None:
            headers["Idempotency-Key"] = key
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._place, timeout=TIMEOUT)
        try:
            text = None if body is None else json.dumps(body)
            self._connection.request(method, path, text, headers)
            answer = self._connection.getresponse()
            status, found = answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            self.close()
            status, found = 0, None
        self._told.answers[status] += 1
        return status, found

    def close(self) -> None:
        """
        End its connection.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def ask(
        self, method: str, path: str, bodies: Iterable[Any], key: str | None = None
    ) -> tuple[int, Any, int]:
        """
        Make a request again and again.

        @param bodies: of one try after the other.
        @return: the status, the JSON, and the number of the try.
        """
        began = time.monotonic()
        for number, body in enumerate(bodies):
            status, found = self.once(method, path, body, key)
            took = time.monotonic() - began
            if status and status not in _LATER:
                self._told.longest = max(self._told.longest, took)
                return status, found, number
            if took > PATIENCE:
                break
            time.sleep(_AGAIN)
        raise DurabilityError(f"{method} {path}: no answer, but {status} {found}")


class Clients:
    """
    Some clients, each in a thread.

    @param orders: what they ask for, in turns.
    @param executor: the URL that tasks are sent to.
    @ivar told: what they were told.
    """

    def __init__(
        self, base: str, token: str, orders: Iterable[Order], executor: str
    ) -> None:
        self.told = Told()
        self._base, self._token = base, token
        self._orders = iter(orders)
        self._executor = executor
        self._lock = threading.Lock()
        self._created: Queue[AcceptedTask | None] = Queue(_WAITING)

    def run(self, number: int, created: Callable[[], object]) -> None:
        """
        Have so many clients carry out all orders, and more of them delete tasks and run
        them now, which takes longer: those that create tasks wait for these.

        @param created: called when all tasks are created.
        """
        creators = [_thread(self._create_all) for _ in range(number)]
        others = [_thread(self._change_all) for _ in range(_CHANGERS * number)]
        for each in (*creators, *others):
            each.start()
        for each in creators:
            each.join()
        created()
        for _ in others:
            self._created.put(None)
        for each in others:
            each.join()

    @contextmanager
    def client(self) -> Iterator[Client]:
        """
        A client more.
        """
        client = Client(self._base, self._token, self.told)
        try:
            yield client
        finally:
            client.close()

    def _create_all(self) -> None:
        with self.client() as client:
            while (order := self._next()) is not None:
                is_one = len(order.numbers) == 1
                create = self._create if is_one else self._create_many
                task = self._tried(create, client, order)
                if task is not None and order.then:
                    self._created.put(task)

    def _next(self) -> Order | None:
        with self._lock:
            return next(self._orders, None)

    def _change_all(self) -> None:
        with self.client() as client:
            while (task := self._created.get()) is not None:
                change = self._delete if task.order.then == DELETE else self._run_now
                self._tried(change, client, task)

    def _tried(
        self, work: Callable[[Client, S], T], client: Client, what: S
    ) -> T | None:
        try:
            return work(client, what)
        except Exception as e:
            self.told.broken.append(f"{what}: {type(e).__name__}: {e}")
            return None

    # -- Creating

    def _fields(self, order: Order, number: int, tried: int) -> dict[str, Any]:
        """
        A task.  Requests that are to be the same have the same label.
        """
        copy = 0 if order.key is not None else order.copy
        attempt = 0 if order.key is not None else tried
        fields: dict[str, Any] = {
            "queue": order.queue,
            "url": self._executor,
            "params": f"{number}/{copy}.{attempt}",
        }
        if order.name is not None:
            fields["name"] = order.name
        if order.delay:
            fields["delay"] = order.delay
        return fields

    def _bodies(self, order: Order) -> Iterator[Any]:
        tried = 0
        while True:
            yield self._fields(order, order.numbers[0], tried)
            tried += 1

    def _create(self, client: Client, order: Order) -> AcceptedTask | None:
        path = "/v1/tasks"
        status, found, tried = client.ask("POST", path, self._bodies(order), order.key)
        if status == 201:
            label = self._fields(order, order.numbers[0], tried)["params"]
            return self._accept(label, found, order)
        if status == 409 and order.name is not None:
            self.told.taken.add((order.queue, order.name))
            if order.then == RUN:  # else it would wait for an hour
                return self._named(client, order)
        else:
            self.told.broken.append(f"{order}: {status} {found}")
        return None

    def _named(self, client: Client, order: Order) -> AcceptedTask:
        """
        The task that has the name of an order.
        """
        path = f"/v1/tasks?name={order.name}&queue={order.queue}"
        _, found, _ = client.ask("GET", path, _forever(None))
        [task] = found["tasks"]
        return AcceptedTask("", task["uuid"], order)

    def _accept(self, label: str, found: Any, order: Order) -> AcceptedTask:
        accepted = AcceptedTask(label, found["uuid"], order)
        with self._lock:
            before = self.told.accepted.setdefault(label, accepted)
        if before.uuid != accepted.uuid:
            self.told.broken.append(f"{label}: {before.uuid} and {accepted.uuid}")
        return before

    def _create_many(self, client: Client, order: Order) -> None:
        """
        Create a batch; it is asked for again until each of its tasks is created.
        """
        body = {"tasks": [self._fields(order, n, 0) for n in order.numbers]}
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            path = "/v1/tasks:batch"
            status, found, _ = client.ask("POST", path, _forever(body), order.key)
            if status != 200:
                raise DurabilityError(f"{status} {found}")
            missing = 0
            for task, told in zip(body["tasks"], found["results"], strict=True):
                if told["status"] == 201:
                    self._accept(task["params"], told["task"], order)
                elif told["status"] in _LATER:
                    missing += 1
                else:
                    raise DurabilityError(str(told))
            if not missing:
                return
            time.sleep(_AGAIN)
        raise DurabilityError("no answer")

    # -- What is done with a task that was created

    def _delete(self, client: Client, task: AcceptedTask) -> None:
        path = f"/v1/tasks/{task.uuid}"
        status, found, _ = client.ask("DELETE", path, _forever(None))
        if status == 200:
            task.told_at = time.time()
            task.fate, task.told = DELETE, found["result"]
        elif status == 410:
            task.fate, task.told = DELETE, ENDED
        else:
            self.told.broken.append(f"DELETE {task}: {status} {found}")
        self.told.results[f"delete: {task.told}"] += 1

    def _run_now(self, client: Client, task: AcceptedTask) -> None:
        """
        Run a task now; it is asked for again as long as the task was on its way.
        """
        path = f"/v1/tasks/{task.uuid}:run"
        deadline = time.monotonic() + _RUN_PATIENCE
        while time.monotonic() < deadline:
            status, found, _ = client.ask("POST", path, _forever({}))
            result = found["result"] if status == 200 else str(status)
            self.told.results[f"run: {result}"] += 1
            if status == 410 or result in ("running", "not_delayed"):
                task.fate = RUN
                return
            if status != 200:
                break
            time.sleep(_AGAIN)
        self.told.broken.append(f"run {task}: {status} {found}")


def _forever(body: Any) -> Iterator[Any]:
    while True:
        yield body


def _thread(work: Callable[[], None]) -> threading.Thread:
    return threading.Thread(target=work, daemon=True)
