"""
L{Signer}: the headers that sign a request.
"""

from __future__ import annotations

import base64
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union
from uuid import UUID, uuid4, uuid5

from quebert.signatures._keys import Key, keys_for, read_keys

__all__ = ["ID", "SIGNATURE", "TIMESTAMP", "Signer"]

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
_NAMES = frozenset({ID, TIMESTAMP, SIGNATURE})
# A dot would let somebody move bytes between the id, the time and the body.
_FIT = re.compile(r"[!-\-/-~]{1,128}")
# Seconds that the time of an attempt may be ahead: receivers take 300, and the clocks
# of both sides may differ.
_AHEAD = 60
#: Makes an id of a uuid that can be none.
_SPACE = UUID("3f6f3d4c-9d0b-5c6e-8a53-6f0f1b8d7f5e")


class Signer:
    """
    Signs requests with each of its keys, so that a receiver needs to have one.

    @param keys: L{Key}s, or texts that begin with C{whsec_} or C{whsk_}.
    @param now: the time of day, in seconds since the epoch.
    @raise ConfigError: there are none, or one of them cannot sign.
    """

    def __init__(
        self,
        keys: Sequence[Union[Key, str]],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keys: Any = keys_for(True, keys)
        self._now = now
        self._latest: dict[str, int] = {}
        self._second = 0

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Signer:
        """
        One with the keys of a file: see L{read_keys}.

        @raise ConfigError: the file cannot be used.
        """
        return cls(read_keys(path, signing=True))

    def headers(self, uuid: object, body: bytes) -> dict[str, str]:
        """
        The headers of a request that is about to be made.

        @param uuid: of the task; its attempts have the same C{webhook-id}.  C{None}
            makes a new one.
        @param body: the bytes that are sent.
        """
        name = _id(uuid)
        second = self._time(name)
        content = b"%b.%d.%b" % (name.encode("ascii"), second, body)
        signatures = (
            f"{key.version},{base64.b64encode(key.sign(content)).decode('ascii')}"
            for key in self._keys
        )
        return {ID: name, TIMESTAMP: str(second), SIGNATURE: " ".join(signatures)}

    def signed(
        self, headers: Mapping[str, str], uuid: object, body: bytes
    ) -> dict[str, str]:
        """
        C{headers} and those of L{headers}, which replace any of the same names.
        """
        return {**self.unsigned(headers), **self.headers(uuid, body)}

    @staticmethod
    def unsigned(headers: Mapping[str, str]) -> dict[str, str]:
        """
        C{headers} without those of a signature, also with underscores in their names,
        since CGI and WSGI servers make no difference.
        """
        folded = {name: name.lower().replace("_", "-") for name in headers}
        return {k: v for k, v in headers.items() if folded[k] not in _NAMES}

    def _time(self, name: str) -> int:
        """
        The second of an attempt.  Two attempts have different seconds, since a receiver
        takes a second request with the same id and second for a replay.  But none is
        far ahead, where no receiver would take it: then one of many with the same id
        has to be tried again.
        """
        now = int(self._now())
        if now != self._second:
            self._second = now
            self._latest = {k: v for k, v in self._latest.items() if v >= now}
        found = min(max(now, self._latest.get(name, -1) + 1), now + _AHEAD)
        self._latest[name] = found
        return found


def _id(uuid: object) -> str:
    if uuid is None or uuid == "":
        return str(uuid4())
    text = str(uuid)
    return text if _FIT.fullmatch(text) else str(uuid5(_SPACE, _encodable(text)))


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
