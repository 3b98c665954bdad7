"""
README and documentation are true: their commands are run, in order, in a fresh copy of
the checkout, and show what the text says.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.util import cache_from_source
from pathlib import Path

import attrs
import pytest
from twisted.scripts._twistd_unix import ServerOptions

import quebert
from quebert import errors
from quebert.cli import main
from quebert.config import BadConfig, QueueSettings, read
from quebert.errors import BadTask
from quebert.executor import ExecutorOptions
from quebert.policy import RetryPolicy
from quebert.service import Options as MediatorOptions
from quebert.task._keywords import FIELDS
from quebert.test.command_reference import commands
from quebert.test.documents import (
    Block,
    Document,
    check_python,
    check_task,
    is_command,
)
from quebert.test.reader import Places, Reader

ROOT = Path(quebert.__file__).parents[1]
IN_CHECKOUT = (ROOT / "README.rst").exists()

#: Files that are followed one after the other, by one reader.
GUIDES = {
    "README": ["README.rst"],
    **{path.stem: [f"docs/{path.name}"] for path in sorted(ROOT.glob("docs/*.rst"))},
    "bench": ["bench/README.rst"],
    "examples": [
        f"examples/{name}"
        for name in ("executor.py", "med.py", "add_tasks.py", "quebert.toml", "demo.py")
    ],
    "signed": ["examples/signed_executor.py"],
    "frameworks": [
        f"examples/{name}.py"
        for name in (
            "shop_tasks",
            "flask_app",
            "fastapi_app",
            "starlette_app",
            "django_app",
        )
    ],
}
DOCUMENTS = {
    name: Document.read(ROOT / name, name)
    for names in GUIDES.values()
    for name in names
    if IN_CHECKOUT
}

#: What a block may be.
KINDS = ("console", "erlang", "json", "python", "text", "toml")

#: What is not a reader's, but of whoever runs the tests.
_OURS = re.compile(
    r"VIRTUAL_ENV|PYTHON|QUEBERT|PYTEST|MAKE|MFLAGS|COV_|(ARGS|JOBS|VENV|VERSIONS)$"
)

#: Half of all files, which no reader needs, but for the plugins that pytest loads.
_NOT_READ = ("docs/changes/", "quebert/test/")
_PLUGINS = frozenset(
    f"quebert/test/{name}.py"
    for name in ("__init__", "failure_log", "time_limit", "turns")
)

#: How the docstring of a module begins its list of what changes together.
_LISTS = re.compile(r"(?m)^(?:What changes together|To add )")

needs_checkout = pytest.mark.skipif(not IN_CHECKOUT, reason="not in a checkout")
each_document = pytest.mark.parametrize("name", DOCUMENTS)


def tracked() -> list[str]:
    """
    The files of the checkout that are in its repository, or will be.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    names = listed.stdout.decode().split("\0")
    return [name for name in names if name and (ROOT / name).is_file()]


@pytest.fixture
def places() -> Places:
    """
    The reader's ports.
    """
    return Places()


