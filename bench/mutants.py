"""
Small faults in source text: a comparison, a condition, a number, a result changed, or a
call left out.

A fault is known by its text and its function, and not by its line.  So a selection
stays nearly the same when other code changes.
"""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs

_SWAPPED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
#: Calls that do nothing, or only help the type checker.
_IDLE = "assert_never", "reveal_type"
#: A number from here on is a limit: one more or less is as good.  Those are changed by
#: a factor of ten.
LARGE = 1_000
#: Parts of a statement that are statements themselves, and text.
_NOT_SEARCHED = ast.stmt, ast.match_case, ast.ExceptHandler, ast.JoinedStr
_Function = (ast.FunctionDef, ast.AsyncFunctionDef)


@attrs.frozen
class Mutant:
    """
    One fault.

    @ivar path: of the file, from the root of the repository.
    @ivar function: the name of the function or class, qualified; or "".
    @ivar statement: the statement's first line, which tells it from others.
    @ivar line: where the text stands that is replaced; the other three say the same,
        C{column} and C{end} in bytes of their lines.
    """

    path: str
    function: str
    statement: str
    before: str
    after: str
    number: int
    line: int
    column: int
    last: int
    end: int

    @property
    def key(self) -> str:
        """
        What names this fault, wherever its line is.
        """
        named = self.path, self.function, self.statement, self.before, self.after
        return hashlib.sha256(repr((*named, self.number)).encode()).hexdigest()[:16]

    @property
    def room(self) -> str:
        """
        The folder, without C{quebert/}.
        """
        return str(Path(self.path).parent.relative_to("quebert"))

    def applied(self, source: bytes) -> bytes:
        """
        The source of the file with this fault.
        """
        lines = source.splitlines(keepends=True)
        head = lines[self.line - 1][: self.column]
        tail = lines[self.last - 1][self.end :]
        changed = head + self.after.encode() + tail
        return b"".join([*lines[: self.line - 1], changed, *lines[self.last :]])

    def __str__(self) -> str:
        shown = " ".join(self.before.split())
        return f"{self.path}:{self.line}  {shown}  ->  {self.after}"


def chosen(root: Path, folders: tuple[str, ...], seed: int) -> list[Mutant]:
    """
    All statements that a fault can be put into, each with one fault, in a random order
    that the seed decides.  A prefix of it is a random sample, in which a folder has the
    share that it has of all such statements.
    """

    def rank(*what: object) -> str:
        return hashlib.sha256(repr((seed, *what)).encode()).hexdigest()

    picked = []
    for folder in folders:
        for path in sorted((root / "quebert" / folder).rglob("*.py")):
            for mutants in _Finder(str(path.relative_to(root)), path.read_bytes()):
                picked.append(min(mutants, key=lambda each: rank(each.key)))
    return sorted(picked, key=lambda each: rank("statement", each.key))


def around(source: bytes, first: int, last: int) -> range:
    """
    Lines by which to find the tests that execute some lines: these; or all of the
    coroutine in which they stand, since Python 3.11 tells nobody who traces that a
    coroutine goes on with an exception.
    """
    coroutines = [
        range(node.lineno, (node.end_lineno or 0) + 1)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.AsyncFunctionDef)
        and node.lineno < first
        and last <= (node.end_lineno or 0)
    ]
    return min(coroutines, key=len, default=range(first, last + 1))


