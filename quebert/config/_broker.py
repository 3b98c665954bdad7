"""
Where a broker is, as an AMQP URL says it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import IPv6Address
from urllib.parse import parse_qsl, unquote

import attrs

from quebert._secrets import Secret
from quebert.errors import ConfigError
from quebert.guard import Place

__all__ = [
    "DEFAULT_AMQP_URL",
    "TLS",
    "Address",
    "AmqpURL",
    "Broker",
    "chosen_amqp_url",
    "default_amqp_url",
    "has_password",
    "is_short",
]

# The ports of RabbitMQ's management, with TLS and without.
_MANAGEMENT = (15671, 15672)
#: The broker where neither a setting nor C{QUEBERT_AMQP_URL} names one.
DEFAULT_AMQP_URL = "amqp://guest:guest@localhost:5672/"


#: What to tell whose shell has put nothing in the place of an unset variable.
EMPTY_AMQP_URL = (
    "--amqp-url is empty; it must be as amqp://user:password@host:port/vhost, or be"
    " left out"
)


class AmqpURL(Secret):
    """
    An AMQP URL, and what says so: for errors.

    @ivar source: such as C{"--amqp-url"}.
    """

    source: str

    def __new__(cls, url: str, source: str) -> AmqpURL:
        made = super().__new__(cls, url)
        made.source = source
        return made


def default_amqp_url(environment: Mapping[str, str] = os.environ) -> AmqpURL:
    """
    C{QUEBERT_AMQP_URL} where it is set: the place for a password that should
    not be seen in a list of processes.
    """
    if url := environment.get("QUEBERT_AMQP_URL"):
        return AmqpURL(url, "QUEBERT_AMQP_URL")
    return AmqpURL(DEFAULT_AMQP_URL, "the default, as QUEBERT_AMQP_URL is not set")


def chosen_amqp_url(option: str | None) -> AmqpURL:
    """
    The AMQP URL of the option C{--amqp-url}, or the default.
    """
    return AmqpURL(option, "--amqp-url") if option else default_amqp_url()


@attrs.frozen
class Address:
    """
    Where one node of a broker listens.

    @ivar host: a name, or an address of IPv4 or IPv6.
    @ivar port: from 1 to 65535.
    """

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @classmethod
    def parse(cls, text: str, port: int) -> Address:
        """
        Read C{host} or C{host:port}, the host being a name, an IPv4 or an IPv6
        address, the last in brackets where a port follows.

        @param port: the port where C{text} has none.
        @raise ConfigError: it is neither.
        """
        if _is_ipv6(text):
            return cls(text, port)
        found = _ADDRESS.fullmatch(text)
        if found is None or (found["ipv6"] and not _is_ipv6(found["ipv6"])):
            raise ConfigError(
                "each host in the AMQP URL must be name, name:port or [IPv6]:port"
            )
        digits = found["port"]
        if digits is not None and not (is_short(digits) and int(digits)):
            raise ConfigError(
                "the AMQP URL needs ports from 1 to 65535; in a user or password,"
                " / and ? are written %2f and %3f"
            )
        host = found["ipv6"] or _decoded("host", found["name"])
        return cls(host.lower(), int(digits) if digits else port)


_ADDRESS = re.compile(
    r"""(?: \[(?P<ipv6>[^][]+)\] | (?P<name>[^][\s:@]+) ) (?: :(?P<port>.*) )?""", re.X
)


@attrs.frozen
class TLS:
    """
    The files for TLS, all in PEM; they are read again for each connection, so
    that renewed certificates are found.

    @ivar cacertfile: the authorities that may have signed the server's
        certificate; the platform's where it is C{None}.
    @ivar certfile: our certificate, followed by those that lead to its
        authority, for servers that want one.
    @ivar keyfile: its key; C{certfile} has it, too, where it is C{None}.
    @raise ConfigError: there is a C{keyfile} without a C{certfile}.
    """

    cacertfile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.keyfile is not None and self.certfile is None:
            raise ConfigError("the keyfile for TLS needs a certfile beside it")


@attrs.frozen
class Broker:
    """
    Where a broker is, and who we are there.

    @ivar addresses: its nodes, any of which will do.
    @ivar username: who we are.
    @ivar password: never logged.
    @ivar vhost: the virtual host.
    @ivar heartbeat: seconds; 0 for none.
    @ivar tls: the files for TLS; C{None} for none.
    @ivar source: what says all this, for errors, such as C{"--amqp-url"}; empty if
        nobody knows.
    """

    addresses: tuple[Address, ...]
    username: str
    password: str = attrs.field(repr=False)
    vhost: str = "/"
    heartbeat: int = 30
    tls: TLS | None = None
    source: str = attrs.field(default="", eq=False)

    @property
    def places(self) -> tuple[Place, ...]:
        """
        Where its nodes listen, for AMQP and for the management of RabbitMQ: nothing
        that a task may request.
        """
        return tuple(
            Place.of(each.host, port)
            for each in self.addresses
            for port in sorted({each.port, *_MANAGEMENT})
        )

    @classmethod
    def from_url(cls, url: str) -> Broker:
        """
        Read an AMQP URI, percent-encoded where it must be::

            amqp://user:password@host:port,another:port/vhost?heartbeat=30

        Without a path, or with an empty one, the virtual host is C{/}.  Further
        options, with C{amqps}, are those of L{TLS}.

        @raise ConfigError: it is not one; the text tells which part of it.
        """
        if "#" in url:
            raise ConfigError("a # in an AMQP URL is written %23")
        parts = _URL.fullmatch(url)
        if parts is None:
            raise ConfigError(
                "the AMQP URL must begin with amqp:// or amqps://, like"
                f" {DEFAULT_AMQP_URL}"
            )
        secure = parts["scheme"].lower() == "amqps"
        options = _options(parts["query"] or "")
        files = {k: v for k, v in options.items() if k != "heartbeat"}
        if files and not secure:
            raise ConfigError(f"the option {min(files)} needs an amqps:// URL")
        return cls(
            addresses=_addresses(parts["hosts"], 5671 if secure else 5672),
            username=_decoded("user", _or_guest(parts["user"])),
            password=_decoded("password", _or_guest(parts["password"])),
            vhost=_vhost(parts["path"]),
            heartbeat=_heartbeat(options.get("heartbeat", "30")),
            tls=TLS(**files) if secure else None,
            source=url.source if isinstance(url, AmqpURL) else "",
        )


_URL = re.compile(
    r"""(?P<scheme>amqps?)://
        (?: (?P<user>[^/?:]*) (?: :(?P<password>[^/?]*) )? @ )?
        (?P<hosts>[^/?@]*)
        (?P<path>[^?]*)
        (?: \?(?P<query>.*) )?""",
    re.X | re.I | re.S,
)


def has_password(url: str) -> bool:
    """
    Whether there is a password in an AMQP URL.
    """
    parts = _URL.fullmatch(url)
    return parts is not None and bool(parts["password"])


def _decoded(part: str, text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ConfigError(f"the {part} in the AMQP URL is not UTF-8") from None


def _or_guest(text: str | None) -> str:
    return "guest" if text is None else text


def _addresses(text: str, port: int) -> tuple[Address, ...]:
    hosts = text.split(",") if text else ["localhost"]
    return tuple(Address.parse(each, port) for each in hosts)


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _vhost(path: str) -> str:
    if "/" in path[1:]:
        raise ConfigError("a / in the virtual host of an AMQP URL is written %2f")
    return _decoded("virtual host", path[1:]) or "/"


def _options(query: str) -> dict[str, str]:
    if "@" in query:
        raise ConfigError("a ? in the user or password of an AMQP URL is written %3f")
    options = dict(parse_qsl(query, keep_blank_values=True))
    known = ("heartbeat", *attrs.fields_dict(TLS))
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise ConfigError(
            f"the AMQP URL has the option {unknown[0]}; it can have {', '.join(known)}"
        )
    return options


def _heartbeat(text: str) -> int:
    if not is_short(text):
        raise ConfigError(f"heartbeat={text} must be seconds from 0 to 65535")
    return int(text)


def is_short(text: str) -> bool:
    """
    Whether it is a number from 0 to 65535.
    """
    digits = text.isascii() and text.isdigit() and len(text) < 6
    return digits and int(text) < 65536
