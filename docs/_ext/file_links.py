"""
Links to files, as forges follow them, become links to pages.

A document links to another one by its file, C{`retries <retries.rst#a-policy>`_}, so
that the link works wherever the file is shown.  In what Sphinx builds, it leads

  - to the page of that document,
  - to the page that includes the file (C{file_links_pages}, from files to pages),
  - to the page of a module of quebert in the API reference, in the folder
    C{file_links_api},
  - or else to a copy of the file.

A link to a file that is not there is a warning.  Images of an included file are found
beside that file, as forges find them.
"""

from __future__ import annotations

import os.path
import posixpath
import re
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

__all__ = ["FileLinks", "IncludedImages", "setup"]

logger = logging.getLogger(__name__)
_ELSEWHERE = re.compile(r"[a-z]+:|#|$")


class IncludedImages(SphinxTransform):
    """
    Tells Sphinx where the images of included files are.
    """

    default_priority = 5

    def apply(self, **options: Any) -> None:
        """
        Called by Sphinx for each document that it has read.
        """
        here = Path(self.env.doc2path(self.env.docname)).parent
        for node in self.document.findall(nodes.image):
            if not _ELSEWHERE.match(node["uri"]):
                node["uri"] = os.path.relpath(_source(node).parent / node["uri"], here)


class FileLinks(SphinxPostTransform):
    """
    Replaces the targets of links.
    """

    default_priority = 5

    def run(self, **options: Any) -> None:
        """
        Called by Sphinx for each document that it writes.
        """
        for node in self.document.findall(nodes.reference):
            target = node.get("refuri", "#")
            if not node.get("internal") and not _ELSEWHERE.match(target):
                self._replace(node, *target.partition("#")[::2])

    def _replace(self, node: nodes.reference, name: str, anchor: str) -> None:
        path = (_source(node).parent / name).resolve()
        uri = self._uri(path) if path.exists() else None
        if uri is None:
            logger.warning("link to %s, which is not there", name, location=node)
            return
        node["refuri"] = f"{uri}#{anchor}" if anchor else uri
        node["internal"] = True

    def _uri(self, path: Path) -> str | None:
        root = Path(self.app.srcdir).parent
        name = path.relative_to(root).as_posix()
        docname = self.config.file_links_pages.get(name) or self.env.path2doc(path)
        builder = self.app.builder
        if docname in self.env.all_docs:
            return builder.get_relative_uri(self.env.docname, docname)
        here = posixpath.dirname(builder.get_target_uri(self.env.docname)) or "."
        is_module = path.suffix == ".py" and name.startswith("quebert/")
        target = self._module(name) if is_module else self._copy(path, name)
        return posixpath.relpath(target, here)

    def _module(self, name: str) -> str:
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        return f"{self.config.file_links_api}/{module}.html"

    def _copy(self, path: Path, name: str) -> str:
        copy = Path(self.app.outdir) / "_files" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
        return f"_files/{name}"


def _source(node: nodes.Node) -> Path:
    """
    The file in which a node stands: an included one, or the document.
    """
    at: nodes.Node | None = node
    while at is not None and at.source is None:
        at = at.parent
    assert at is not None
    assert at.source is not None
    return Path(at.source)


def setup(app: Sphinx) -> dict[str, bool]:
    """
    Called by Sphinx.
    """
    app.add_config_value("file_links_pages", {}, "env")
    app.add_config_value("file_links_api", "api", "env")
    app.add_transform(IncludedImages)
    app.add_post_transform(FileLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
