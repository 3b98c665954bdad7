"""
C{llms.txt} beside the built pages, with links to these.
"""

from __future__ import annotations

import posixpath
from pathlib import Path

from sphinx.application import Sphinx

from quebert.test.llms_text import in_repository, llms_text

__all__ = ["setup", "write"]


def write(app: Sphinx, error: Exception | None) -> None:
    """
    Write it, once all pages are there.
    """
    if error is not None:
        return

    def place(target: str) -> str:
        name = in_repository(target)
        page = app.config.file_links_pages.get(name)
        page = page or posixpath.relpath(name, "docs").removesuffix(".rst")
        return str(app.builder.get_target_uri(page))

    index = Path(app.srcdir, "index.rst").read_text("utf-8")
    Path(app.outdir, "llms.txt").write_text(llms_text(index, place), "utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """
    Called by Sphinx.
    """
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
