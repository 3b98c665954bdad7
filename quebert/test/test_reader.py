"""
Tests for what follows documents: it notices what is not true.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import indent

import pytest

from quebert.errors import BadTask
from quebert.test.documents import Document, check_python, check_task, pattern
from quebert.test.reader import Places, Reader

Follow = Callable[[str], Path]

PROGRAM = """
import pathlib, time

print("up", flush=True)
try:
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
    print("gone on", flush=True)
    time.sleep(1000)
except KeyboardInterrupt:
    pass
"""


@pytest.fixture
def follow(tmp_path: Path) -> Follow:
    """
    Follows a text, and gives the folder in which that was done.
    """
    folder, notes = tmp_path / "folder", tmp_path / "notes"
    folder.mkdir()
    notes.mkdir()

    def follow(text: str) -> Path:
        path = tmp_path / "document.rst"
        path.write_text(text, "utf-8")
        path_of_python = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path_of_python}
        with Reader.at(folder, notes, environment, Places()) as reader:
            reader.follow(Document.read(path, "document.rst"))
        return folder

    return follow


def session(*lines: str) -> str:
    """
    A document with one session.
    """
    return block("console", "\n".join(lines))


def block(kind: str, text: str, name: str = "") -> str:
    """
    A block, of a file if it has a name.
    """
    option = f"    :name: {name}\n" if name else ""
    return f".. code-block:: {kind}\n{option}\n{indent(text, ' ' * 4)}\n\n"


def test_followed(follow: Follow) -> None:
    """
    Commands share a folder, variables, and the files of the document.
    """
    file = block("text", "one\ntwo", "a.txt")
    commands = session(
        *("$ mkdir sub", "$ cd sub", "$ x=3"),
        *("$ cat \\", "      ../a.txt", "one", "two", "$ echo $x; pwd", "3", "…/sub"),
        *("$ grep three ../a.txt", "$ echo $?", "1"),
    )
    assert (follow(file + commands) / "sub").is_dir()


@pytest.mark.parametrize(
    "lines",
    [
        ("$ echo two", "one"),
        ("$ echo one; echo two", "one"),
        ("$ echo one; echo two", "two", "one"),
        ("$ echo one", "one", "…two"),
        ("$ false",),
        ("$ false", "$ echo done"),
        ("$ no-such-command",),
    ],
)
def test_untrue(follow: Follow, lines: tuple[str, ...]) -> None:
    """
    A command that shows anything else, or fails, is noticed.
    """
    with pytest.raises(AssertionError):
        follow(session(*lines))


def test_anything(follow: Follow) -> None:
    """
    An ellipsis stands for a part of a line, or for lines.
    """
    many = ("$ seq 5", "1", "…", "4", "…", "5")
    follow(session(*many, "$ echo hello, you", "hel… y…"))


def test_not_run(follow: Follow) -> None:
    """
    What is marked is not run; the reason is known.
    """
    text = f".. not run: it has\n   side effects\n\n{session('$ touch done')}"
    assert not (follow(text) / "done").exists()


def test_service(follow: Follow) -> None:
    """
    A program in the background shows what it shows later, and ends by Ctrl-C.
    """
    start = session("$ python executor.py", "up", "$ touch go")
    rest = session("gone on", "^C")
    follow(f"{block('python', PROGRAM, 'executor.py')}{start}Then:\n\n{rest}")


def test_dead_service(follow: Follow) -> None:
    """
    A program that ends although it should run on is noticed.
    """
    program = block("python", "print('up')", "executor.py")
    with pytest.raises(AssertionError):
        follow(program + session("$ python executor.py", "ready"))


def test_what_varies() -> None:
    """
    Times and ids may differ, and nothing else.
    """
    shown = pattern("2026-01-02T03:04:05+0000 process 7 took 3 ms for 3 of 4")
    told = "2030-11-12T13:14:15+0000 process 4711 took 34 ms for 3 of 4"
    assert shown.fullmatch(told)
    assert not shown.fullmatch(told.replace("3 of", "2 of"))
    uuid = "8f145aec-5b4a-464e-b5bc-69f9794aece0"
    assert pattern(f"{uuid} (low)").fullmatch(f"{uuid[::-1]} (low)") is None
    assert pattern(uuid).fullmatch(uuid.replace("8", "9"))


def test_places() -> None:
    """
    The reader's ports stand where the document has the usual ones, or none.
    """
    places = Places()
    port = places.amqp_url.rpartition(":")[2].strip("/")
    for text in ("amqp://guest@localhost/", "amqp://guest@localhost:5672/"):
        assert places.translate(text) == f"amqp://guest@localhost:{port}/"
    assert f"--amqp-port={port} " in places.translate("quebert dev")
    assert places.translate("quebert broker") == f"quebert broker --port={port}"
    assert places.translate("quebert dead list") == "quebert dead list"


RIGHT = [
    'from quebert.producer import add_task as add\nadd("/x", delay=60, filter=True)',
    'add_task("/x", amqp_url="amqp://h/", **fields)',
    'await client.watch("flow", "queue", "key", callback, maxEvents=5)',
    "await client.watch(*arguments, maxEvents=5)",
    'client = TxAMQPClient.from_url("amqp://h/", quorumDelays=False)',
    'Producer(client).add_task("/x", run_at=0)\nproducer.add_task("/x", run_at=0)',
    "await client.stop(grace=30)\nawait watcher.stop(grace=30)",
    'from quebert import mediator\nmediator.PolicyMediator(defaulturl="http://h/")',
    "import asyncio\nasyncio.run(main, debug=True)\nprint(1, sep='', file=None)",
    "def f(add_task):\n    add_task(countdown=60)",
]
WRONG = [
    'from quebert.producer import add_task as add\nadd("/x", countdown=60)',
    'add_task("/x", countdown=60, **fields)',
    'from quebert import producer\nproducer.add_task("/x", countdown=60)',
    "add_task()",
    'await client.watch("flow", "queue", "key", callback, maxevents=5)',
    'await client.watch("flow", "queue", "key")',
    "await client.watch(*arguments, maxevents=5)",
    'client = TxAMQPClient.from_url("amqp://h/", quorum_delays=False)',
    'Producer(client).add_task("/x", countdown=60)',
    'producer.add_task("/x", countdown=60)',
    'producer.add_task("/x", exchange="flow")',
    "await client.stop(timeout=30)",
    "med.add_prehook(lambda task: print(task), lambda task: None)",
    'from quebert import mediator\nmediator.PolicyMediator(default_url="http://h/")',
    "RetryPolicy(max_attempt=10)",
]


@pytest.mark.parametrize("text", RIGHT)
def test_calls(text: str) -> None:
    """
    Calls with arguments that quebert takes are right, and so are calls of others.
    """
    check_python(text)


@pytest.mark.parametrize("text", WRONG)
def test_untrue_calls(text: str) -> None:
    """
    A call that would be a TypeError is noticed.
    """
    with pytest.raises(AssertionError):
        check_python(text)


@pytest.mark.parametrize(
    "text", ["import quebert.nothing", "from quebert.amqp import Nobody", "1 +"]
)
def test_untrue_code(text: str) -> None:
    """
    So is code that does not compile, or imports what is not there.
    """
    with pytest.raises((ImportError, SyntaxError)):
        check_python(text)


def test_task() -> None:
    """
    A task that a mediator takes is right.
    """
    check_task('{"url": "/x", "ttl": 60, "retry": {"max_attempts": 3}}')


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"url": "ftp://host/"}',
        '{"url": "/x", "ttl": "60"}',
        '{"url": "/x", "run_at": "tomorrow"}',
        '{"url": "/x", "method": "post it"}',
        '{"url": "/x", "retry": 3}',
        '{"url": "/x", "retry": {"max_attempt": 3}}',
        '{"url": "/x", "retry": {"max_attempts": "3"}}',
        '{"url": "/x", "countdown": 60}',
    ],
)
def test_untrue_task(text: str) -> None:
    """
    A task that no mediator takes, or a field that none reads, is noticed.
    """
    with pytest.raises((AssertionError, BadTask)):
        check_task(text)
