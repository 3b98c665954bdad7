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

from quebert.test.documents import Document, pattern
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
