"""
Which modules of quebert use a module that has no functions, such as an Enum's.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

_Function = (ast.FunctionDef, ast.AsyncFunctionDef)


def has_functions(source: bytes) -> bool:
    """
    Whether there is any function, or method, in the source of a module.
    """
    return any(isinstance(node, _Function) for node in ast.walk(ast.parse(source)))


@cache
def importers(root: Path, path: str, name: str | None = None) -> frozenset[str]:
    """
    The modules that import names of the module C{path}, or this name, from it or from
    the face of a package that has them from it; all are paths from C{root}.
    """
    imported = {
        str(each.relative_to(root)): _imported(each.read_bytes())
        for each in sorted((root / "quebert").rglob("*.py"))
    }
    found: set[str] = set()
    names = {name} if name else _defined((root / path).read_bytes())
    waiting = [(_dotted(path), each) for each in names]
    seen = set(waiting)
    while waiting:
        wanted = waiting.pop()
        for each in (each for each, names in imported.items() if wanted in names):
            found.add(each)
            again = _dotted(each), wanted[1]
            if each.endswith("__init__.py") and again not in seen:
                seen.add(again)
                waiting.append(again)
    return frozenset(found)


def _dotted(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imported(source: bytes) -> set[tuple[str, str]]:
    """
    Modules, and the names that are imported from them.
    """
    return {
        (node.module or "", alias.name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _defined(source: bytes) -> set[str]:
    """
    The names that a module defines.
    """
    found = set()
    for node in ast.parse(source).body:
        match node:
            case ast.ClassDef(name=name):
                found.add(name)
            case ast.Assign(targets=targets):
                found |= {each.id for each in targets if isinstance(each, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
    return found
