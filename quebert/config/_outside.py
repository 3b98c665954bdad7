"""
What a configuration file only names: secrets, which are in the environment or in
other files, and functions.
"""

from __future__ import annotations

import base64
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from quebert._secrets import Secret
from quebert._text import what_is_wrong
from quebert.config._kinds import choice, dotted_name, shown, text
from quebert.config._problems import Wrong
from quebert.config._table import LARGEST_FILE, Table
from quebert.errors import ConfigError
from quebert.signatures import Key, TokenKeys, read_keys

__all__ = ["Outside", "headers"]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
#: What the body is, and its framing (RFC 9112, section 6).
_OF_THE_BODY = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
#: Headers whose values nobody should read in a file.
_SECRET = frozenset(["authorization", "cookie", "proxy-authorization"])
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_BY_NAME = '{ env = "NAME" } or { file = "PATH" }'


class Outside:
    """
    Where that is found.

    @param environment: the variables.
    @param folder: what paths are relative to.
    @param find: raises C{ConfigError} where there is no function of a name.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        folder: Path,
        find: Callable[[str], object] | None,
    ) -> None:
        self._environment = environment
        self._folder = folder
        self._find = find

    def hook(self, value: object) -> str:
        """
        The name of a function that is there.
        """
        name = dotted_name(value)
        if self._find is not None:
            try:
                self._find(name)
            except ConfigError as e:
                raise Wrong(f"is wrong: {e}") from None
        return name

    def of_environment(self, value: object) -> str:
        """
        The value of the variable that C{value} names.
        """
        variable = text(value)
        found = self._environment.get(variable)
        if not found and not _VARIABLE.fullmatch(variable):  # it may be the secret
            raise Wrong("must be the name of an environment variable")
        if not found:
            raise Wrong(f"is the environment variable {variable}, which is not set")
        return found

    def of_file(self, value: object) -> str:
        """
        The content of the file that C{value} names, without the end of its line.
        """
        if "://" in text(value):  # it may be the secret
            raise Wrong("must be the path of a file")
        path = self.path(value)
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                raise Wrong(f"is {path!r}, which is not a file")
            if status.st_size > LARGEST_FILE:
                raise Wrong(f"is the file {path!r}, which is larger than any secret")
            found = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise Wrong(f"is the file {path!r}, which is not in UTF-8") from None
        except (OSError, ValueError) as e:
            why = what_is_wrong(e)
            raise Wrong(f"is the file {path!r}, which cannot be read: {why}") from None
        if not found:
            raise Wrong(f"is the file {path!r}, which is empty")
        return found

    def signing_keys(self, value: object) -> tuple[str, tuple[Key, ...]]:
        """
        The path of the file that C{value} names, and the keys in it.
        """
        path = self.path(value)
        try:
            return path, read_keys(path, signing=True)
        except ConfigError as e:
            raise Wrong(f"is wrong: {e}") from None

    def token_keys(self, value: object) -> tuple[str, TokenKeys]:
        """
        The same of the keys that sign ID tokens.
        """
        path = self.path(value)
        try:
            return path, TokenKeys.from_file(path)
        except ConfigError as e:
            raise Wrong(f"is wrong: {e}") from None

    def path(self, value: object) -> str:
        """
        The path that C{value} is.
        """
        return str(self._folder / text(value))


def headers(table: Table, outside: Outside) -> dict[str, str]:
    """
    The headers that a table gives, by their names.
    """
    table.check_case()
    found: dict[str, str] = {}
    for name in table:
        if not _HEADER.fullmatch(name):
            table.wrong(name, "is not the name of an HTTP header")
        elif name.lower() in _OF_THE_BODY:
            table.wrong(
                name,
                "cannot be set here: the mediator sees to the connection and the body",
            )
        else:
            value = _header(table, name, outside)
            if value is not None:
                found[name] = value
    return found


def _header(table: Table, name: str, outside: Outside) -> str | None:
    if table.has_table(name):
        return _secret(table, name, outside)
    return table.get(name, _forbidden if name.lower() in _SECRET else _plain, None)


def _forbidden(value: object) -> str:
    raise Wrong(f"is a secret, and must be {_BY_NAME}")


def _plain(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong(f"must be a text, or {_BY_NAME}, not {shown(value)}")
    if _UNSAFE.search(value):
        raise Wrong("must hold no control character")
    return value


def _secret(table: Table, name: str, outside: Outside) -> Secret:
    inner = table.table(name)
    found = inner.given(env=outside.of_environment, file=outside.of_file)
    scheme = inner.get("scheme", choice(*_SCHEMES), None)
    inner.end()
    if len(list(inner)) != 1 + ("scheme" in inner):
        table.wrong(name, f"must be {_BY_NAME}")
    value = "".join(found.values())
    if _UNSAFE.search(value):
        table.wrong(name, "must hold no control character")
    elif scheme is not None and value:
        try:
            return Secret(_SCHEMES[scheme](value))
        except Wrong as e:
            table.wrong(name, str(e))
    return Secret(value)


def _bearer(token: str) -> str:
    """
    RFC 6750, section 2.1.
    """
    if not _TOKEN.fullmatch(token):
        raise Wrong("must be a token for bearer: letters, digits and -._~+/ alone")
    return f"Bearer {token}"


def _basic(user_and_password: str) -> str:
    """
    RFC 7617, section 2.
    """
    if ":" not in user_and_password:
        raise Wrong("must be user:password for basic")
    encoded = base64.b64encode(user_and_password.encode("utf-8"))
    return f"Basic {encoded.decode('ascii')}"


#: From a secret to the header C{Authorization}, by the C{scheme}.
_SCHEMES = {"bearer": _bearer, "basic": _basic}
