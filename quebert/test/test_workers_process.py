"""
C{twistd quebert --processes} on a broker: several processes that share
queues, and what becomes of them when one of them is killed or stopped.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from quebert.amqp import TxAMQPClient
from quebert.producer import Producer
from quebert.test.conftest import AnyBroker, Names
from quebert.test.support import (
    USAGE_ERROR,
    Executor,
    Program,
    consumers,
    depth,
    publish,
    until,
)
from quebert.test.test_processes import mediator, watch
from quebert.testing import free_port

# What a hook may do to a worker's descriptors, log and environment.
ODD = """
import os, subprocess, sys
from twisted.logger import Logger

def fails(options):
    raise ValueError("no such luck")

def talks(options):
    ours = [k for k in os.environ if k.startswith("QUEBERT_WORKER")]
    told = [options["processes"], ours]
    print("printed", told, sys.stdin.read())
    os.write(2, b"written\\nhalf")
    subprocess.run(["cat"])  # would wait for ever on an open standard input
    try:
        1 / 0
    except ZeroDivisionError:
        Logger().failure("In two\\nlines.")

def leaves(options):
    # It outlives the worker, and holds all that it was given.
    sleeping = subprocess.Popen(["sleep", "60"], close_fds=False)
    print(f"sleeping: {sleeping.pid}.")
"""


def pids(program: Program) -> list[int]:
    """
    The processes of all workers that the program has started so far.
    """
    return [int(each) for each in re.findall(r"process (\d+)\) starts", program.output)]


def runs(pid: int) -> bool:
    """
    Whether a process runs: that of a dead one may wait for somebody to ask.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


def ups(program: Program) -> int:
    """
    How many workers have been up.
    """
    return program.output.count(") is up.")


def hold(executor: Executor) -> list[Deferred[int]]:
    """
    Have the executor wait with its answers, which are given through these.
    """
    answers: list[Deferred[int]] = []

    def answer(task: Any) -> Deferred[int]:
        answers.append(Deferred())
        return answers[-1]

    executor.answer = answer
    return answers


def add(channel: Any, names: Names, count: int) -> None:
    """
    Put tasks into the test's queue.
    """
    key = names.key.replace("#", "medium")
    publish(channel, names.exchange, key, *[b'{"url": "/x"}'] * count)


Supervise = Callable[..., Program]


