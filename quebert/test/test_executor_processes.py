"""
C{twistd quexecutor --processes} with real processes: what becomes of tasks, of the
processes, and of what they leave behind.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest

from quebert.test.contract.patience import until
from quebert.test.test_quexecutor_process import PATIENCE, Process
from quebert.test.test_workers_process import runs

FUNCTIONS = """
import asyncio, ctypes, logging, os, resource, signal, subprocess, sys, threading, time
from pathlib import Path
from quebert.functions import GiveUp, Retry

class Spiteful(Exception):
    def __str__(self):
        raise RuntimeError("no")

def echo(task):
    return task

def naps(task):
    time.sleep(0.01)
    return {**task, "pid": os.getpid()}

def pid(task):
    return os.getpid()

def leaves(task):
    sleeping = subprocess.Popen(["sleep", "600"], close_fds=False)
    return sleeping.pid

def orphans(task):
    leaves.started = leaves(task)
    print("sleeping:", leaves.started, flush=True)
    os._exit(4)

def forks(task):
    if os.fork() == 0:
        return "the child's"  # as if it were the only one
    os.wait()
    return "the parent's"

def closes(task):
    os.closerange(0, 1000)
    return "closed"

def standard_input(task):
    return sys.stdin.read()

def surroundings(task):
    return [os.path.basename(os.getcwd()), "QUEBERT_POOL_PROCESS" in os.environ,
            os.getpid() == os.getsid(0), threading.active_count()]

def prints(task):
    print("printed \\x1b[2J", task["uuid"])
    print("in \\u00fc and \\ud83d", file=sys.stderr)
    os.write(1, b"written\\n")
    subprocess.run(["echo", "by another"])
    sys.stdout = None
    return "said"

def floods(task):
    for _ in range(task.get("lines", 100_000)):
        os.write(2, b"x" * 99 + b"\\n")
    return "flooded"

def grows(task, kept=[]):
    kept.append(bytearray(task["mib"] << 20))
    return os.getpid()

def logs(task):
    for number in range(1000):
        logging.getLogger("quebert.functions").error("again %d" % number + "x" * 10_000)
    return "logged"

async def coroutine(task):
    await asyncio.sleep(0)
    return "awaited"

def generator(task):
    yield "a"
    yield "b"

BAD = {
    "exit": lambda: os._exit(3),
    "sys.exit": lambda: sys.exit("bye"),
    "segfault": lambda: ctypes.string_at(0),
    "abort": lambda: os.abort(),
    "term": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "memory": lambda: len(bytearray(2 << 30)),
    "pieces": lambda: [bytearray(1 << 20) for _ in range(4000)],
    "recursion": lambda: BAD["recursion"](),
    "never": lambda: [time.sleep(1) for _ in iter(int, 1)],
    "spite": lambda: (_ for _ in ()).throw(Spiteful()),
    "interrupt": lambda: (_ for _ in ()).throw(KeyboardInterrupt()),
    "no json": lambda: object(),
    "retry": lambda: (_ for _ in ()).throw(Retry("busy", after=30)),
    "give up": lambda: GiveUp("no such user"),
}

def bad(task):
    return BAD[task["how"]]()

def sleeps(task):
    Path("running").touch()
    while not Path("finish").exists():
        time.sleep(0.01)
    return "slept"
"""
ORIGINAL = """
def run(body, uri, host, conf):
    return [body.decode(), uri, host, conf]
