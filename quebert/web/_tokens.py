"""
Tokens and their rights; a file has the hashes of the tokens.

A line of the file is C{NAME RIGHTS QUEUES HASH}: rights with commas between, patterns
of queues with commas between, and C{sha256:} with 64 hexadecimal digits.  Tokens are
random, of 256 bits, so that a plain hash can be told to others.

To add a right: L{RIGHTS}, C{_RIGHTS} in C{cli/_web}, the routes that ask for it
(C{_table} in C{_api}), and C{docs/web.rst}.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from fnmatch import fnmatchcase
from hashlib import sha256
from os import PathLike

import attrs

from quebert._lines import lines_of
from quebert.errors import ConfigError

__all__ = [
    "EVERYTHING",
    "RIGHTS",
    "Grant",
    "Tokens",
    "hash_of",
    "new_token",
    "token_line",
]

#: What a token may allow.
RIGHTS = ("read", "operate", "add")
#: How tokens of ours begin, so that they are found where they should not be.
PREFIX = "qbt_"
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
# Characters of a token that somebody shows.
_LONGEST = 512


@attrs.frozen
class Grant:
    """
    The rights of a token.

    @ivar name: the name of its owner.
    @ivar rights: some of L{RIGHTS}.
    @ivar queues: patterns of names, with C{*}, C{?} and C{[...]}.
    """

    name: str
    rights: frozenset[str]
    queues: tuple[str, ...] = ("*",)

    @property
    def is_for_all(self) -> bool:
        """
        Whether it is for each queue that there can be.
        """
        return "*" in self.queues

    def allows(self, right: str, queue: str | None = None) -> bool:
        """
        Whether it gives a right, to C{queue} if there is one.
        """
        return right in self.rights and (queue is None or self.sees(queue))

    def sees(self, queue: str) -> bool:
        """
        Whether a queue is among its own.
        """
        return self.is_for_all or any(fnmatchcase(queue, p) for p in self.queues)


#: What C{quebert dev} gives its own token.
EVERYTHING = frozenset(RIGHTS)


def new_token() -> str:
    """
    A token that nobody can guess.
    """
    return PREFIX + secrets.token_urlsafe(32)


def hash_of(token: str) -> str:
    """
    The hash of a token, as in the file.
    """
    return f"sha256:{_digest(token).hex()}"


def token_line(
    name: str, rights: Iterable[str], queues: Iterable[str], token: str
) -> str:
    """
    The line of the file for a token.

    @raise ConfigError: the name, a right or a pattern cannot be in it.
    """
    patterns = list(queues)
    line = f"{name} {','.join(rights)} {','.join(patterns)} {hash_of(token)}"
    _, grant = _grant(line)
    if grant.queues != tuple(patterns):
        raise ConfigError("a pattern of queues must hold no comma")
    return line


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


class Tokens:
    """
    All tokens that are known.

    @param grants: each with the SHA-256 of its token.
    """

    def __init__(self, grants: Iterable[tuple[bytes, Grant]] = ()) -> None:
        self._grants = tuple(grants)
        self._by_digest = dict(self._grants)

    def __len__(self) -> int:
        return len(self._grants)

    @property
    def grants(self) -> tuple[Grant, ...]:
        """
        The grants of all tokens.
        """
        return tuple(grant for _, grant in self._grants)

    @classmethod
    def of(cls, token: str, grant: Grant) -> Tokens:
        """
        One alone.
        """
        return cls([(_digest(token), grant)])

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Tokens:
        """
        Those of a file.

        @raise ConfigError: it cannot be used; the text has no line of it.
        """
        grants: dict[str, tuple[bytes, Grant]] = {}
        for number, line in lines_of(path, private=True):
            try:
                digest, grant = _grant(line)
            except ConfigError as e:
                raise ConfigError(f"{path}, line {number}: {e}") from None
            if grant.name in grants:
                raise ConfigError(f"{path}, line {number}: the name is there twice")
            grants[grant.name] = digest, grant
        return cls(grants.values())

    def and_those_of(self, others: Tokens) -> Tokens:
        """
        These, and others.
        """
        return Tokens((*self._grants, *others._grants))

    def find(self, token: str) -> Grant | None:
        """
        The grant of a token; C{None} for an unknown one.

        The time tells nothing of the tokens, however many there are: digests are looked
        up, and nobody can choose a token whose digest begins as a known one.
        """
        return self._by_digest.get(_digest(token[:_LONGEST]))


def _grant(line: str) -> tuple[bytes, Grant]:
    words = line.split()
    if len(words) != 4:
        raise ConfigError("it must be NAME RIGHTS QUEUES sha256:HASH")
    name, rights, queues, hashed = words
    if not _NAME.fullmatch(name):
        raise ConfigError("the name must be 1 to 64 letters, digits and ._@-")
    given = frozenset(rights.split(","))
    if not given.issubset(RIGHTS):
        raise ConfigError(f"the rights must be of {', '.join(RIGHTS)}")
    found = _HASH.fullmatch(hashed)
    if found is None:
        raise ConfigError("the hash must be sha256: and 64 hexadecimal digits")
    patterns = tuple(each for each in queues.split(",") if each)
    return bytes.fromhex(found[1]), Grant(name, given, patterns)
