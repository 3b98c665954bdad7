"""
The files of the page: each with its type, and a tag by which browsers ask whether it
has changed.  Nothing of the page comes from elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

import attrs

from quebert.web._exchange import APIAnswer, APIRequest

__all__ = ["PAGE_HEADERS", "Assets"]

_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ico": "image/vnd.microsoft.icon",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "mjs": "text/javascript; charset=utf-8",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
    "webmanifest": "application/manifest+json",
    "woff2": "font/woff2",
}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_INDEX = "index.html"
#: Paths of the page, by their first part, with how many parts may follow.
_PAGES = {"": 0, "queues": 1, "tasks": 1, "dead": 1, "hosts": 0, "mediators": 0}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)
#: Files with a path of their own.
_FILES = {
    ("favicon.ico",): "favicon.ico",
    ("llms.txt",): "llms.txt",
    ("v1", "openapi"): "openapi.html",
}
#: No script but those of the assets, nothing from elsewhere, in no frame.
PAGE_HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("Cache-Control", "no-cache"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
)


@attrs.frozen
class _Asset:
    body: bytes
    content_type: str

    @property
    def tag(self) -> str:
        return f'"{sha256(self.body).hexdigest()[:32]}"'


class Assets:
    """
    Answers requests for the page.

    @param folder: with the files; those of the package by default.
    @param is_fixed: whether they are read once alone.
    """

    def __init__(
        self, folder: Traversable | None = None, *, is_fixed: bool = True
    ) -> None:
        self._folder = folder or files("quebert.web") / "assets"
        self._is_fixed = is_fixed
        self._found = self._read()

    def _read(self) -> Mapping[str, _Asset]:
        found = {}
        for each in self._folder.iterdir():
            content_type = _TYPES.get(each.name.rpartition(".")[2])
            if each.is_file() and content_type and _NAME.fullmatch(each.name):
                found[each.name] = _Asset(each.read_bytes(), content_type)
        return found

    def answer(self, request: APIRequest) -> APIAnswer | None:
        """
        The answer to a GET; C{None} where the page has nothing of this name.
        """
        name = _asset_name(request.path)
        if name is None:
            return None
        if not self._is_fixed:
            self._found = self._read()
        asset = self._found.get(name)
        if asset is None:
            return None
        headers = (*PAGE_HEADERS, ("ETag", asset.tag))
        known = request.headers.get("if-none-match", "")
        if known == "*" or asset.tag in (e.strip() for e in known.split(",")):
            return APIAnswer(status=304, headers=headers, content_type="")
        return APIAnswer(
            body=asset.body, content_type=asset.content_type, headers=headers
        )


def _asset_name(path: tuple[str, ...]) -> str | None:
    if not path:  # of a target that begins with no slash, such as "*"
        return None
    first, *others = path
    if first == "assets":
        return others[0] if len(others) == 1 else None
    if path in _FILES:
        return _FILES[path]
    return _INDEX if len(others) <= _PAGES.get(first, -1) else None
