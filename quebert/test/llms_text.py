"""
C{llms.txt}, which tells language models what there is to read (U{https://llmstxt.org}):
made of C{docs/index.rst}.  This prints the one that C{quebert web} serves::

    python -m quebert.test.llms_text > quebert/web/assets/llms.txt

C{make docs} puts another one beside the pages, with links to these.  It uses no
docutils, since Sphinx has put its own directives there.
"""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import quebert

__all__ = ["INDEX", "in_repository", "llms_text", "served"]

#: The page that has links to all others.
INDEX = Path(quebert.__file__).parents[1] / "docs" / "index.rst"

#: What is said of the API, which the index has no links to.
_API = """
## The HTTP API

`quebert web` and `quebert dev` serve it, at http://localhost:8080/v1 by default, for
those who have a bearer token.

- `/v1/openapi.json`: all routes as OpenAPI 3.1, without a token
- `/v1/openapi`: the same as a page for people
- `POST /v1/tasks` creates a task: `{"url": "http://localhost/hello", "params": {}}`
"""
#: What stands before the links of the one that C{quebert web} serves.
_WHERE = "The pages below are files in quebert's repository."
#: Those that a reader in a hurry may leave out, as the convention calls them.
_OPTIONAL = {"The project": "Optional"}
_HEADING = re.compile(r"(?m)^(.+)\n([=-])\2+\n")
_LINK = re.compile(r"`([^`<]+?)\s*<([^`>]+)>`_")


def in_repository(target: str) -> str:
    """
    Where the file of a link of the index is, in quebert's repository.
    """
    return posixpath.normpath(posixpath.join("docs", target))


def llms_text(index: str, place: Callable[[str], str], where: str = "") -> str:
    """
    The file.

    @param index: the text of the page.
    @param place: gives what the link to a file is replaced by.
    @param where: tells what the links lead to.
    """
    _, title, _, beginning, *others = _HEADING.split(index)
    first, *_, last = _paragraphs(beginning)
    lines = [f"# {title}", "", f"> {_plain(first)}", "", _plain(last)]
    lines += [*_API.rstrip().splitlines(), *(["", where] if where else [])]
    for heading, _, text in zip(others[::3], others[1::3], others[2::3], strict=True):
        lines += ["", f"## {_OPTIONAL.get(heading, heading)}", ""]
        for paragraph in _paragraphs(text):
            lines += _links(paragraph, place)
    return "\n".join(lines) + "\n"


def _paragraphs(text: str) -> Iterator[str]:
    """
    Its paragraphs and the items of its lists, each in one line; no directives.
    """
    for paragraph in re.split(r"\n\n+(?=\S)", text.strip()):
        if not paragraph.startswith(".. "):
            for item in re.split(r"(?m)^\* ", paragraph):
                yield " ".join(item.split())


def _links(paragraph: str, place: Callable[[str], str]) -> Iterator[str]:
    found = list(_LINK.finditer(paragraph))
    text = paragraph
    if paragraph.startswith("`"):  # it is about the first; others have lines elsewhere
        found = found[:1]
        text = paragraph[found[0].end() :].lstrip(":, ")
    said = _plain(text).rstrip(".")
    for link in found:
        more = f": {said}" if said else ""
        yield f"- [{link[1]}]({place(link[2])}){more}"


def _plain(text: str) -> str:
    return _LINK.sub(r"\1", text).replace("``", "`")


def served() -> str:
    """
    The one that C{quebert web} serves.
    """
    return llms_text(INDEX.read_text("utf-8"), in_repository, _WHERE)


if __name__ == "__main__":
    sys.stdout.write(served())
