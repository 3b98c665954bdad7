"""
Settings as frozen values: their parsing and its error messages, nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import attrs

from quebert.errors import ConfigError

__all__ = ["DEFAULT_AMQP_URL", "Broker", "Watch", "default_amqp_url"]

DEFAULT_AMQP_URL = "amqp://guest:guest@localhost:5672/"


def default_amqp_url(environment: Mapping[str, str] = os.environ) -> str:
    """
    C{QUEBERT_AMQP_URL} where it is set: the place for a password that should
    not be seen in a list of processes.
    """
    return environment.get("QUEBERT_AMQP_URL") or DEFAULT_AMQP_URL


@attrs.frozen
class Broker:
    """
    Where a broker is, and who we are there.

    @ivar heartbeat: seconds; 0 for none.
    """

    host: str
    port: int
    username: str
    password: str = attrs.field(repr=False)
    vhost: str
    heartbeat: int
    tls: bool

    @classmethod
    def from_url(cls, url: str) -> Broker:
        """
        Read an AMQP URI: C{amqp://user:password@host:port/vhost?heartbeat=30},
        percent-encoded where it must be.  Without a path, or with an empty
        one, the virtual host is C{/}.

        @raise ConfigError: it is not one; the text tells which part of it.
        """
        if "#" in url:
            raise ConfigError("a # in an AMQP URL is written %23")
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ConfigError("the AMQP URL has a host that cannot be read") from None
        if parts.scheme not in ("amqp", "amqps"):
            raise ConfigError(
                "the AMQP URL must begin with amqp:// or amqps://, like"
                f" {DEFAULT_AMQP_URL}"
            )
        tls = parts.scheme == "amqps"
        return cls(
            host=_decoded("host", parts.hostname or None, "localhost"),
            port=_port(parts, 5671 if tls else 5672),
            username=_decoded("user", parts.username, "guest"),
            password=_decoded("password", parts.password, "guest"),
            vhost=_vhost(parts.path),
            heartbeat=_heartbeat(parts.query),
            tls=tls,
        )


def _port(parts: SplitResult, default: int) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ConfigError(
            "the AMQP URL needs a port from 1 to 65535; in a user or password,"
            " / and ? are written %2f and %3f"
        )
    return port or default


def _decoded(part: str, text: str | None, default: str) -> str:
    try:
        return default if text is None else unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ConfigError(f"the {part} in the AMQP URL is not UTF-8") from None


def _vhost(path: str) -> str:
    if "/" in path[1:]:
        raise ConfigError("a / in the virtual host of an AMQP URL is written %2f")
    return _decoded("virtual host", path[1:], "/") or "/"


def _heartbeat(query: str) -> int:
    if "@" in query:
        raise ConfigError("a ? in the user or password of an AMQP URL is written %3f")
    options = dict(parse_qsl(query, keep_blank_values=True))
    text = options.pop("heartbeat", "30")
    if options:
        unknown = min(options)
        raise ConfigError(f"the AMQP URL has the option {unknown}: only heartbeat is")
    if not _is_short(text):
        raise ConfigError(f"heartbeat={text} must be seconds from 0 to 65535")
    return int(text)


def _is_short(text: str) -> bool:
    """
    Whether it is a number from 0 to 65535.
    """
    digits = text.isascii() and text.isdigit() and len(text) < 6
    return digits and int(text) < 65536


@attrs.frozen
class Watch:
    """
    A queue to watch.

    @ivar max_events: how many of its tasks may be in flight; 0 for no limit,
        C{None} for the default.
    """

    exchange: str
    queue: str
    routing_key: str
    max_events: int | None = None

    @classmethod
    def parse(cls, text: str) -> Watch:
        """
        Read C{exchange:queue:key} or C{exchange:queue:key:maxEvents}.

        @raise ConfigError: it is neither.
        """
        parts = text.split(":")
        if len(parts) not in (3, 4) or not parts[1]:
            raise ConfigError(
                f"--watch {text} must be exchange:queue:key:maxEvents, such as"
                " flow:medium-priority-queue:tasks.medium:5"
            )
        limit = parts[3] if len(parts) == 4 else ""
        if limit and not _is_short(limit):
            raise ConfigError(
                f"--watch {text}: maxEvents must be a number from 0 to 65535"
            )
        exchange, queue, key = parts[:3]
        return cls(exchange, queue, key, int(limit) if limit else None)