class _Finder:
    """
    Iterates over the faults of each statement of a file.
    """

    def __init__(self, path: str, source: bytes) -> None:
        self._path = path
        self._lines = source.splitlines(keepends=True)
        self._seen: Counter[tuple[str, str]] = Counter()
        self._tree = ast.parse(source)

    def __iter__(self) -> Iterator[list[Mutant]]:
        yield from self._in_body(self._tree.body, ())

    def _in_body(
        self, body: list[ast.stmt], scope: tuple[str, ...]
    ) -> Iterator[list[Mutant]]:
        for statement in body:
            if _exempt(statement):
                continue
            inner = scope
            if isinstance(statement, (*_Function, ast.ClassDef)):
                inner = (*scope, statement.name)
            found = [
                self._mutant(statement, ".".join(inner), node, after)
                for node, after in _changes(statement)
            ]
            if found:
                self._seen[found[0].function, found[0].statement] += 1
                yield found
            for block in _blocks(statement):
                yield from self._in_body(block, inner)

    def _mutant(
        self, statement: ast.stmt, scope: str, node: ast.expr | ast.stmt, after: str
    ) -> Mutant:
        first = self._lines[statement.lineno - 1].decode().strip()
        line, last = node.lineno, node.end_lineno or node.lineno
        column, end = node.col_offset, node.end_col_offset or 0
        text = b"".join(self._lines[line - 1 : last])
        text = text[column : len(text) - len(self._lines[last - 1]) + end]
        number = self._seen[scope, first]
        return Mutant(
            path=self._path,
            function=scope,
            statement=first,
            before=text.decode(),
            after=after,
            number=number,
            line=line,
            column=column,
            last=last,
            end=end,
        )


def _exempt(statement: ast.stmt) -> bool:
    match statement:
        case ast.FunctionDef(name="__repr__") | ast.Assert() | ast.Import():
            return True
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return "overload" in map(ast.unparse, statement.decorator_list)
        case ast.ClassDef():
            return any("Protocol" in ast.unparse(base) for base in statement.bases)
        case ast.If(test=test):
            return "TYPE_CHECKING" in ast.unparse(test)
        case ast.Assign(targets=[ast.Name(id="__slots__" | "__all__")]):
            return True
    return False


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for name in "body", "orelse", "finalbody":
        yield getattr(statement, name, [])
    for part in [*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())]:
        yield part.body


def _changes(statement: ast.stmt) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """
    What can be replaced in a statement itself, and not in those that it holds, with
    what.
    """
    match statement:
        case (
            ast.Expr(value=ast.Call() as call)
            | ast.Expr(value=ast.Await(value=ast.Call() as call))
        ):
            if ast.unparse(call.func) not in _IDLE:
                yield statement, "pass"
        case ast.Return(value=ast.Constant(value=bool(result)) as constant):
            yield constant, str(not result)
        case ast.Return(value=value) if value and not _is_none(value):
            yield value, "None"
        case ast.If(test=test) | ast.While(test=test):
            yield from _conditions(test)
        case ast.Match():
            for case in statement.cases:
                yield from _conditions(case.guard) if case.guard else ()
    for node in _expressions(statement):
        yield from _within(node)


def _within(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    match node:
        case ast.Compare():
            for place, each in enumerate(node.ops):
                for other in _SWAPPED[type(each)]:
                    ops = [*node.ops[:place], other(), *node.ops[place + 1 :]]
                    yield (
                        node,
                        ast.unparse(ast.Compare(node.left, ops, node.comparators)),
                    )
        case ast.BoolOp():
            swapped = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield node, f"({ast.unparse(ast.BoolOp(swapped, node.values))})"
        case ast.UnaryOp(op=ast.Not()):
            yield node, f"({ast.unparse(node.operand)})"
        case ast.IfExp():
            yield from _conditions(node.test)
        case ast.comprehension():
            for test in node.ifs:
                yield from _conditions(test)
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            if value < LARGE:
                yield node, str(value + 1)
                yield node, f"({value - 1})"
            else:
                yield node, str(value * 10)
                yield node, str(value // 10)


def _conditions(test: ast.expr) -> Iterator[tuple[ast.expr, str]]:
    yield test, f"(not ({ast.unparse(test)}))"
    for constant in "True", "False":
        if ast.unparse(test) != constant:
            yield test, constant


def _expressions(statement: ast.stmt) -> Iterator[ast.AST]:
    """
    The expressions of a statement, but for annotations, decorators, and what is logged.
    """
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "bases"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if (
                    not isinstance(child, ast.AST)
                    or isinstance(child, _NOT_SEARCHED)
                    or (isinstance(child, ast.Call) and _logs(child))
                ):
                    continue
                yield child
                waiting.append(child)


def _logs(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    return name.startswith(("log.", "_log.")) or ".log." in name


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None
