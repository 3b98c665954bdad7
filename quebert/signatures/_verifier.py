"""
L{Verifier}: whether a request was signed by who has the secret, just now, and for the
first time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from typing import Any, Union

import attrs

from quebert.errors import BadSignature, ConfigError
from quebert.signatures._keys import Key, keys_for, read_keys
from quebert.signatures._signer import ID, SIGNATURE, TIMESTAMP

__all__ = ["MOST_IDS", "TOLERANCE", "Remember", "Verifier"]

#: Seconds that the clocks of both sides may differ by, with the time under way.
TOLERANCE = 300.0
#: Requests that are remembered, of 100 to 200 bytes each.
MOST_IDS = 500_000
# Signatures of one request: each is compared with each key.
_MOST_SIGNATURES = 20
_ID = re.compile(r"[!-\-/-~]{1,256}")
_SECONDS = re.compile(r"[0-9]{1,12}")

Headers = Union[Mapping[str, str], Iterable[tuple[str, str]]]
#: Called with the id and the second of a request whose signature is right; returns
#: something true if it is the first of these.
Remember = Callable[[str, int], object]


class Verifier:
    """
    Verifies requests, with any of its keys.

    @param keys: L{Key}s, or texts that begin with C{whsec_} or C{whpk_}.
    @param tolerance: seconds that a request may be old, or early.
    @param remember: what knows which requests were here; by default the memory of this
        object, as long as C{tolerance} lets them in again.
    @param now: the time of day, in seconds since the epoch.
    @param since: since when requests are remembered, in seconds since the epoch: what
        was signed before may have been here.  C{None} where nothing was.
    @raise ConfigError: there are no keys, or one of them cannot verify, or
        C{tolerance} is not more than 0.
    """

    def __init__(
        self,
        keys: Sequence[Union[Key, str]],
        *,
        tolerance: float = TOLERANCE,
        remember: Remember | None = None,
        now: Callable[[], float] = time.time,
        since: float | None = None,
    ) -> None:
        if not 0 < tolerance < float("inf"):
            raise ConfigError("tolerance must be a number of seconds, more than 0")
        self._keys: Any = keys_for(False, keys)
        self._tolerance = tolerance
        self._remember = remember or Memory(tolerance, now)
        self._now = now
        self._since = -1 if since is None else int(since)

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        tolerance: float = TOLERANCE,
        remember: Remember | None = None,
        since: float | None = None,
    ) -> Verifier:
        """
        One with the keys of a file: see L{read_keys}.

        @raise ConfigError: the file cannot be used.
        """
        keys = read_keys(path, signing=False)
        return cls(keys, tolerance=tolerance, remember=remember, since=since)

    def change_keys(self, keys: Sequence[Union[Key, str]]) -> None:
        """
        Have other keys from now on; what was here is still known.

        @raise ConfigError: they cannot be used, and nothing has changed.
        """
        self._keys = keys_for(False, keys)

    def verify(self, headers: Headers, body: bytes) -> str:
        """
        Let a request pass, once.

        @param headers: of the request; capitals make no difference.
        @param body: its bytes as they came.
        @return: the id of the task, the same for all attempts at it.
        @raise BadSignature: the request is not to be trusted.
        """
        if not isinstance(body, (bytes, bytearray, memoryview)):
            raise TypeError("body must be the bytes of the request, as they came")
        name, stamp, signatures = _ours(headers)
        if not _ID.fullmatch(name):
            raise BadSignature("webhook-id must be ASCII without dots and spaces")
        if not _SECONDS.fullmatch(stamp):
            raise BadSignature("webhook-timestamp must be seconds since 1970")
        self._check_time(int(stamp))
        content = b".".join((name.encode("ascii"), stamp.encode("ascii"), body))
        if not self._is_signed(content, signatures.split(" ")):
            raise BadSignature("no signature fits the request and a secret")
        if not self._remember(name, int(stamp)):
            raise BadSignature("this very request was here before")
        return name

    def _check_time(self, second: int) -> None:
        age = self._now() - second
        if age > self._tolerance:
            text = f"the request was signed more than {self._tolerance:g} s ago"
            raise BadSignature(text)
        if age < -self._tolerance:
            text = f"the request was signed more than {self._tolerance:g} s from now"
            raise BadSignature(f"{text}: compare the clocks")
        if second < self._since:
            text = "the request was signed before this program began, and may have been"
            raise BadSignature(f"{text} here: if that is wrong, compare the clocks")

    def _is_signed(self, content: bytes, signatures: list[str]) -> bool:
        if len(signatures) > _MOST_SIGNATURES:
            raise BadSignature(f"there are more than {_MOST_SIGNATURES} signatures")
        given = [_signature(each) for each in signatures]
        fits = [
            key.has_signed(content, [each for v, each in given if v == key.version])
            for key in self._keys
        ]
        return any(fits)


def _ours(headers: Headers) -> tuple[str, str, str]:
    """
    The values of the three headers.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    found: dict[str, str] = {}
    for name, value in pairs:
        lower = name.lower()
        if lower in found:
            raise BadSignature(f"the request has two headers {lower}")
        if lower in (ID, TIMESTAMP, SIGNATURE):
            found[lower] = value
    for wanted in (ID, TIMESTAMP, SIGNATURE):
        if wanted not in found:
            raise BadSignature(f"the request is not signed: it has no {wanted}")
    return found[ID], found[TIMESTAMP], found[SIGNATURE]


def _signature(entry: str) -> tuple[str, bytes]:
    """
    The version and the bytes of a signature; no version if it is none.
    """
    version, _, encoded = entry.partition(",")
    try:
        return version, base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return "", b""


@attrs.define(eq=False)
class Memory:
    """
    Which requests were here: a set of digests for each second.

    If there are too many, the oldest second is forgotten.  Nothing of a second that was
    forgotten, or before it, is let in any more: the clock may be set back.

    @ivar _tolerance: seconds for which they could be let in again.
    @ivar _most: requests at most.
    """

    _tolerance: float
    _now: Callable[[], float]
    _most: int = MOST_IDS
    _seconds: dict[int, set[bytes]] = attrs.field(factory=dict)
    _count: int = 0
    _closed: int = 0
    _swept: int = 0
    _lock: Lock = attrs.field(factory=Lock)

    def __call__(self, name: str, second: int) -> bool:
        """
        Remember a request; returns whether it may pass.
        """
        digest = hashlib.blake2b(name.encode("utf-8"), digest_size=16).digest()
        with self._lock:  # many web servers have threads
            self._forget()
            if second < self._closed:
                return False
            known = self._seconds.setdefault(second, set())
            if digest in known:
                return False
            known.add(digest)
            self._count += 1
            return True

    def _forget(self) -> None:
        now = int(self._now())
        if now != self._swept:
            self._swept = now
            oldest = now - self._tolerance
            for each in [s for s in self._seconds if s < oldest]:
                self._close(each)
        while self._count >= self._most:
            self._close(min(self._seconds))

    def _close(self, second: int) -> None:
        self._count -= len(self._seconds.pop(second))
        self._closed = max(self._closed, second + 1)