@pytest.fixture
def supervise(start: Callable[..., Program], broker: AnyBroker) -> Iterator[Supervise]:
    """
    Starts supervisors, whose workers are killed after the test.
    """
    programs: list[Program] = []

    def supervise(count: int, *options: str, **environment: str) -> Program:
        options = (f"--processes={count}", *options)
        programs.append(mediator(start, broker, *options, **environment))
        return programs[-1]

    yield supervise
    for program in programs:
        program.kill()
        for pid in filter(runs, pids(program)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def odd(tmp_path: Path) -> str:
    """
    The C{PYTHONPATH} of the module C{odd}.
    """
    (tmp_path / "odd.py").write_text(ODD)
    return str(tmp_path)


@ensureDeferred
async def test_one_is_killed(
    broker: AnyBroker,
    client: TxAMQPClient,
    executor: Executor,
    supervise: Supervise,
    names: Names,
    pika_channel: Any,
) -> None:
    """
    Several processes consume one queue.  One that is killed, with tasks in
    flight, is replaced, and no task is lost.
    """
    held = hold(executor)
    program = supervise(3, watch(names, 5), f"--default-url={executor.url}")
    await until(lambda: consumers(pika_channel, names.queue) == 3)
    assert len(pids(program)) == 3
    producer = Producer(client, names.exchange)
    kind = names.key.partition(".")[0]
    tasks = {await producer.add_task("/x", kind=kind) for _ in range(60)}
    await until(lambda: len(held) == 15)
    executor.answer = lambda task: 200
    os.kill(pids(program)[1], signal.SIGKILL)
    await program.said("was killed by SIGKILL; it starts again")
    await until(lambda: ups(program) == 4)
    for each in held:
        each.callback(200)
    # Those that were in flight with the process that was killed come twice.
    await until(lambda: len(executor.tasks) == 65)
    assert {task["uuid"] for task in executor.tasks} == tasks
    await until(lambda: consumers(pika_channel, names.queue) == 3)
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output
    assert depth(pika_channel, names.queue) == 0
    assert not any(map(runs, pids(program)))


@ensureDeferred
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_drains(
    executor: Executor,
    supervise: Supervise,
    names: Names,
    pika_channel: Any,
    number: signal.Signals,
) -> None:
    """
    SIGTERM and SIGINT let all workers finish what they do, and give the rest
    back; a second one changes nothing.
    """
    answers = hold(executor)
    program = supervise(2, watch(names, 2), f"--default-url={executor.url}")
    await until(lambda: ups(program) == 2)
    add(pika_channel, names, 7)
    await until(lambda: len(answers) == 4)
    program.signal(number)
    await until(lambda: program.output.count("SIGTERM: closing down.\n") >= 2)
    program.signal(number)
    await program.said(f"{number.name} again: closing down already.")
    await until(lambda: depth(pika_channel, names.queue) == 3)
    for each in answers:
        each.callback(200)
    assert await program.ended() == 0, program.output
    assert len(answers) == 4
    assert depth(pika_channel, names.queue) == 3
    assert program.output.count("ended with exit status 0.\n") == 2
    assert not any(map(runs, pids(program)))


@ensureDeferred
async def test_grace_ends(
    executor: Executor, supervise: Supervise, names: Names, pika_channel: Any
) -> None:
    """
    What does not finish within --grace goes back.
    """
    executor.answer = lambda task: Deferred()
    program = supervise(
        2, watch(names, 2), f"--default-url={executor.url}", "--grace=0.2"
    )
    await until(lambda: ups(program) == 2)
    add(pika_channel, names, 1)
    await until(lambda: executor.now == 1)
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output
    assert depth(pika_channel, names.queue) == 1


@pytest.mark.any_broker
@ensureDeferred
async def test_ctrl_c(supervise: Supervise, names: Names) -> None:
    """
    SIGINT to all processes at once, as a terminal sends it, is left to the
    supervisor.
    """
    program = supervise(2, watch(names, 1))
    await until(lambda: ups(program) == 2)
    for pid in pids(program):
        os.kill(pid, signal.SIGINT)
    program.signal(signal.SIGINT)
    assert await program.ended() == 0, program.output
    assert program.output.count("ended with exit status 0.\n") == 2


@pytest.mark.any_broker
@ensureDeferred
async def test_one_is_stopped(
    executor: Executor, supervise: Supervise, names: Names, pika_channel: Any
) -> None:
    """
    SIGTERM to one worker: it drains, ends well, and is replaced.
    """
    answers = hold(executor)
    program = supervise(2, watch(names, 1), f"--default-url={executor.url}")
    await until(lambda: ups(program) == 2)
    add(pika_channel, names, 2)
    await until(lambda: len(answers) == 2)
    os.kill(pids(program)[0], signal.SIGTERM)
    await program.said("] [quebert._twistd._ending#info] SIGTERM: closing down.")
    for each in answers:
        each.callback(200)
    await program.said(f"(process {pids(program)[0]}) ended with exit status 0; it")
    await until(lambda: ups(program) == 3)
    assert len(answers) == 2
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output


@pytest.mark.any_broker
@ensureDeferred
async def test_supervisor_is_killed(
    broker: AnyBroker,
    executor: Executor,
    supervise: Supervise,
    names: Names,
    pika_channel: Any,
) -> None:
    """
    Workers whose supervisor is killed finish what they do, and end.
    """
    answers = hold(executor)
    program = supervise(2, watch(names, 1), f"--default-url={executor.url}")
    await until(lambda: ups(program) == 2)
    add(pika_channel, names, 3)
    await until(lambda: len(answers) == 2)
    program.kill()
    await until(lambda: consumers(pika_channel, names.queue) == 0)
    assert all(map(runs, pids(program)))
    for each in answers:
        each.callback(200)
    await until(lambda: not any(map(runs, pids(program))))
    assert depth(pika_channel, names.queue) == 1


@ensureDeferred
async def test_refused_by_the_broker(
    broker: AnyBroker, supervise: Supervise, names: Names
) -> None:
    """
    A wrong password ends all with exit status 1, and its sentence.
    """
    url = broker.url.replace(":guest@", ":wrong@")
    program = supervise(3, watch(names, 2), f"--amqp-url={url}")
    assert await program.ended() == 1
    assert 1 <= program.output.count("Cannot start: the broker at ") <= 3
    assert "ACCESS_REFUSED" in program.output
    assert "giving up" in program.output
    assert "Traceback" not in program.output
    assert len(pids(program)) == 3
    assert not any(map(runs, pids(program)))


@pytest.mark.any_broker
@ensureDeferred
async def test_function_fails(supervise: Supervise, odd: str) -> None:
    """
    So does a function of --config that fails, with its traceback.
    """
    program = supervise(2, "--config=odd.fails", PYTHONPATH=odd)
    assert await program.ended() == 1
    assert 1 <= program.output.count("\tbuiltins.ValueError: no such luck") <= 2
    assert len(pids(program)) == 2


@pytest.mark.any_broker
@ensureDeferred
async def test_function_is_missing(supervise: Supervise, odd: str) -> None:
    """
    A function that is not there is told before any worker is started.
    """
    program = supervise(2, "--config=odd.misses", PYTHONPATH=odd)
    assert await program.ended() == USAGE_ERROR
    assert "odd has no misses" in program.output
    assert pids(program) == []


@ensureDeferred
async def test_waits_for_its_broker(supervise: Supervise, names: Names) -> None:
    """
    A broker that is not there yet is waited for, and that can be stopped.
    """
    url = f"amqp://127.0.0.1:{free_port()}"
    program = supervise(2, watch(names, 2), f"--amqp-url={url}")
    await until(lambda: program.output.count("Scheduling retry 2") == 2)
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output
    assert ups(program) == 0


@pytest.mark.any_broker
@ensureDeferred
async def test_log(supervise: Supervise, odd: str) -> None:
    """
    The log tells what workers log, print and write, and by whom, a traceback in
    one piece; in their environment and input, they find nothing of ours.
    """
    program = supervise(2, "--config=odd.talks", PYTHONPATH=odd)
    await until(lambda: ups(program) == 2)
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output
    for name in ("worker 1", "worker 2"):
        for line in ("[stdout#info] printed [1, []]", "written", "half"):
            assert f" [{name}] {line}" in program.output
        wanted = f" [{name}] [odd#critical] In two\n\tlines.\n\tTraceback (most"
        assert wanted in program.output
    for line in program.output.splitlines():
        assert re.match(r"\d{4}-\S+ \[|\t", line), line


@pytest.mark.any_broker
@ensureDeferred
async def test_held_pipes(supervise: Supervise, odd: str) -> None:
    """
    A worker is replaced although what it has started lives on, and holds its
    descriptors.
    """
    program = supervise(2, "--config=odd.leaves", PYTHONPATH=odd)
    await until(lambda: ups(program) == 2)
    os.kill(pids(program)[0], signal.SIGKILL)
    await until(lambda: ups(program) == 3)
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output
    left = re.findall(r"sleeping: (\d+)\.", program.output)
    assert len(left) == 3
    for pid in map(int, left):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.any_broker
@ensureDeferred
async def test_arguments(
    broker: AnyBroker, executor: Executor, supervise: Supervise, pika_channel: Any
) -> None:
    """
    Names of any kind reach the workers, and the password is not among them.
    """
    queue = (
        "-q gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n \N{SNOWMAN}'\"$x --processes=9"
    )
    program = supervise(
        2, "--watch", f"--flow:{queue}:-k:3", f"--default-url={executor.url}"
    )
    await until(lambda: ups(program) == 2)
    publish(pika_channel, "--flow", "-k", b'{"url": "/x"}')
    await until(lambda: executor.tasks)
    for pid in pids(program):
        command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        assert f"--watch=--flow:{queue}:-k:3" in command
        assert broker.url not in " ".join(command)
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output


@pytest.mark.any_broker
@ensureDeferred
async def test_daemon(
    start: Callable[..., Program], broker: AnyBroker, names: Names, tmp_path: Path
) -> None:
    """
    As a daemon, with a log file, a pid file, a reactor and a directory to run
    in, it does the same.
    """
    log, pidfile = tmp_path / "log", tmp_path / "pid"
    (tmp_path / "run").mkdir()
    program = start(
        *("-c", "from twisted.scripts.twistd import run; run()"),
        *(f"--pidfile={pidfile}", f"--logfile={log}", f"--rundir={tmp_path / 'run'}"),
        *("--reactor=poll", "quebert", "--processes=2", watch(names, 1)),
        QUEBERT_AMQP_URL=broker.url,
    )
    assert await program.ended() == 0, program.output
    supervisor = int(pidfile.read_text())
    try:
        await until(lambda: log.read_text().count(") is up.") == 2)
        workers = re.findall(r"process (\d+)\) starts", log.read_text())
        for pid in workers:
            assert "--reactor=poll" in Path(f"/proc/{pid}/cmdline").read_text()
            assert os.readlink(f"/proc/{pid}/cwd") == str(tmp_path / "run")
        os.kill(supervisor, signal.SIGTERM)
        await until(lambda: not runs(supervisor))
    finally:
        with suppress(ProcessLookupError):
            os.kill(supervisor, signal.SIGKILL)
    assert not any(runs(int(pid)) for pid in workers)
    assert log.read_text().count("ended with exit status 0.\n") == 2
    assert not pidfile.exists()


@ensureDeferred
async def test_wrong_number(supervise: Supervise, names: Names) -> None:
    """
    A number that is none is told in one sentence.
    """
    program = supervise(0, watch(names, 1))
    assert await program.ended() == USAGE_ERROR
    assert "--processes=0 must be a number from 1 to 1000" in program.output
    assert "Traceback" not in program.output