@pytest.fixture
def checkout(tmp_path: Path, places: Places) -> Path:
    """
    A copy of the checkout, whose examples have the reader's ports.
    """
    folder = tmp_path / "checkout"
    for name in tracked():
        if name in _PLUGINS or not name.startswith(_NOT_READ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            # With its time: what was compiled of it is still true.
            shutil.copy2(ROOT / name, folder / name)
    for path in folder.glob("examples/**/*.*"):
        path.write_text(places.translate(path.read_text("utf-8")), "utf-8")
    return folder


def environment(places: Places, *programs: Path) -> Mapping[str, str]:
    """
    The environment variables of a reader.

    @param programs: where C{python3} is, before the system's.
    """
    kept = {k: v for k, v in os.environ.items() if not _OURS.match(k)}
    path = os.pathsep.join([*map(str, programs), "/usr/bin", "/bin"])
    # As to a terminal, where output is seen at once.
    unbuffered = {"PYTHONUNBUFFERED": "1", "COLUMNS": "80"}
    return {**kept, **unbuffered, "PATH": path, "QUEBERT_AMQP_URL": places.amqp_url}


def copy_compiled(checkout: Path) -> None:
    """
    Spare the programs of a guide from compiling all modules of quebert once more.
    """
    for path in checkout.glob("quebert/**/*.py"):
        compiled = Path(cache_from_source(str(path)))
        made = ROOT / compiled.relative_to(checkout)
        if made.exists():
            compiled.parent.mkdir(exist_ok=True)
            shutil.copy(made, compiled)


@pytest.fixture
def only_python(tmp_path: Path) -> Path:
    """
    A folder with nothing but a C{python3}, outside of all virtual environments.
    """
    folder = tmp_path / "python"
    folder.mkdir()
    python = getattr(sys, "_base_executable", sys.executable)
    (folder / "python3").symlink_to(python)
    return folder


@needs_checkout
@pytest.mark.parametrize("guide", GUIDES)
def test_followed(
    guide: str, checkout: Path, places: Places, only_python: Path, tmp_path: Path
) -> None:
    """
    Its commands, run in order, show what the text says.  The README's begin with the
    making of an environment; others find one in which all is installed.
    """
    if guide == "README":
        installed = only_python
    else:
        installed = Path(sys.executable).parent
        copy_compiled(checkout)
    notes = tmp_path / "notes"
    notes.mkdir()
    # What pip installs is compiled where it is imported: most of it never is.
    variables = {**environment(places, installed), "PIP_NO_COMPILE": "1"}
    with Reader.at(checkout, notes, variables, places) as reader:
        for name in GUIDES[guide]:
            reader.follow(DOCUMENTS[name])


@needs_checkout
@pytest.mark.long
def test_first_hour(
    checkout: Path, places: Places, only_python: Path, tmp_path: Path
) -> None:
    """
    Where there is nothing but a C{python3}, twelve commands of the README and of the
    page about Flask lead to a delayed task that a view does in its third attempt.
    C{.ci/first-hour} tells how long that takes.
    """
    notes = tmp_path / "notes"
    notes.mkdir()
    bare = {**environment(places, only_python), "PIP_NO_CACHE_DIR": "1"}
    began = time.monotonic()
    with Reader.at(checkout, notes, bare, places) as reader:
        reader.follow(DOCUMENTS["README.rst"].to_the_first_interrupt)
        reader.follow(DOCUMENTS["docs/flask.rst"].all_run)
    seconds = time.monotonic() - began
    lines = [*reader.ran, f"{len(reader.ran)} commands, {seconds:.0f} s"]
    sys.stdout.writelines(f"{line}\n" for line in lines)
    assert len(reader.ran) <= 12


@each_document
def test_renders(name: str) -> None:
    """
    docutils, and so package indexes and forges, render it without a complaint.
    """
    assert DOCUMENTS[name].warnings == ""


def blocks(*kinds: str) -> list[object]:
    """
    All blocks of these kinds, with their place, for C{parametrize}.
    """
    return [
        pytest.param(block, id=f"{document.name}:{block.line}")
        for document in DOCUMENTS.values()
        for block in document.blocks
        if block.kind in kinds
    ]


@each_document
def test_kinds(name: str) -> None:
    """
    Each block says what it is, and commands stand in sessions alone.
    """
    for block in DOCUMENTS[name].blocks:
        assert block.kind in KINDS, block
        if block.kind == "text":
            assert not any(map(is_command, block.text.splitlines())), block


@each_document
def test_inline_commands(name: str) -> None:
    """
    Each command in running text is one of a session, of any document, or a part of
    one: its words are there, in their order.
    """
    sessions = [
        shlex.split(command)
        for document in DOCUMENTS.values()
        for command in document.commands
    ]
    for words in DOCUMENTS[name].inline_commands:
        assert any(is_part(words, command) for command in sessions), words


def is_part(words: list[str], command: list[str]) -> bool:
    """
    Whether the words are in the command, in their order.
    """
    rest = iter(command)
    return all(word in rest for word in words)


@each_document
def test_options(name: str) -> None:
    """
    Each option in running text is one of quebert's commands, of its plugins, or of
    twistd.
    """
    options = {"--help"}
    for _, each in commands(main):
        for option in each.params:
            options.update(option.opts, option.secondary_opts)
    for parsed in (ServerOptions(), MediatorOptions(), ExecutorOptions()):
        options.update(f"--{each}" for each in parsed.synonyms)
    for literal in DOCUMENTS[name].literals:
        if literal.startswith("--"):
            assert re.split("[= ]", literal)[0] in options, literal


@pytest.mark.parametrize("block", blocks("python"))
def test_python(block: Block) -> None:
    """
    Each piece of Python is right.
    """
    having = [each for each in DOCUMENTS.values() if block in each.blocks]
    check_python(block.text, [name for each in having for name in each.modules])


@pytest.mark.parametrize("block", blocks("json"))
def test_json(block: Block) -> None:
    """
    Each piece of JSON is a task.
    """
    check_task(block.text)


@needs_checkout
@pytest.mark.parametrize(
    ("name", "true", "untrue"),
    [
        ("README.rst", "ttl=3600", "expires=3600"),
        ("README.rst", "maxEvents=5", "maxevents=5"),
        ("README.rst", "add_prehook(lambda", "add_prehook(1, lambda"),
        ("docs/dev.rst", "amqp_url=broker", "url=broker"),
        ("docs/limits.rst", "weight=weight", "wait=weight"),
        ("docs/operating.rst", '"tasks", refused)', '"tasks", match=refused)'),
        ("docs/retries.rst", "max_attempts=10", "max_attempt=10"),
        ("docs/tasks.rst", "delay=60", "countdown=60"),
        ("docs/retries.rst", '{"max_attempts": 3', '{"max_attempt": 3'),
        ("docs/retries.rst", '"retry": {', '"retries": {'),
    ],
)
def test_untrue(name: str, true: str, untrue: str, tmp_path: Path) -> None:
    """
    A document with one false word is noticed.
    """
    text = (ROOT / name).read_text("utf-8")
    assert true in text
    path = tmp_path / "untrue.rst"
    path.write_text(text.replace(true, untrue), "utf-8")
    with pytest.raises((AssertionError, BadTask)):
        check(Document.read(path, name))


def check(document: Document) -> None:
    """
    Check a document's Python and JSON.
    """
    for block in document.blocks:
        if block.kind == "python":
            check_python(block.text, document.modules)
        elif block.kind == "json":
            check_task(block.text)


@each_document
def test_files(name: str) -> None:
    """
    Each file that the reader is to write is used by a command, or by another such file,
    and each configuration is such a file.
    """
    document = DOCUMENTS[name]
    for block in document.blocks:
        assert block.name is not None or block.kind != "toml", block
        if block.name is not None:
            module = Path(block.name).stem
            others = [each.text for each in document.blocks if each.name is not None]
            imported = any(f"from {module} import" in text for text in others)
            used = any(module in command for command in document.commands)
            assert used or imported, block


@needs_checkout
def test_keys(tmp_path: Path) -> None:
    """
    Each key in the tables of the configuration is known to it.
    """
    text = (ROOT / "docs/configuration.rst").read_text("utf-8")
    table, count = "", 0
    for row in re.finditer(r"(?m)^``(?:\[([\w.]+)\]``|(\w+)``)", text):
        table, key = row[1] or table, row[2]
        if key and table:
            path = tmp_path / "one.toml"
            path.write_text(f"[{table}]\n{key} = 0\n")
            with pytest.raises(BadConfig) as told:
                read(str(path))
            assert f"{key} is not known" not in str(told.value)
            count += 1
    assert count > len(attrs.fields(QueueSettings))


@needs_checkout
def test_places() -> None:
    """
    The table of where a change belongs has all modules that list what changes together,
    and each module in it is there.
    """
    text = (ROOT / "CONTRIBUTING.rst").read_text("utf-8")
    rows = re.findall(r'(?m)^   "[^"]+", "``(quebert[\w.]+)``"$', text)
    told = dict(module_docstrings())
    listing = {name for name, text in told.items() if _LISTS.search(text)}
    assert len(listing) > 20
    assert listing <= set(rows) <= told.keys()
    assert len(rows) == len(set(rows))


def module_docstrings() -> Iterator[tuple[str, str]]:
    """
    The names of all modules but the tests, and their docstrings.
    """
    for path in sorted((ROOT / "quebert").rglob("*.py")):
        *parts, name = path.relative_to(ROOT).with_suffix("").parts
        if "test" not in parts:
            dotted = ".".join([*parts, *([] if name == "__init__" else [name])])
            yield dotted, ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""


@needs_checkout
def test_fields() -> None:
    """
    The fields of a task are those in its table.
    """
    text = (ROOT / "docs/tasks.rst").read_text("utf-8")
    assert set(re.findall(r"(?m)^``(\w+)``  ", text)) == FIELDS


@needs_checkout
def test_exceptions() -> None:
    """
    What the table says of each exception of C{add_task} is what its class says.
    """
    text = (ROOT / "docs/producers.rst").read_text("utf-8")
    rows = re.findall(r"(?m)^``(\w+)`` .*  (no|perhaps\b.*)$", text)
    told = {name for name, _ in rows}
    for name, there in rows:
        added = getattr(getattr(errors, name, None), "added", False)
        # An instance may tell more than its class.
        assert added is None or there == "no", name
        assert added is False or there != "no" or name == "BrokerRefused", name
    raised = {
        *("BadTask", "BrokerError", "BrokerRefused", "BrokerUnreachable"),
        *("CertificateRefused", "ChannelLost", "ConfigError", "MessageRefused"),
        *("PublishRefused", "TypeError", "Unroutable"),
    }
    assert told == raised


@needs_checkout
def test_terms() -> None:
    """
    The terms of a policy and their defaults are those in its table.
    """
    text = (ROOT / "docs/retries.rst").read_text("utf-8")
    rows = dict(re.findall(r"(?m)^``(\w+)`` +(\S+)  ", text))
    terms = {each.name: each.default for each in attrs.fields(RetryPolicy)}
    assert {name: ast.literal_eval(rows[name]) for name in terms} == terms
