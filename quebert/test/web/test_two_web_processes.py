"""
Two C{quebert web} on one database of created tasks, as processes: on PostgreSQL both
create tasks, and on SQLite the second one does when the first has ended.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pika
import psycopg
import pytest

from quebert.test.contract.patience import until
from quebert.test.operating import add_vhost
from quebert.test.postgresql import PostgreSQLServer
from quebert.test.support import Program
from quebert.testing import RabbitMQNode, free_port
from quebert.web import EVERYTHING, new_token, token_line

#: Seconds: far more than anything takes.
PATIENCE = 60.0


class TwoServers:
    """
    Two C{quebert web}, of which each has a history of its own.

    @ivar programs: those that run, by their names.
    """

    def __init__(
        self, start: Callable[..., Program], amqp: str, tasks: str, folder: Path
    ) -> None:
        self._start, self._amqp, self._tasks = start, amqp, tasks
        self._folder = folder
        self._ports = {"a": free_port(), "b": free_port()}
        self._token = new_token()
        (folder / "tokens").touch(0o600)
        line = token_line("all", sorted(EVERYTHING), ["*"], self._token)
        (folder / "tokens").write_text(f"{line}\n")
        self.programs: dict[str, Program] = {}
        with self.channel() as channel:
            channel.queue_declare("tasks", durable=True)

    def begin(self, name: str) -> None:
        """
        Start one.
        """
        self.programs[name] = self._start(
            *("-m", "quebert", "web", "--amqp-url", self._amqp),
            *("--listen", str(self._ports[name]), "--tasks", self._tasks),
            *("--history", str(self._folder / f"{name}.sqlite")),
            *("--tokens", str(self._folder / "tokens")),
        )

    def ask(
        self,
        name: str,
        path: str,
        body: Any = None,
        key: str = "",
        method: str | None = None,
    ) -> Any:
        """
        The status and the answer of one; 0 where there is none.
        """
        headers = {"Authorization": f"Bearer {self._token}"}
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        if key:
            headers["Idempotency-Key"] = key
        url = f"http://127.0.0.1:{self._ports[name]}/v1/{path}"
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as e:
            with e:
                return e.code, json.load(e)
        except OSError:
            return 0, None

    def creates(self, server: str, **fields: Any) -> bool:
        """
        Whether one creates a task.
        """
        body = {"url": "http://127.0.0.1:9/", **fields}
        return bool(self.ask(server, "tasks", body)[0] == 201)

    def await_creating(self, name: str) -> None:
        """
        Wait until one creates tasks.
        """
        until(lambda: self.creates(name), self.output, PATIENCE)

    def output(self) -> str:
        """
        What both have said.
        """
        return "\n".join(each.output for each in self.programs.values())

    def channel(self) -> Any:
        """
        A channel to RabbitMQ, whose connection ends with it.
        """
        return _Channel(self._amqp)


class _Channel:
    def __init__(self, url: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(url))

    def __enter__(self) -> Any:
        return self._connection.channel()

    def __exit__(self, *_: object) -> None:
        self._connection.close()


@pytest.fixture
def make_servers(
    start: Callable[..., Program],
    rabbitmq: RabbitMQNode,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Callable[[str], TwoServers]:
    """
    Makes two on a database.
    """
    name = request.node.name.replace("_", "-")
    amqp = add_vhost(rabbitmq, name)
    return lambda tasks: TwoServers(start, amqp, tasks, tmp_path)


def test_postgresql(
    make_servers: Callable[[str], TwoServers], postgresql: PostgreSQLServer
) -> None:
    """
    Both create tasks, a name is that of one; what a killed one has begun is published
    once by the other.
    """
    where = postgresql.new_database()
    servers = make_servers(where)
    for name in "ab":
        servers.begin(name)
        servers.await_creating(name)

    def names(server: str) -> int:
        return sum(servers.creates(server, name=f"n{n}") for n in range(50))

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(names, "ab")) == 50
    with servers.channel() as channel:
        channel.queue_purge("tasks")
    # As if the first one was killed before it published a task.
    key = {"url": "http://127.0.0.1:9/", "params": 1}
    status, told = servers.ask("a", "tasks", key, "k")
    assert status == 201
    with servers.channel() as channel:
        channel.queue_purge("tasks")
    servers.programs["a"].kill()
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute(
            "UPDATE quebert_tasks.tasks SET state = 'new', created = created - 60"
            " WHERE uuid = %s",
            [told["uuid"].encode()],
        )

    def ready() -> int:
        with servers.channel() as channel:
            found = channel.queue_declare("tasks", passive=True)
            return int(found.method.message_count)

    until(lambda: ready() == 1, servers.output, PATIENCE)
    assert servers.ask("b", "tasks", key, "k")[1]["uuid"] == told["uuid"]
    until(
        lambda: (
            servers.ask("b", f"tasks/{told['uuid']}")[1]["created"]["state"]
            == "published"
        ),
        servers.output,
        PATIENCE,
    )
    servers.begin("a")
    servers.await_creating("a")
    assert servers.creates("b")
    assert ready() == 3
    # As if the first one had begun with the task just before it was killed.
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute(
            "UPDATE quebert_tasks.tasks SET state = 'new',"
            " created = extract(epoch FROM now()) WHERE uuid = %s",
            [told["uuid"].encode()],
        )
    assert servers.ask("b", "tasks", key, "k")[0] == 201
    assert ready() == 4


def test_deletions(
    make_servers: Callable[[str], TwoServers], postgresql: PostgreSQLServer
) -> None:
    """
    Either deletes tasks of both, although one reads the notes of deletions.  When that
    one is killed, the other one reads them.
    """
    servers = make_servers(postgresql.new_database())
    for name in "ab":
        servers.begin(name)
        servers.await_creating(name)

    def result(creating: str, deleting: str) -> Any:
        _, task = servers.ask(creating, "tasks", {"url": "http://127.0.0.1:9/"})
        path = f"tasks/{task['uuid']}"
        return servers.ask(deleting, path, method="DELETE")[1].get("result")

    # The queue for the notes is declared a moment later than tasks can be created.
    until(lambda: result("a", "a") == "cancelled", servers.output, PATIENCE)
    for creating, deleting in ("ab", "ba", "aa", "bb"):
        assert result(creating, deleting) == "cancelled"
    servers.programs["a"].kill()
    until(lambda: result("b", "b") == "cancelled", servers.output, PATIENCE)


def test_sqlite(make_servers: Callable[[str], TwoServers], tmp_path: Path) -> None:
    """
    The second one creates tasks when the first was killed; until then it says why not.
    """
    servers = make_servers(str(tmp_path / "tasks.sqlite"))
    servers.begin("a")
    servers.await_creating("a")
    servers.begin("b")

    def refuses() -> bool:
        status, told = servers.ask("b", "tasks", {"url": "http://127.0.0.1:9/"})
        return status == 503 and "another process has the tasks" in told["detail"]

    until(refuses, servers.output, PATIENCE)
    problems = servers.ask("b", "overview")[1]["problems"]
    assert any("another process has the tasks" in each for each in problems)
    servers.programs["a"].kill()
    servers.await_creating("b")
