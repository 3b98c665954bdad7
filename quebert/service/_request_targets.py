"""
The C{http_target} of a queue, as its definition has it, as what a mediator puts in
place of parts of each request.  Pure.

A definition has it as JSON, in the terms of C{HttpTarget} of Cloud Tasks, with enums as
names.  What is not known here is refused: tasks would go to the wrong place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quebert.errors import BadTask, ConfigError
from quebert.mediator import RequestTarget, retargeted
from quebert.task import IDTokenWanted, Request

__all__ = ["request_target_of"]

_METHODS = ("POST", "GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS")
_UNSPECIFIED = "_UNSPECIFIED"
_ANY = Request("POST", "http://localhost/a?b", {}, 0.0)
_MODES = {"IF_NOT_EXISTS": True, "ALWAYS": False}


def request_target_of(plain: Mapping[str, Any]) -> RequestTarget | None:
    """
    What takes the place of parts of each request; C{None} for nothing.

    @raise ConfigError: it cannot be read, whole, or no request could be made with it.
    """
    if not plain:
        return None
    rest = dict(plain)
    fields: dict[str, Any] = _uri(_object(rest, "uriOverride"))
    method = _text(rest, "httpMethod")
    if method is not None and not method.endswith(_UNSPECIFIED):
        fields["method"] = _one_of(method, _METHODS)
    fields["headers"] = _headers(rest.pop("headerOverrides", []))
    token = _object(rest, "oidcToken")
    if token:
        email = _text(token, "serviceAccountEmail") or ""
        fields["id_token"] = IDTokenWanted(email, _text(token, "audience") or "")
        _end(token)
    _end(rest)
    found = RequestTarget(**fields)
    try:
        retargeted(_ANY, found)
    except BadTask as e:
        raise ConfigError(f"http_target cannot be used: {e}") from None
    return found


def _uri(override: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    scheme = _text(override, "scheme")
    if scheme is not None and not scheme.endswith(_UNSPECIFIED):
        fields["scheme"] = _one_of(scheme, ("HTTP", "HTTPS")).lower()
    fields["host"] = _text(override, "host")
    port = override.pop("port", None)  # an int64 is a text in JSON
    if port is not None:
        fields["port"] = _port(port)
    for key, inner, name in (
        ("pathOverride", "path", "path"),
        ("queryOverride", "queryParams", "query"),
    ):
        if key in override:  # without a text there, the URL has none afterwards
            part = _object(override, key)
            fields[name] = _text(part, inner) or ""
            _end(part)
    mode = _text(override, "uriOverrideEnforceMode")
    if mode is not None and not mode.endswith(_UNSPECIFIED):
        fields["only_missing"] = _MODES[_one_of(mode, _MODES)]
    _end(override)
    return fields


def _headers(overrides: Any) -> dict[str, str]:
    if not isinstance(overrides, list):
        raise ConfigError("http_target has headerOverrides that are no array")
    found: dict[str, str] = {}
    for each in overrides:
        inner = _object({"header": each}, "header")
        header = _object(inner, "header")
        name = _text(header, "key")
        if not name:
            raise ConfigError("http_target has a header without a key")
        found[name] = _text(header, "value") or ""
        _end(header)
        _end(inner)
    return found


def _object(outer: dict[str, Any], key: str) -> dict[str, Any]:
    found = outer.pop(key, {})
    if not isinstance(found, dict):
        raise ConfigError(f"http_target has a {key} that is no object")
    return dict(found)


def _text(outer: dict[str, Any], key: str) -> str | None:
    found = outer.pop(key, None)
    if found is None or isinstance(found, str):
        return found
    raise ConfigError(f"http_target has a {key} that is no text")


def _one_of(value: str, known: Any) -> str:
    if value in known:
        return value
    raise ConfigError(f"http_target has {value[:40]!r}, which is not known")


def _port(value: object) -> int:
    text = str(value)
    if text.isascii() and text.isdigit() and len(text) < 6 and int(text) < 65_536:
        return int(text)
    raise ConfigError("http_target has a port that is none")


def _end(rest: Mapping[str, Any]) -> None:
    for key in rest:
        raise ConfigError(f"http_target has {key[:40]!r}, which is not known")
