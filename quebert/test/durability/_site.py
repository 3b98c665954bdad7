"""
RabbitMQ, a database, C{quebert web} and two mediators: each a process that may be
killed and started again.
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from quebert.test.contract.patience import PATIENCE
from quebert.test.durability._orders import QUEUES
from quebert.test.postgresql import PostgreSQLServer
from quebert.testing import RabbitMQNode, free_port
from quebert.web import EVERYTHING, new_token, token_line

__all__ = ["DATABASES", "Site"]

#: Where rows are kept.
DATABASES = ("sqlite", "postgresql")
#: Seconds that a process is away when it was killed, at most.
_AWAY = 3.0
#: What a mediator logs for each queue.
_WATCHES = "Watching"

_CONFIGURATION = """
[broker]
url_file = "amqp"
[queues.{queues[0]}]
exchange = ""
queue_type = "classic"
mediator = "policy"
retry = {{ min_backoff = 0.1, max_backoff = 2, max_attempts = 1000 }}
guard = {{ private = "allow" }}
[queues.{queues[1]}]
exchange = ""
queue_type = "quorum"
mediator = "policy"
retry = {{ min_backoff = 0.1, max_backoff = 2, max_attempts = 1000 }}
guard = {{ private = "allow" }}
[web.cluster]
listen = "127.0.0.1:{port}"
tokens = "tokens"
history = "history.sqlite"
tasks = "{tasks}"
"""


class Site:
    """
    All of it.

    @param database: one of L{DATABASES}.
    @ivar url: of the HTTP API.
    @ivar token: for all.
    @ivar kills: how often each was killed.
    @ivar losses: when what attempts tasks, or has them, was killed.
    """

    def __init__(self, folder: Path, database: str) -> None:
        self.token = new_token()
        self.kills: Counter[str] = Counter()
        self.losses: list[float] = []
        self._folder = folder
        self._node = RabbitMQNode()
        self._postgresql = PostgreSQLServer() if database == DATABASES[1] else None
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Site:
        with ExitStack() as stack:
            stack.enter_context(self._node)
            tasks = "tasks.sqlite"
            if self._postgresql is not None:
                tasks = stack.enter_context(self._postgresql).url
            self._write(tasks)
            stack.callback(self._end)
            for name in self._programs:
                self._start(name)
            self._await_mediators()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _write(self, tasks: str) -> None:
        line = token_line("all", sorted(EVERYTHING), ["*"], self.token)
        text = _CONFIGURATION.format(queues=QUEUES, port=self._port, tasks=tasks)
        files = {"amqp": f"{self._node.url}%2f", "tokens": line, "quebert.toml": text}
        for name, text in files.items():
            (self._folder / name).write_text(f"{text}\n")
            (self._folder / name).chmod(0o600)

    @property
    def _programs(self) -> dict[str, Sequence[str]]:
        mediator = "-m", "twisted", "quebert", "--config=quebert.toml"
        web = "-m", "quebert", "web", "--config=quebert.toml"
        return {"web": web, "mediator 1": mediator, "mediator 2": mediator}

    def _start(self, name: str) -> None:
        with open(self._folder / f"{name}.log", "ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, *self._programs[name]],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _await_mediators(self) -> None:
        """
        Wait until the queues are there.
        """
        logs = [self._folder / f"{e}.log" for e in self._programs if e != "web"]
        deadline = time.monotonic() + PATIENCE
        while not all(each.read_text().count(_WATCHES) == len(QUEUES) for each in logs):
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.1)

    def _end(self) -> None:
        for each in self._processes.values():
            each.kill()
        for each in self._processes.values():
            each.wait()

    # -- Kills

    @property
    def victims(self) -> Sequence[str]:
        """
        What may be killed.  The file of SQLite is killed with C{quebert web}.
        """
        names = [*self._programs, "rabbitmq"]
        return names if self._postgresql is None else [*names, "postgresql"]

    def kill(self, name: str, away: float) -> None:
        """
        Kill one, and start it again after so many seconds.
        """
        self.kills[name] += 1
        begin: Callable[[], None]
        if name == "rabbitmq":
            self._node.kill()
            begin = self._node.start
        elif name == "postgresql":
            assert self._postgresql is not None
            self._postgresql.kill()
            begin = self._postgresql.start
        else:
            process = self._processes[name]
            process.kill()
            process.wait()
            begin = lambda: self._start(name)  # noqa: E731
        if name not in ("web", "postgresql"):
            self.losses.append(time.time())
        time.sleep(away)
        begin()

    def keep_killing(
        self,
        chance: random.Random,
        pause: float,
        kills: tuple[int, float],
        over: threading.Event,
    ) -> None:
        """
        Kill one after the other, in a random order and then in another, until it is
        over.

        @param pause: seconds between two kills, on average.
        @param kills: how many there are at least, and at most.
        """
        least, most = kills
        victims: list[str] = []
        while self.kills.total() < most:
            is_over = over.wait(chance.uniform(0.3, 1.7) * pause)
            if is_over and self.kills.total() >= least:
                return
            victims = victims or chance.sample(self.victims, len(self.victims))
            self.kill(victims.pop(), chance.uniform(0, _AWAY))

    def output(self) -> str:
        """
        The last lines of each program.
        """
        logs = sorted(self._folder.glob("*.log"))
        return "\n".join(f"-- {e.name}\n{e.read_text()[-2_000:]}" for e in logs)
