"""
C{quebert run}, and C{twistd} in the background, as processes of their own, on the
embedded broker.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from quebert import operations
from quebert.operations import BrokerAccess
from quebert.test.support import Executor, Program, publish, until
from quebert.testing import EmbeddedBroker

Start = Callable[..., Program]

_TWISTD = "import sys; from twisted.scripts.twistd import run; run()"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """
    Where a broker is.
    """
    with EmbeddedBroker() as broker:
        yield broker.url


@pytest.fixture
def config(tmp_path: Path, url: str, executor: Executor) -> Path:
    """
    A configuration file.
    """
    path = tmp_path / "run.toml"
    path.write_text(
        f'broker.url_env = "BROKER"\nservice.default_url = "{executor.url}/"\n'
        '[queues.run]\nexchange = ""\n'
    )
    return path


def mediator(start: Start, config: Path, url: str, *options: str) -> Program:
    """
    C{quebert run}.
    """
    arguments = ("-m", "quebert", "run", str(config), *options)
    return start(*arguments, BROKER=url, NOTIFY_SOCKET=str(config.parent / "notify"))


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[list[str]]:
    """
    What systemd has been told.
    """
    told: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(0.0)

        class Told(list[str]):
            def update(self) -> list[str]:
                """
                All that was told so far.
                """
                try:
                    while True:
                        told.append(listening.recv(100).decode().splitlines()[0])
                except BlockingIOError:
                    return told

        yield Told()


def add(url: str) -> None:
    """
    Add a task.
    """
    import pika

    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        publish(channel, "", "run", b'{"url": "/a?token=hunter2", "uuid": "u"}')
    finally:
        connection.close()


@pytest.mark.parametrize("processes", [1, 2])
@ensureDeferred
async def test_run(
    start: Start, config: Path, url: str, systemd: Any, processes: int
) -> None:
    """
    It does tasks, logs to standard error, tells systemd, reloads at SIGHUP, the level
    of the log included, and ends well at SIGTERM; with several processes, too.
    """
    text = config.read_text()
    config.write_text(f'service.log_level = "warn"\n{text}')
    options = (f"--processes={processes}", "--log-format=json")
    program = mediator(start, config, url, *options)
    await until(lambda: "READY=1" in systemd.update(), shown=lambda: program.output)
    assert '"level": "info"' not in program.output
    access = BrokerAccess(reactor, url)
    while (await operations.status(access, "run")).consumers != processes:
        assert program.running, program.output  # ready once one of them is
    config.write_text(f"{text}prefetch = 7\n")
    program.signal(signal.SIGHUP)
    change = "queues.run.prefetch changed from nothing to 7"
    await until(lambda: program.output.count(change) == 2 * processes)
    await deferToThread(add, url)
    await program.said('"namespace": "quebert.tasks"')
    wanted = ["READY=1", "RELOADING=1", "READY=1"]
    await until(lambda: systemd.update() == wanted)
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output
    assert systemd.update() == [*wanted, "STOPPING=1"]
    lines = [json.loads(each) for each in program.output.splitlines()]
    [done] = (each for each in lines if each["namespace"] == "quebert.tasks")
    fields = {"uuid": "u", "url": "/a?...", "status": 200, "attempt": 1}
    assert {name: done[name] for name in fields} == fields
    assert done.get("worker", "worker 1")[:6] == "worker"
    assert ("worker" in done) is (processes == 2)
    assert "hunter2" not in program.output


@ensureDeferred
async def test_text(start: Start, config: Path, url: str, executor: Executor) -> None:
    """
    Ctrl-C ends it well, too; text is as twistd writes it, and there is no line a task
    if that is not wanted.
    """
    program = mediator(start, config, url, "--no-log-tasks")
    await program.said("#info] Watching 'run', 100 tasks at once.\n")
    await deferToThread(add, url)
    await until(lambda: executor.tasks)
    program.signal(signal.SIGINT)
    assert await program.ended() == 0, program.output
    assert "is done" not in program.output
    assert not (program.folder / "twistd.pid").exists()


@ensureDeferred
async def test_cannot_start(start: Start, config: Path, url: str) -> None:
    """
    What is wrong is told, and the exit status says so.
    """
    wrong = url.replace("guest@", "wrong@")
    program = mediator(start, config, wrong)
    assert await program.ended() == 1, program.output
    assert "Cannot start: " in program.output
    assert "ACCESS_REFUSED" in program.output
    config.write_text("[queues.a]\nkey = 1\nx = 2\n")
    program = mediator(start, config, url)
    assert await program.ended() == 1, program.output
    lines = program.output.splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{config}:2", f"{config}:3"]


@ensureDeferred
async def test_in_the_background(start: Start, tmp_path: Path) -> None:
    """
    When twistd goes to the background, an error that is known before there is a
    connection has it exit with 1, and say why.
    """
    pem = tmp_path / "none.pem"
    pem.write_text("none")
    config = tmp_path / "run.toml"
    config.write_text(
        f'broker.url = "amqps://h/"\nbroker.tls.cacertfile = "{pem}"\n'
        '[queues.run]\nkey = "k"\n'
    )
    (tmp_path / "mine.py").write_text("def fail(options): return 1 / 0\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, told in [
            (("quebert", f"--config={config}"), "has no certificates in PEM"),
            (("quebert", "--config=mine.fail"), "ZeroDivisionError: division by zero"),
            (("quexecutor", "--function=os.path.join", f"--port={port}"), "isten on"),
        ]:
            program = start("-c", _TWISTD, *arguments, PYTHONPATH=_path(tmp_path))
            assert await program.ended() == 1, program.output
            assert told in program.output, arguments


def _path(folder: Path) -> str:
    return os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
