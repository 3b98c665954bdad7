"""
C{quebert web} as a process, over TLS, with a broker beside it: what mediators tell
reaches the page, the API and the history, whatever is killed.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pika
import pytest
from trustme import CA

import quebert
from quebert.amqp.queues import KIND, REASON
from quebert.events import ATTEMPTS, EXCHANGE, AttemptBatch, AttemptRecord, encode_batch
from quebert.test.contract.patience import until
from quebert.test.operating import add_vhost
from quebert.testing import RabbitMQNode, free_port
from quebert.web import hash_of

ROOT = Path(quebert.__file__).parents[1]
#: Seconds: far more than anything takes.
PATIENCE = 60.0


def attempts(
    mediator: str, sequence: int, count: int, queue: str = "tasks"
) -> AttemptBatch:
    """
    A batch of attempts, whose uuids begin with the number of the batch.
    """
    now = time.time()
    records = tuple(
        AttemptRecord(
            uuid=str(UUID(int=(sequence << 96) + number)),
            queue=queue,
            url=f"http://x/{number}",
            number=1,
            added=now - 2,
            started=now - 0.25,
            ended=now,
            status=200,
            outcome="done",
        )
        for number in range(count)
    )
    total = sequence * count
    return AttemptBatch(
        mediator=mediator, sequence=sequence, at=now, records=records, total=total
    )


class Stage:
    """
    A broker and C{quebert web}, in a folder.

    @ivar amqp_url: where the broker is.
    """

    def __init__(self, folder: Path, amqp_url: str = "") -> None:
        self.folder = folder
        authority = CA()
        pem = folder / "web.pem"
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
            str(pem)
        )
        self._context = ssl.create_default_context()
        authority.configure_trust(self._context)
        self.tokens = folder / "tokens"
        self.tokens.touch(0o600)
        self.tokens.write_text(f"anna read,operate * {hash_of('secret')}\n")
        self._amqp_port, self.port = free_port(), free_port()
        self.amqp_url = amqp_url or f"amqp://guest:guest@127.0.0.1:{self._amqp_port}/"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """
        Start a process, and wait until it answers.
        """
        words = {
            "broker": ["broker", "--memory", "--port", str(self._amqp_port)],
            "web": [
                "web",
                *("--amqp-url", self.amqp_url, "--listen", str(self.port)),
                *("--history", "history.sqlite", "--audit", "audit"),
                *("--tokens", str(self.tokens), "--certfile", "web.pem"),
                *("--queue", "tasks"),
            ],
        }[name]
        with open(self.folder / name, "ab") as output:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "quebert", *words],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        until(self._answers if name == "web" else self._listens, self.output, PATIENCE)

    def _listens(self) -> bool:
        return b"broker" in (self.folder / "broker").read_bytes()

    def _answers(self) -> bool:
        assert self._processes["web"].poll() is None, self.output()
        try:
            return self.ask("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def output(self) -> str:
        """
        What the processes have written.
        """
        files = (self.folder / name for name in ("broker", "web"))
        return "".join(each.read_text() for each in files if each.exists())

    def signal(self, name: str, number: signal.Signals) -> None:
        """
        Send a signal to a process.
        """
        self._processes[name].send_signal(number)

    def kill(self, name: str) -> None:
        """
        End a process at once.
        """
        self.signal(name, signal.SIGKILL)
        self._processes.pop(name).wait(PATIENCE)

    def connection(self) -> http.client.HTTPSConnection:
        """
        A connection to the web server.
        """
        return http.client.HTTPSConnection(
            "localhost", self.port, timeout=PATIENCE, context=self._context
        )

    def ask(
        self, method: str, target: str, body: Any = None, token: str = "secret"
    ) -> tuple[int, Any]:
        """
        The status and the JSON that a request is answered with.
        """
        headers = {"Authorization": f"Bearer {token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = self.connection()
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, target, text, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def get(self, target: str) -> Mapping[str, Any]:
        """
        What a GET gives that succeeds.
        """
        status, found = self.ask("GET", target)
        assert status == 200, found
        assert isinstance(found, dict)
        return found

    def queue(self, name: str = "tasks") -> Mapping[str, Any]:
        """
        A queue in the overview.
        """
        queues = self.get("/v1/overview")["queues"]
        return next((each for each in queues if each["name"] == name), {})

    def publish(self, *batches: AttemptBatch) -> None:
        """
        Tell of attempts.
        """
        with self.channel() as channel:
            for batch in batches:
                channel.basic_publish(EXCHANGE, ATTEMPTS, encode_batch(batch))

    @contextmanager
    def channel(self) -> Iterator[Any]:
        """
        A channel to the broker.
        """
        connection = pika.BlockingConnection(pika.URLParameters(self.amqp_url))
        try:
            yield connection.channel()
        finally:
            connection.close()

    def in_history(self) -> int:
        """
        How many attempts are in the database.
        """
        with closing(sqlite3.connect(self.folder / "history.sqlite")) as connection:
            query = "SELECT count(*) FROM entries WHERE number > 0"
            (count,) = connection.execute(query).fetchone()
        return int(count)

    def end(self) -> None:
        """
        End all, and see that they end well.
        """
        for name in ("web", "broker"):
            if name in self._processes:
                self.signal(name, signal.SIGTERM)
        try:
            for process in self._processes.values():
                assert process.wait(PATIENCE) == 0, self.output()
        finally:
            for process in self._processes.values():
                process.kill()
                process.wait(PATIENCE)
        assert "Traceback" not in self.output(), self.output()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """
    One for all tests of a worker, which may have only the last ones.
    """
    made = Stage(tmp_path_factory.mktemp("web"))
    try:
        made.start("broker")
        made.start("web")
        yield made
    finally:
        made.end()


def test_attempts(stage: Stage) -> None:
    """
    Attempts are seen while they end, and are in the history.
    """
    listening = stage.connection()
    listening.request("GET", "/v1/events", headers={"Authorization": "Bearer secret"})
    stream = listening.getresponse()
    assert stream.status == 200
    stage.publish(attempts("m", 1, 100), attempts("m", 2, 100))
    counted = 0
    while counted < 200:
        line = stream.readline()
        assert line, stage.output()
        if line.startswith(b'data: {"count"'):
            counted += json.loads(line[6:])["count"]
    listening.close()
    until(lambda: stage.in_history() == 200, stage.output, PATIENCE)
    found = stage.get("/v1/queues/tasks")
    assert len(found["attempts"]) == 50
    assert found["p50"] == pytest.approx(0.25, rel=0.25)
    assert sum(sum(each["counts"]) for each in found["latency"]["columns"]) == 200
    tasks = stage.get("/v1/tasks?q=00000002&page_size=60")
    assert len(tasks["tasks"]) == 60
    assert tasks["next_page_token"]
    uuid = tasks["tasks"][0]["uuid"]
    assert stage.get(f"/v1/tasks/{uuid}")["attempts"][0]["outcome"] == "done"
    status, found = stage.ask("GET", "/v1/tasks?page_token=odd")
    assert (status, found["field"]) == (400, "page_token")


def test_killed(stage: Stage) -> None:
    """
    What happens while it is killed is in the history once it is there again, and what
    was lost on the way is told as a gap.
    """
    before = stage.in_history()
    stage.kill("web")
    stage.publish(*(attempts("m", number, 100) for number in (3, 4)))
    stage.start("web")
    stage.publish(attempts("m", 6, 100))
    until(lambda: stage.in_history() == before + 300, stage.output, PATIENCE)

    def history() -> Any:
        return stage.get("/v1/overview")["history"]

    until(lambda: history()["ok"] and history()["gaps"], stage.output, PATIENCE)
    found = history()
    assert (found["gaps"], found["dropped"]) == (1, 100)


def test_rabbitmq(
    rabbitmq: RabbitMQNode, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """
    Attempts are in the history on RabbitMQ, too, whatever is killed.
    """
    folder = tmp_path_factory.mktemp("rabbitmq")
    stage = Stage(folder, add_vhost(rabbitmq, "quebert-web"))
    try:
        stage.start("web")
        test_attempts(stage)
        test_killed(stage)
    finally:
        stage.end()


def test_dead_letters(stage: Stage) -> None:
    """
    Dead letters are grouped and redriven.
    """
    with stage.channel() as channel:
        channel.queue_declare("tasks", durable=True)
        channel.queue_declare("tasks.dead", durable=True)
        for number in range(30):
            kind = "poison" if number % 3 else "exhausted"
            headers = {KIND: kind, REASON: f"reason {number % 2}"}
            body = json.dumps({"uuid": f"u{number}", "url": "http://x/?secret=1"})
            properties = pika.BasicProperties(headers=headers)
            channel.basic_publish("", "tasks.dead", body.encode(), properties)
    until(lambda: stage.queue().get("dead") == 30, stage.output, PATIENCE)
    target = "/v1/queues/tasks/dead?match=kind%3Dpoison&page_size=15"
    page = stage.get(target)
    assert (page["count"], len(page["dead"])) == (20, 15)
    assert {each["kind"] for each in page["groups"]} == {"poison"}
    assert "secret" not in json.dumps(page)
    rest = stage.get(f"{target}&page_token={page['next_page_token']}")
    assert (len(rest["dead"]), rest["next_page_token"]) == (5, None)
    wanted = {"match": ["kind=poison"]}
    status, found = stage.ask("POST", "/v1/queues/tasks/dead:redrive", wanted)
    assert status == 202, found
    operation = f"/v1/operations/{found['operation']}"
    until(lambda: stage.get(operation)["done"], stage.output, PATIENCE)
    assert stage.get(operation)["count"] == 20
    assert stage.get(operation)["problem"] == ""
    until(lambda: stage.queue()["ready"] == 20, stage.output, PATIENCE)
    assert stage.get("/v1/queues/tasks/dead")["count"] == 10
    until(lambda: stage.ask("GET", "/v1/tasks/u1")[0] == 200, stage.output, PATIENCE)
    assert stage.get("/v1/tasks/u1")["state"] == "redriven"
    status, found = stage.ask("POST", "/v1/queues/tasks:purge")
    assert (status, found["count"]) == (200, 20)


def test_pause(stage: Stage) -> None:
    """
    A queue is paused and resumed, and the audit log tells by whom.
    """
    assert stage.ask("POST", "/v1/queues/tasks:pause")[0] == 200
    until(lambda: stage.queue()["paused"], stage.output, PATIENCE)
    assert stage.ask("POST", "/v1/queues/none:pause")[0] == 404
    assert stage.ask("POST", "/v1/queues/tasks:resume")[0] == 200
    until(lambda: stage.queue()["paused"] is False, stage.output, PATIENCE)
    lines = [json.loads(e) for e in (stage.folder / "audit").read_text().splitlines()]
    actions = [(each["who"], each["action"]) for each in lines[-3:]]
    assert actions == [("anna", "pause"), ("anna", "pause"), ("anna", "resume")]
    assert "no queue 'none'" in lines[-2]["result"]


def test_tokens(stage: Stage) -> None:
    """
    A SIGHUP has the tokens read again; a file that is wrong changes nothing.
    """
    stage.tokens.write_text("wrong\n")
    stage.signal("web", signal.SIGHUP)
    until(lambda: "Not reloaded" in stage.output(), stage.output, PATIENCE)
    assert stage.ask("GET", "/v1/overview")[0] == 200
    other = f"bob read * {hash_of('other')}\n"
    stage.tokens.write_text(f"{other}anna read,operate x {hash_of('new')}\n")
    stage.signal("web", signal.SIGHUP)
    until(
        lambda: stage.ask("GET", "/v1/overview", token="other")[0] == 200,
        stage.output,
        PATIENCE,
    )
    assert stage.ask("GET", "/v1/overview")[0] == 401
    assert stage.ask("POST", "/v1/queues/tasks:pause", token="other")[0] == 403
    assert stage.ask("POST", "/v1/queues/tasks:pause", token="new")[0] == 403
    stage.tokens.write_text(f"anna read,operate * {hash_of('secret')}\n")
    stage.signal("web", signal.SIGHUP)
    until(lambda: stage.ask("GET", "/v1/overview")[0] == 200, stage.output, PATIENCE)


def test_secrets(stage: Stage) -> None:
    """
    Tokens that were shown, right ones and wrong ones, are in no log.
    """
    for token in ("secret", "not-a-token"):
        stage.ask("POST", "/v1/queues/tasks:resume", token=token)
        stage.ask("GET", "/v1/overview", token=token)
    told = stage.output() + (stage.folder / "audit").read_text()
    for word in ("secret", "not-a-token", hash_of("secret")):
        assert word not in told


def test_broker_away(stage: Stage) -> None:
    """
    Without the broker it answers, and says so; it goes on when the broker is back.
    """
    before = stage.in_history() + 60
    stage.publish(attempts("away", 1, 60))
    until(lambda: stage.in_history() == before, stage.output, PATIENCE)
    stage.kill("broker")
    until(lambda: stage.get("/v1/overview")["problems"], stage.output, PATIENCE)
    until(
        lambda: not stage.get("/v1/overview")["history"]["ok"], stage.output, PATIENCE
    )
    assert stage.ask("GET", "/readyz")[0] == 503
    assert stage.ask("GET", "/healthz")[0] == 200
    assert stage.ask("POST", "/v1/queues/tasks:pause")[0] == 503
    assert len(stage.get("/v1/tasks?queue=tasks")["tasks"]) == 50
    (stage.folder / "broker").write_text("")
    stage.start("broker")
    until(stage._answers, stage.output, PATIENCE)
    stage.publish(attempts("other", 1, 10))
    until(lambda: stage.in_history() == before + 10, stage.output, PATIENCE)
