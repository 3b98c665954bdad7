"""
Commands as processes of their own: one Ctrl-C ends each of them at once, whatever it
waits for.
"""

from __future__ import annotations

import os
import pty
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pika
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread

from quebert.test.conftest import AnyBroker, Names
from quebert.test.support import Program, Proxy, heed_sigint, until

Start = Callable[..., Program]

#: Each of them asks the broker, with the exit status after Ctrl-C.
LINES = {
    "status tasks": 1,
    "status tasks --watch": 0,
    "pause tasks": 1,
    "resume tasks": 1,
    "purge tasks": 1,
    "dead list tasks": 1,
    "dead show tasks": 1,
    "dead redrive tasks": 1,
    "dead discard tasks": 1,
    "doctor": 1,
    "check --connect a.toml": 1,
    "add /x": 1,
}

#: Ctrl-C comes while C{quebert} imports its modules.
IMPORTING = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, *rest):
        if name == "quebert.cli":
            os.kill(os.getpid(), signal.SIGINT)

for name in [name for name in sys.modules if name.startswith("quebert.cli")]:
    del sys.modules[name]
sys.meta_path.insert(0, Interrupting())
from quebert.__main__ import main
main()
print("not ended")
"""

#: Ctrl-C comes when the reactor has ended, as while a long list is written.
AFTER = """
import os, signal
from quebert.cli._running import run

async def main(reactor):
    return "a list"

assert run(main) == "a list"
try:
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1_000_000):
        pass
except KeyboardInterrupt:
    print("ended")
"""

#: Ctrl-C comes while a broker does not answer, not even when the connection is closed.
STUCK = """
import os, signal
from quebert.cli import _running
from twisted.internet.defer import Deferred

_running._PATIENCE = 0.1

async def main(reactor):
    reactor.callLater(0, os.kill, os.getpid(), signal.SIGINT)
    try:
        await Deferred()
    finally:
        await Deferred()

try:
    _running.run(main)
except KeyboardInterrupt:
    print("ended")
"""


@ensureDeferred
async def test_silent_broker(start: Start, tmp_path: Path) -> None:
    """
    It waits for a broker that takes connections, and never answers.
    """
    config = tmp_path / "a.toml"
    config.write_text('[queues.tasks]\nkey = "k"\n')
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        server.settimeout(0)
        url = f"amqp://guest:guest@127.0.0.1:{server.getsockname()[1]}/"
        for line, status in LINES.items():
            words = line.replace("a.toml", str(config)).split()
            program = start("-m", "quebert", *words, QUEBERT_AMQP_URL=url)
            connections: list[socket.socket] = []
            await until(lambda c=connections: _accepted(server, c))  # type: ignore[misc]
            program.signal(signal.SIGINT)
            assert await program.ended() == status, (line, program.output)
            assert "Traceback" not in program.output, program.output
            connections[0].close()


def _accepted(server: socket.socket, connections: list[socket.socket]) -> bool:
    try:
        connections.append(server.accept()[0])
    except BlockingIOError:
        return False
    return True


@ensureDeferred
async def test_broker_falls_silent(
    start: Start, chosen_broker: AnyBroker, names: Names
) -> None:
    """
    It looks again and again, and the broker answers no more.
    """
    proxy = Proxy(chosen_broker.port)
    line = ("status", names.queue, "--watch", "--json")
    program = start("-m", "quebert", *line, QUEBERT_AMQP_URL=proxy.url)
    await program.said('"queues"')
    proxy.hang()
    program.signal(signal.SIGINT)
    assert await program.ended() == 0
    assert "Traceback" not in program.output, program.output
    await proxy.cut()


@ensureDeferred
async def test_stuck(start: Start) -> None:
    """
    It cannot end politely.
    """
    program = start("-c", STUCK)
    assert await program.ended() == 0, program.output
    assert program.output == "ended\n"


@ensureDeferred
async def test_importing(start: Start) -> None:
    """
    It imports its modules.
    """
    program = start("-c", IMPORTING)
    assert await program.ended() == -signal.SIGINT
    assert program.output == ""


@ensureDeferred
async def test_writing(start: Start) -> None:
    """
    It writes its result.
    """
    program = start("-c", AFTER)
    assert await program.ended() == 0, program.output
    assert program.output == "ended\n"


@ensureDeferred
async def test_asking(chosen_broker: AnyBroker, names: Names) -> None:
    """
    It asks a person at a terminal, and nothing is dropped.
    """
    url = chosen_broker.url
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.queue_declare(names.queue, durable=True)
    channel.basic_publish("", names.queue, b"{}")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "quebert", "purge", names.queue]
    program = subprocess.Popen(
        command,
        env={**os.environ, "QUEBERT_AMQP_URL": url},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=heed_sigint,
    )
    os.close(theirs)
    try:
        said = await deferToThread(_answered, ours, program)
    finally:
        program.kill()
        program.wait()
        os.close(ours)
    assert program.returncode == 1
    assert "Aborted!" in said, said
    left = channel.queue_declare(names.queue, passive=True).method.message_count
    connection.close()
    assert left == 1


def _answered(terminal: int, program: subprocess.Popen[bytes]) -> str:
    """
    What the program has said in the end, when the answer is Ctrl-C.  The signal may
    come just before the program waits for the answer, and is not noticed then.  So it
    comes again after two seconds; a person is not that quick.
    """
    said = ""
    for _ in range(20):
        while select.select([terminal], [], [], 2)[0]:
            try:
                said += os.read(terminal, 1000).decode()
            except OSError:  # the other end is closed
                program.wait(60)
                return said
            if said.endswith("[y/N]: "):
                break
        if "[y/N]" in said:
            program.send_signal(signal.SIGINT)
    return said
