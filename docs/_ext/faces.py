"""
How pydoctor sees quebert: a name that a package re-exports belongs to the package, a
comment C{#:} above a name is its docstring, and each public name has one.

pydoctor leaves a name in the module that defines it if that module has the name in its
C{__all__}, as ours do.  L{show_in_faces} moves such a name to the outermost public
package that has it in its C{__all__}.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from pydoctor import model
from pydoctor.extensions import ExtRegistrar

__all__ = ["System", "setup_pydoctor_extension"]

MARK = "#:"
#: Variables of classes whose meaning is told by Twisted.
TWISTEDS = (
    "displayTracebacks",
    "isLeaf",
    "log",
    "longdesc",
    "noisy",
    "optParameters",
    "synopsis",
    "transport",
)


def is_public(ob: model.Documentable) -> bool:
    """
    Whether no part of a dotted name begins with an underscore.
    """
    return not any(part.startswith("_") for part in ob.fullName().split("."))


def show_in_faces(system: model.System) -> None:
    """
    Move what public packages re-export from private modules, the outermost first.
    """
    places: dict[str, str] = {}
    modules = [m for m in system.objectsOfType(model.Module) if is_public(m)]
    for face in sorted(modules, key=lambda each: each.fullName().count(".")):
        for name in face.all or ():
            shown = found(face, name)
            if shown is None:
                face.report(f"__all__ has {name}, which is not there")
                continue
            before = shown.fullName()
            if not is_public(shown):
                move(shown, face, name)
            for each in (before, f"{face.fullName()}.{name}"):
                places[each] = shown.fullName()
    for module in system.objectsOfType(model.CanContainImportsDocumentable):
        known = module._localNameToFullName_map
        known.update({name: places.get(full, full) for name, full in known.items()})


def found(module: model.Module, name: str) -> model.Documentable | None:
    """
    What a name stands for, through all packages that re-export it.
    """
    shown = module.resolveName(name)
    home, _, inside = module.expandName(name).rpartition(".")
    there = module.system.objForFullName(home)
    if shown is None and isinstance(there, model.Module) and there is not module:
        return found(there, inside)
    return shown


def move(shown: model.Documentable, face: model.Module, name: str) -> None:
    """
    Move a name to a package, which then knows all names that its docstring may link to.
    """
    home = shown.module
    shown.reparent(face, name)
    here = {each: it.fullName() for each, it in home.contents.items()}
    for each, full in {**home._localNameToFullName_map, **here}.items():
        face._localNameToFullName_map.setdefault(each, full)


def read_comments(system: model.System) -> None:
    """
    Take comments for docstrings, and what is told of the parameter that an attribute is
    set to.
    """
    for each in system.objectsOfType(model.Attribute):
        if each.docstring is None and each.linenumber:
            take_comment(each)
        if not (each.docstring or each.parsed_docstring):
            take_parameter(each)


def take_comment(ob: model.Attribute) -> None:
    """
    Take the comment above a name for its docstring.
    """
    assert isinstance(ob.source_path, Path)
    lines = ob.source_path.read_text("utf-8").splitlines()[: ob.linenumber - 1]
    comment: list[str] = []
    while lines and lines[-1].lstrip().startswith(MARK):
        comment.insert(0, lines.pop().lstrip().removeprefix(MARK).strip())
    if comment:
        ob.docstring = "\n".join(comment)
        ob.docstring_lineno = len(lines) + 1


def take_parameter(ob: model.Attribute) -> None:
    """
    Take what the docstring of a class tells of the parameter of that name.
    """
    whole = ob.parent.docstring or ""
    found = re.search(rf"(?ms)^@param {ob.name}: (.*?)(?=^@|\Z)", whole)
    if found:
        ob.docstring = inspect.cleandoc(found[1])
        ob.docstring_lineno = ob.parent.docstring_lineno


def require_docstrings(system: model.System) -> None:
    """
    Report public names that have no docstring and are none of Twisted's.
    """
    for each in system.allobjects.values():
        told = any(it.docstring or it.parsed_docstring for it in each.docsources())
        known = told or each.name in TWISTEDS
        if is_public(each) and each.isVisible and not known:
            each.report(f"{each.fullName()} has no docstring")


def setup_pydoctor_extension(registrar: ExtRegistrar) -> None:
    """
    Called by pydoctor.
    """
    steps = (read_comments, show_in_faces, require_docstrings)
    registrar.register_post_processor(*steps, priority=0)


class System(model.System):
    """
    What pydoctor knows of quebert.
    """

    custom_extensions = ["faces"]

    def privacyClass(self, ob: model.Documentable) -> model.PrivacyClass:
        """
        Hide setters of properties, and what pydoctor has renamed since its name is
        there twice.
        """
        if " " in ob.name or "." in ob.name:
            return model.PrivacyClass.HIDDEN
        return super().privacyClass(ob)