"""
#: Seconds that a function may take: far more than any needs but the endless one.
LIMIT = 10
#: What is answered to bad tasks.
SENTENCES = {
    "exit": (500, "the process exited with status 3"),
    "sys.exit": (500, "SystemExit: bye"),
    "segfault": (500, "the process ended by SIGSEGV (segmentation fault)"),
    "abort": (500, "the process ended by SIGABRT (aborted)"),
    "term": (500, "the process ended by SIGTERM (terminated)"),
    "memory": (500, "the function took more than 256 MiB"),
    "pieces": (500, "the function took more than 256 MiB"),
    "recursion": (500, "RecursionError: maximum recursion depth exceeded"),
    "never": (500, f"the function took more than {LIMIT} s, and was killed"),
    "spite": (500, "Spiteful: (its text cannot be had)"),
    "interrupt": (500, "KeyboardInterrupt"),
    "no json": (500, "the function's result cannot be sent: TypeError: "),
    "retry": (409, "busy"),
    "give up": (422, "no such user"),
}
MEMORY = 256 * 2**20


@attrs.frozen
class Answered:
    """
    What was answered.
    """

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def text(self) -> str:
        """
        The body as text.
        """
        return self.body.decode()

    @property
    def json(self) -> Any:
        """
        What the body says.
        """
        return json.loads(self.body)


def ask(executor: Process, path: str, body: bytes = b"{}", **task: Any) -> Answered:
    """
    Make a request.
    """
    if task:
        body = json.dumps(task).encode()
    connection = http.client.HTTPConnection("127.0.0.1", executor.port, PATIENCE)
    headers = {"Content-Type": "application/json"}
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return Answered(answer.status, answer.read(), dict(answer.getheaders()))
    finally:
        connection.close()


def children(pid: int) -> list[int]:
    """
    The processes that a process has started, and that have not ended.
    """
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [each for each in map(int, found) if runs(each)]


def started(executor: Process, count: int) -> list[int]:
    """
    Its processes, once there are so many.
    """
    until(lambda: len(children(executor.process.pid)) == count)
    return children(executor.process.pid)


def descriptors(pid: int) -> Counter[str]:
    """
    How many pipes, sockets and files a process has open.
    """
    found: Counter[str] = Counter()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found[os.readlink(each).partition(":")[0]] += 1
    return found


def paths(module: str, *names: str) -> list[str]:
    """
    Options that have functions for paths of their own names.
    """
    return [f"--function=/{name}={module}.{name}" for name in names]


NAMES = re.findall(r"(?m)^(?:async )?def (\w+)", FUNCTIONS)


Start = Callable[..., Process]


def end(executor: Process) -> None:
    """
    Kill it, with its processes, which end by themselves.
    """
    pids = children(executor.process.pid) if executor.process.poll() is None else []
    executor.process.kill()
    executor.process.wait(PATIENCE)
    until(lambda: not any(map(runs, pids)))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """
    An executor with two processes.
    """
    folder = tmp_path_factory.mktemp("shared")
    (folder / "fns.py").write_text(FUNCTIONS)
    options = (f"--max-process-memory={MEMORY}", f"--max-seconds={LIMIT}")
    executor = Process(folder, "--processes=2", *options, *paths("fns", *NAMES))
    try:
        executor.started()
        yield executor
    finally:
        end(executor)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """
    Starts executors of a test's own.
    """
    started: list[Process] = []
    (tmp_path / "fns.py").write_text(FUNCTIONS)

    def start(*options: str) -> Process:
        started.append(Process(tmp_path, *options))
        started[-1].started()
        return started[-1]

    yield start
    for each in started:
        end(each)


@pytest.mark.parametrize("how", SENTENCES)
def test_bad(shared: Process, how: str) -> None:
    """
    Each bad task is answered with what was bad; the next one is done.
    """
    status, sentence = SENTENCES[how]
    answer = ask(shared, "/bad", how=how, uuid=f"bad-{how}")
    assert (answer.status, answer.text[: len(sentence)]) == (status, sentence)
    assert ask(shared, "/echo", n=7).json == {"n": 7}
    if status == 500:
        until(lambda: f"Task bad-{how}" in shared.output)


def test_wishes(shared: Process) -> None:
    """
    What a function wishes for its task arrives in headers.
    """
    answer = ask(shared, "/bad", how="retry")
    assert answer.headers["Quebert-Outcome"] == "retry-after=30; busy"
    answer = ask(shared, "/bad", how="give up")
    assert answer.headers["Quebert-Outcome"] == "bury; no such user"


def test_crash_is_logged(shared: Process) -> None:
    """
    Where a process crashed is logged with its task.
    """
    ask(shared, "/bad", how="segfault", uuid="crash-1")
    until(lambda: "Task crash-1: the process ended by SIGSEGV" in shared.output)
    assert "Task crash-1: Fatal Python error: Segmentation fault" in shared.output
    assert re.search(r'Task crash-1: File ".*fns\.py", line \d+ in bad', shared.output)


def test_output(shared: Process) -> None:
    """
    What a function and its programs print is in the log, harmless, with the uuid.
    """
    assert ask(shared, "/prints", uuid="talk-1").text == "said"
    assert ask(shared, "/prints", uuid="talk-2").text == "said"
    for text in (
        "Task talk-1: printed ?[2J talk-1",
        "Task talk-1: in ü and \\ud83d",
        "Task talk-1: written",
        "Task talk-1: by another",
    ):
        assert text in shared.output
    assert "\x1b" not in shared.output


def test_flood(shared: Process) -> None:
    """
    10 MB are read, and not all logged.
    """
    assert ask(shared, "/floods", uuid="flood-1").text == "flooded"
    lines = [line for line in shared.output.split("\n") if "Task flood-1:" in line]
    assert len(lines) == 501
    assert lines[-1].endswith("Task flood-1: 9950000 more bytes are left out")


def test_largest(shared: Process) -> None:
    """
    A task of 16 MiB arrives, and comes back.
    """
    padding = "x" * (16 * 2**20 - 15)
    answer = ask(shared, "/echo", json.dumps({"padding": padding}).encode())
    assert answer.status == 200
    assert answer.json == {"padding": padding}


def test_no_task(shared: Process) -> None:
    """
    What is no task is refused as elsewhere.
    """
    for body in (b"[1", b"[]", b"[" * 1_000):
        assert ask(shared, "/echo", body).status == 400
    assert ask(shared, "/nowhere").status == 404
    assert "no function does tasks at /nowhere" in ask(shared, "/nowhere").text


def test_odd_head(shared: Process) -> None:
    """
    However much of a head a process is told, it goes on.
    """
    pids = started(shared, 2)
    lines = [b"POST /echo?" + b"%ff" * 2_600 + b" HTTP/1.1"]
    lines += [b"Host: " + b"1" * 8_000, b"Content-Type: application/json"]
    lines += [b"Quebert-Attempt: " + b"\xff" * 8_000] * 8
    lines += [b"Content-Length: 2", b"Connection: close", b"", b"{}"]
    with socket.create_connection(("127.0.0.1", shared.port), PATIENCE) as client:
        client.sendall(b"\r\n".join(lines))
        assert client.makefile("rb").readline() == b"HTTP/1.1 200 OK\r\n"
    assert ask(shared, "/echo", n=1).json == {"n": 1}
    assert children(shared.process.pid) == pids


def test_logs(shared: Process) -> None:
    """
    What a function logs in our name is bounded, too.
    """
    assert ask(shared, "/logs", uuid="log-1").text == "logged"
    until(lambda: "again 4" in shared.output)
    assert "again 5" not in shared.output


def test_kinds(shared: Process) -> None:
    """
    Coroutines and generators are waited for; percent-encoded paths are read.
    """
    assert ask(shared, "/coroutine").text == "awaited"
    assert ask(shared, "/gener%61tor?x=y").text == "ab"


def test_surroundings(shared: Process) -> None:
    """
    A process is where the executor is; its standard input is empty.
    """
    folder, told, leads, threads = ask(shared, "/surroundings").json
    assert (folder[:6], told, leads, threads) == ("shared", False, True, 1)
    assert ask(shared, "/standard_input").text == ""


def test_fork(shared: Process) -> None:
    """
    Of a function that forks, and returns twice, one result counts.
    """
    assert ask(shared, "/forks").text == "the parent's"
    assert ask(shared, "/echo", n=1).json == {"n": 1}


def test_closes_all(shared: Process) -> None:
    """
    A function that closes all descriptors harms itself alone.
    """
    answer = ask(shared, "/closes")
    assert (answer.status, answer.text) == (500, "the process exited with status 1")
    assert ask(shared, "/echo", n=1).json == {"n": 1}


def test_leak(shared: Process) -> None:
    """
    A process that keeps more than half of its memory is replaced after its task.
    """
    pids = [ask(shared, "/grows", mib=150).json for _ in range(4)]
    assert len(set(pids)) == 4
    until(lambda: "its process keeps 1" in shared.output)
    # The last one that was ready is taken first: another may be until both are.
    until(lambda: len({ask(shared, "/pid").json for _ in range(4)}) == 1)


def test_group(shared: Process) -> None:
    """
    What a function has started, and left behind, ends with its process.
    """
    ask(shared, "/orphans", uuid="orphan")
    (pid,) = re.findall(r"Task orphan: sleeping: (\d+)", shared.output)
    until(lambda: not runs(int(pid)))


def test_idle_one_dies(shared: Process) -> None:
    """
    A process that is killed while it is idle is replaced.
    """
    pid = ask(shared, "/pid").json
    os.kill(pid, signal.SIGKILL)
    until(lambda: not runs(pid))
    until(lambda: len(children(shared.process.pid)) == 2)
    assert ask(shared, "/pid").json != pid


@pytest.mark.parametrize("count", [100, pytest.param(5_000, marks=pytest.mark.long)])
def test_mixture(start: Start, count: int) -> None:
    """
    Good tasks among all kinds of bad ones are done, and each bad one is answered with
    its sentence; no process and no descriptor is left.
    """
    # Seconds, and lines of a flood: on a busy machine all 10 MB take a while.
    limit, lines = (LIMIT, 10_000) if count == 100 else (15, 100_000)
    executor = start(
        *("--processes=4", f"--max-process-memory={MEMORY}", f"--max-seconds={limit}"),
        *paths("fns", "bad", "echo", "floods", "naps"),
    )
    pid = executor.process.pid
    never = f"the function took more than {limit} s, and was killed"
    sentences = {**SENTENCES, "never": (500, never)}

    def one_of(number: int) -> int:
        pid: int = ask(executor, "/naps", n=number).json["pid"]
        return pid

    with ThreadPoolExecutor(8) as threads:  # all four are ready
        until(lambda: len(set(threads.map(one_of, range(40)))) == 4)
    until(lambda: descriptors(pid)["socket"] == 1)
    before = descriptors(pid)

    def one(number: int) -> None:
        how = {0: "exit", 7: "segfault", 13: "memory"}.get(number % 50)
        if number % 500 == 23:
            how = "never"
        if how is not None:
            status, sentence = sentences[how]
            answer = ask(executor, "/bad", how=how, n=number)
            assert (answer.status, answer.text) == (status, sentence)
        elif number % 50 == 31:
            assert ask(executor, "/floods", lines=lines).text == "flooded"
        else:
            path = "/naps" if number % 2 else "/echo"
            assert ask(executor, path, n=number).json["n"] == number

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(one, range(count)))
    until(lambda: len(children(pid)) == 4)
    until(
        lambda: descriptors(pid) == before,
        lambda: f"{descriptors(pid)}, and before {before}",
    )
    pids = children(pid)
    executor.process.send_signal(signal.SIGTERM)
    assert executor.process.wait(PATIENCE) == 0
    assert not any(map(runs, pids))


def test_drains(start: Start, tmp_path: Path) -> None:
    """
    At SIGTERM what runs is answered, what waits is done, too, and nothing is left.
    """
    executor = start("--processes=1", *paths("fns", "sleeps", "echo"))
    (pid,) = started(executor, 1)
    with ThreadPoolExecutor(2) as threads:
        answer = threads.submit(ask, executor, "/sleeps")
        until((tmp_path / "running").exists)
        executor.process.send_signal(signal.SIGTERM)
        until(lambda: executor.has_said("SIGTERM: closing down."))
        (tmp_path / "finish").touch()
        assert answer.result(PATIENCE).text == "slept"
    assert executor.process.wait(PATIENCE) == 0
    assert not runs(pid)
    assert "Traceback" not in executor.output


def test_grace(start: Start, tmp_path: Path) -> None:
    """
    What does not end within the grace is killed, and answered.
    """
    executor = start("--processes=2", "--grace=0.1", *paths("fns", "sleeps"))
    pids = started(executor, 2)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(ask, executor, "/sleeps")
        until((tmp_path / "running").exists)
        executor.process.send_signal(signal.SIGTERM)
        found = answer.result(PATIENCE)
    assert (found.status, found.text) == (
        500,
        "the executor closes down: the process was killed",
    )
    assert executor.process.wait(PATIENCE) == 0
    assert not any(map(runs, pids))


def test_parent_is_killed(start: Start, tmp_path: Path) -> None:
    """
    If the executor is killed, so are its processes, idle or not.
    """
    executor = start("--processes=2", *paths("fns", "sleeps"))
    pids = started(executor, 2)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(ask, executor, "/sleeps")
        until((tmp_path / "running").exists)
        executor.process.kill()
        assert isinstance(answer.exception(PATIENCE), OSError)
    executor.process.wait(PATIENCE)
    until(lambda: not any(map(runs, pids)))


def test_hang_up(start: Start, tmp_path: Path) -> None:
    """
    A process whose client has gone is killed, if that is asked for.
    """
    executor = start("--processes=1", "--kill-on-hang-up", *paths("fns", "sleeps"))
    (pid,) = started(executor, 1)
    with socket.create_connection(("127.0.0.1", executor.port), PATIENCE) as client:
        head = "POST /sleeps HTTP/1.1\r\nHost: localhost\r\nContent-Length: 15\r\n"
        head += "Content-Type: application/json\r\n\r\n"
        client.sendall(head.encode() + b'{"uuid":"gone"}')
        until((tmp_path / "running").exists)
    until(lambda: not runs(pid))
    until(lambda: executor.has_said("Nobody waits for task gone now."))


def test_max_tasks(start: Start) -> None:
    """
    C{--max-tasks} replaces processes, and a task that waits meanwhile is done.
    """
    executor = start("--processes=1", "--max-tasks=2", *paths("fns", "pid"))
    with ThreadPoolExecutor(3) as threads:
        asked = list(threads.map(lambda _: ask(executor, "/pid"), range(6)))
    assert sorted(Counter(each.json for each in asked).values()) == [2, 2, 2]


def test_broken_module(start: Start, tmp_path: Path) -> None:
    """
    What is wrong with a module is told once, and answered until it is mended.
    """
    (tmp_path / "mine.py").write_text("import nothing_like_it\n")
    executor = start("--processes=2", "--function=mine.run")
    until(lambda: executor.has_said("No process can do tasks: "))
    answer = ask(executor, "/")
    assert answer.status == 503
    assert answer.headers["Retry-After"] == "2"
    assert "mine cannot be imported: ModuleNotFoundError: " in answer.text
    assert executor.output.count("nothing_like_it") <= 3
    (tmp_path / "mine.py").write_text("def run(task):\n    return 'mended'\n")
    until(lambda: ask(executor, "/").status == 200)


def test_original(start: Start, tmp_path: Path) -> None:
    """
    C{--subconfig} calls functions as the first quebert did.
    """
    (tmp_path / "old.py").write_text(ORIGINAL)
    executor = start("--function=old.run", "--subconfig=a=é", "--processes=1")
    answer = ask(executor, "/a%20b?c=d", b'{"n": 1}')
    host = f"127.0.0.1:{executor.port}"
    assert answer.json == ['{"n": 1}', "/a%20b?c=d", host, "a=é"]


def test_threads(start: Start, tmp_path: Path) -> None:
    """
    Functions in threads block each other no more than there are threads; one that
    never returns does not keep the executor from its end.
    """
    executor = start(
        "--threads=2", "--grace=0.1", *paths("fns", "sleeps", "echo", "prints", "bad")
    )
    with ThreadPoolExecutor(1) as threads:
        sleeping = threads.submit(ask, executor, "/sleeps")
        until((tmp_path / "running").exists)
        assert ask(executor, "/echo", n=1).json == {"n": 1}
        answer = ask(executor, "/bad", how="no such", uuid="e2c6")
        assert (answer.status, answer.text) == (500, "KeyError: 'no such'")
        until(lambda: executor.has_said("Task e2c6 failed."))
        assert "Traceback" in executor.output
        executor.process.send_signal(signal.SIGTERM)
        assert executor.process.wait(PATIENCE) == 0
        with suppress(OSError):
            sleeping.result(PATIENCE)
