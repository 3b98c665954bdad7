"""
Which pid files twistd's plugins keep, with processes of their own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred

from quebert.test.conftest import AnyBroker, Names
from quebert.test.support import Program

#: twistd, as its script starts it, in the folder that is its first argument.
TWISTD = """
import os, sys
os.chdir(sys.argv.pop(1))
from twisted.scripts.twistd import run
run()
"""

Twistd = Callable[..., Program]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """
    The folder in which all programs of a test run.
    """
    path = tmp_path / "shared"
    path.mkdir()
    (path / "tasks.py").write_text("def execute(task):\n    return None\n")
    return path


@pytest.fixture
def twistd(
    start: Callable[..., Program], folder: Path, broker: AnyBroker, names: Names
) -> Twistd:
    """
    Starts C{twistd} with options of its own, a plugin, and options of that.
    """
    needed = {
        "quexecutor": ("--function=tasks.execute", "--port=0"),
        "quebert": (f"--watch={names.exchange}:{names.queue}:{names.key}:1",),
    }

    def twistd(*options: str, plugin: str, further: tuple[str, ...] = ()) -> Program:
        return start(
            *("-c", TWISTD, str(folder), *options, plugin, *needed[plugin], *further),
            QUEBERT_AMQP_URL=broker.url,
        )

    return twistd


async def stopped(program: Program) -> None:
    """
    End it well.
    """
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output


@pytest.mark.any_broker
@ensureDeferred
async def test_together(twistd: Twistd, folder: Path) -> None:
    """
    An executor, a mediator and a supervisor run in one folder, although a pid file
    is there that names a living process, as one does that a process with the id 1
    left in its container.
    """
    stale = folder / "twistd.pid"
    stale.write_text(str(os.getpid()))
    executor = twistd("-n", plugin="quexecutor")
    await executor.said("Site starting on")
    mediator = twistd("-n", plugin="quebert")
    await mediator.said("Watching ")
    several = twistd("--nodaemon", plugin="quebert", further=("--processes=2",))
    await several.said(" is up.")
    for each in (several, mediator, executor):
        await stopped(each)
    assert stale.read_text() == str(os.getpid())


@pytest.mark.any_broker
@ensureDeferred
async def test_named(twistd: Twistd, folder: Path) -> None:
    """
    A pid file that is named is written, and a second process with it is refused.
    """
    first = twistd("-n", "--pidfile=my.pid", plugin="quexecutor")
    await first.said("Site starting on")
    assert (folder / "my.pid").read_text().isdigit()
    second = twistd("-n", "--pidfile=my.pid", plugin="quexecutor")
    await second.said("Another twistd server is running")
    assert await second.ended() == 1
    await stopped(first)
    assert not (folder / "my.pid").exists()


@pytest.mark.any_broker
@ensureDeferred
async def test_daemon(twistd: Twistd, folder: Path) -> None:
    """
    A daemon checks twistd's own pid file: it does not start while that file names a
    living process.
    """
    (folder / "twistd.pid").write_text(str(os.getpid()))
    for plugin in ("quexecutor", "quebert"):
        refused = twistd(plugin=plugin)
        await refused.said("Another twistd server is running")
        assert await refused.ended() == 1
