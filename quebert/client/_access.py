"""
Where the API is, and with which token: C{QUEBERT_URL}, C{QUEBERT_TOKEN} and
C{QUEBERT_TOKEN_FILE} of the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import attrs

from quebert._lines import lines_of
from quebert._url import absolute, without_userinfo
from quebert.errors import ConfigError

__all__ = ["APIAccess", "checked_url"]

_URL, _TOKEN, _TOKEN_FILE = "QUEBERT_URL", "QUEBERT_TOKEN", "QUEBERT_TOKEN_FILE"
_PRINTABLE = re.compile(r"[!-~]{1,512}")


def checked_url(url: str, name: str) -> str:
    """
    A URL without a slash at its end.

    @param name: what the URL is called in an error.
    @raise ConfigError: nothing can be requested there.
    """
    try:
        found, authorization = absolute(url, "")
    except ValueError as e:
        shown = without_userinfo(url)[:100]
        raise ConfigError(f"{name} {shown} cannot be requested: {e}") from None
    parts = urlsplit(found)
    if authorization or parts.query or parts.fragment:
        text = "must have no user, no query and no fragment"
        raise ConfigError(f"{name} {without_userinfo(url)[:100]} {text}")
    return found.rstrip("/")


@attrs.frozen
class APIAccess:
    """
    Where the API is.

    @ivar url: without a slash at its end, and without C{/v1}.
    @ivar token: empty for none.
    """

    url: str
    token: str = attrs.field(default="", repr=False)

    @classmethod
    def of(cls, url: str | None = None, token: str | None = None) -> APIAccess:
        """
        The place that a program names, or that of the environment.  A token of the
        environment is only for the place of the environment.

        @raise ConfigError: it is wrong, or there is none.
        """
        if url is not None:
            return cls(checked_url(url, "the URL"), _checked(token or "", "the token"))
        found = cls.from_environment()
        if found is None:
            raise ConfigError(f"there is no URL of the API: give one, or set {_URL}")
        if token is None:
            return found
        return cls(found.url, _checked(token, "the token"))

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] = os.environ
    ) -> APIAccess | None:
        """
        The place that C{QUEBERT_URL} names; C{None} if it is not set.

        @raise ConfigError: it is wrong.
        """
        url = environment.get(_URL)
        if not url:
            return None
        return cls(checked_url(url, _URL), _token(environment))


def _token(environment: Mapping[str, str]) -> str:
    path, token = environment.get(_TOKEN_FILE), environment.get(_TOKEN)
    if path and token:
        raise ConfigError(f"set {_TOKEN_FILE} or {_TOKEN}, not both")
    if not path:
        return _checked(token or "", _TOKEN)
    lines = [line.strip() for _, line in lines_of(path)]
    if len(lines) != 1:
        raise ConfigError(f"{_TOKEN_FILE}: {path} must have one line with a token")
    return _checked(lines[0], _TOKEN_FILE)


def _checked(token: str, name: str) -> str:
    if token and not _PRINTABLE.fullmatch(token):
        raise ConfigError(f"{name} must have printable characters of ASCII alone")
    return token
