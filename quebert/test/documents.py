"""
Documents: their blocks of code, and the sessions in them.

A session is a block of the kind C{console}, or a literal block that begins with
C{"$ "}.  A line that begins with C{"$ "} is a command, and goes on in the next line
if it ends with a backslash.  The lines after a command are its output.  A session that
does not begin with a command shows more output of a program that is running already.
C{^C} at the end of a session is Ctrl-C.

In an output, C{…} stands for any part of a line, and on a line of its own for any
lines.  Times, ids and process ids may differ.  A code block with a C{:name:} is a file
that the reader has written.  A comment C{.. not run: REASON} before a session says that
no test runs it.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Collection, Iterator
from io import StringIO
from pathlib import Path

import attrs
from docutils import nodes
from docutils.core import publish_doctree
from docutils.parsers.rst import Directive, directives

from quebert import task as tasks
from quebert.policy import RetryPolicy, overridden
from quebert.task._keywords import FIELDS
from quebert.test.calls import wrong_calls

__all__ = [
    "INTERRUPT",
    "Block",
    "Document",
    "Step",
    "check_python",
    "check_task",
    "is_command",
    "pattern",
]

INTERRUPT = "^C"


class _Contents(Directive):  # type: ignore[misc]
    """
    The C{toctree} of Sphinx, which forges leave out.
    """

    has_content = True
    option_spec = {
        "caption": directives.unchanged,
        "hidden": directives.flag,
    }

    def run(self) -> list[nodes.Node]:
        """
        Show nothing.
        """
        return []


class _Included(Directive):  # type: ignore[misc]
    """
    The C{literalinclude} of Sphinx, which forges leave out, too: a link beside it leads
    to the file.
    """

    required_arguments = 1
    option_spec = {"language": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """
        Show nothing.
        """
        return []


directives.register_directive("toctree", _Contents)
directives.register_directive("literalinclude", _Included)

#: What inline commands begin with.
PROGRAMS = ("quebert", "twistd", "pip", "make", "python", "python3", "curl", "git")

_NOT_RUN = re.compile(r"not run:\s*(.+)", re.DOTALL)

#: The parts of an output that differ each time: ids, times, process ids.
_KINDS = (
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.]\d+)?(?:[+-]\d{4}|Z)?",
    r"\b[0-9a-f]{8}\b",
    r"\b\d\d:\d\d:\d\d\b",
    r"\d+ ms",
    r"process \d+",
)
_VARIES = re.compile("|".join(f"({kind})" for kind in _KINDS))


@attrs.frozen
class Step:
    """
    A command and its output, or more output of a program that is running already.

    @ivar command: C{None} if a program is running already.
    @ivar shown: the lines of the output, as in the document.
    @ivar interrupted: whether Ctrl-C ends the program after that.
    """

    command: str | None
    shown: tuple[str, ...]
    interrupted: bool = False


@attrs.frozen
class Block:
    """
    A literal block.

    @ivar kind: the language, C{""} if the document names none.
    @ivar line: where it is in the document, as docutils counts lines.
    @ivar name: the file that the reader writes it to.
    @ivar not_run: why no test runs it.
    """

    kind: str
    text: str
    line: int
    name: str | None = None
    not_run: str | None = None

    @property
    def steps(self) -> list[Step]:
        """
        The steps of a session; any other block has none.
        """
        return list(_steps(self.text.splitlines())) if self.kind == "console" else []


@attrs.frozen
class Document:
    """
    A document, or the text at the beginning of a program or a configuration.

    @ivar blocks: literal blocks, in their order.
    @ivar literals: what is quoted in running text.
    @ivar warnings: what docutils complains of.
    """

    name: str
    blocks: list[Block]
    literals: list[str]
    warnings: str

    @classmethod
    def read(cls, path: Path, name: str) -> Document:
        """
        Read a file.
        """
        complaints = StringIO()
        tree = publish_doctree(
            _text(path),
            source_path=name,
            settings_overrides={
                "syntax_highlight": "none",
                "report_level": 1,
                "halt_level": 5,
                "warning_stream": complaints,
            },
        )
        blocks = [_block(node) for node in tree.findall(nodes.literal_block)]
        literals = [" ".join(n.astext().split()) for n in tree.findall(nodes.literal)]
        return cls(name, blocks, literals, complaints.getvalue())

    @property
    def modules(self) -> list[str]:
        """
        The names of the Python modules that the reader writes.
        """
        names = (each.name for each in self.blocks if each.kind == "python")
        return [Path(name).stem for name in names if name is not None]

    @property
    def to_the_first_interrupt(self) -> Document:
        """
        The blocks up to the first Ctrl-C.
        """
        ends = [any(step.interrupted for step in each.steps) for each in self.blocks]
        return attrs.evolve(self, blocks=self.blocks[: ends.index(True) + 1])

    @property
    def all_run(self) -> Document:
        """
        The same for a reader who runs what tests leave out, too.
        """
        blocks = [attrs.evolve(each, not_run=None) for each in self.blocks]
        return attrs.evolve(self, blocks=blocks)

    @property
    def commands(self) -> list[str]:
        """
        All commands in its sessions, whether they are run or not.
        """
        steps = [step for block in self.blocks for step in block.steps]
        return [step.command for step in steps if step.command is not None]

    @property
    def inline_commands(self) -> list[list[str]]:
        """
        The words of each command in running text that has arguments.
        """
        found = (shlex.split(each) for each in self.literals if is_command(each))
        return [words for words in found if len(words) > 1]


def _text(path: Path) -> str:
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        return ast.get_docstring(ast.parse(text)) or ""
    if path.suffix == ".toml":
        comment = re.match(r"(?:#.*\n)+", text)
        return re.sub(r"(?m)^# ?", "", comment[0]) if comment else ""
    return text


def _block(node: nodes.literal_block) -> Block:
    classes = [each for each in node["classes"] if each != "code"]
    kind = classes[0] if classes else "console" if node.astext()[:2] == "$ " else ""
    (name,) = node["names"] or (None,)
    return Block(kind, node.astext(), node.line or 0, name, _not_run(node))


def _not_run(node: nodes.literal_block) -> str | None:
    siblings = node.parent.children
    place = siblings.index(node)
    if place == 0 or not isinstance(siblings[place - 1], nodes.comment):
        return None
    found = _NOT_RUN.fullmatch(siblings[place - 1].astext())
    return " ".join(found[1].split()) if found else None


def is_command(text: str) -> bool:
    """
    Whether a text begins as a command does.
    """
    return text.partition(" ")[0] in PROGRAMS


def _steps(lines: list[str]) -> Iterator[Step]:
    command: str | None = None
    shown: list[str] = []
    rest = iter(lines)
    for line in rest:
        if not line.startswith("$ "):
            shown.append(line)
            continue
        if command is not None or shown:
            yield _step(command, shown)
        command, shown = line[2:], []
        while command.endswith("\\"):
            command = f"{command[:-1].rstrip()} {next(rest).strip()}"
    yield _step(command, shown)


def _step(command: str | None, shown: list[str]) -> Step:
    interrupted = shown[-1:] == [INTERRUPT]
    return Step(command, tuple(shown[:-1] if interrupted else shown), interrupted)


def pattern(line: str) -> re.Pattern[str]:
    """
    A pattern that matches a line of output, also with other times and ids.
    """
    return re.compile(".*".join(map(_with_kinds, line.rstrip().split("…"))))


def _with_kinds(text: str) -> str:
    parts, end = [], 0
    for found in _VARIES.finditer(text):
        assert found.lastindex is not None
        parts += [re.escape(text[end : found.start()]), _KINDS[found.lastindex - 1]]
        end = found.end()
    return "".join([*parts, re.escape(text[end:])])


def check_python(text: str, written: Collection[str] = ()) -> None:
    """
    Check that code compiles, that it finds what it imports, and that quebert takes the
    arguments of its calls.

    @param written: modules that the reader has written.
    @raise AssertionError: a call is wrong.
    @raise Exception: the code does not compile, or an import fails.
    """
    tree = ast.parse(text)
    compile(tree, "document", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    wrong = list(wrong_calls(tree, written))
    assert not wrong, wrong


def check_task(text: str) -> None:
    """
    Check that a mediator takes the text as a task, and knows its fields.

    @raise AssertionError: it has a field that a mediator does not read.
    @raise BadTask: it is no task, or a field is wrong.
    """
    task = tasks.decode(text.encode())
    tasks.schedule(task)
    tasks.request(task, "http://localhost/")
    overridden(RetryPolicy(), task.get("retry"))
    unknown = set(task) - FIELDS
    assert not unknown, unknown
