"""
The id of a lease, as it stands in the URL that an executor gets.  Pure.

An id is the number of the attempt in 4 bytes, the identity of the message in 16, and 16
bytes of an HMAC-SHA256 of both, all in base64url: whoever has it may renew, complete
and fail this lease, and nobody can make one without the secret.  A message that is
delivered twice, since its mediator was killed, has the same id in both attempts.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from quebert.errors import ConfigError

__all__ = ["LEASE_ID_LENGTH", "LeaseIDs", "identity_of_message"]

_NUMBER, _IDENTITY, _MAC = 4, 16, 16
_SIZE = _NUMBER + _IDENTITY + _MAC
_NUMBERS = 256**_NUMBER
#: Characters of an id.
LEASE_ID_LENGTH = len(base64.urlsafe_b64encode(bytes(_SIZE)).rstrip(b"="))
#: Bytes of a secret, at least.
LEAST = 24


def identity_of_message(queue: str, uuid: str, timestamp: int, body: bytes) -> bytes:
    """
    What is the same for each copy of a message, and different for another one.

    @param uuid: of the message; a random one if it has none.
    @param timestamp: of the message, in seconds since the epoch; 0 if it has none.
    """
    parts = (queue.encode(), uuid.encode("utf-8", "surrogatepass"), b"%d" % timestamp)
    digest = hashlib.blake2b(digest_size=_IDENTITY)
    for each in (*parts, body):
        digest.update(b"%d:" % len(each))
        digest.update(each)
    return digest.digest()


class LeaseIDs:
    """
    Makes ids, and tells which are true.

    @param secrets: the first makes them; each is accepted, so that one can be replaced
        by another.
    @raise ConfigError: there is none, or one is too short.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        if not secrets or min(map(len, secrets)) < LEAST:
            raise ConfigError(f"a secret of leases must have {LEAST} bytes at least")
        self._secrets = tuple(secrets)

    def make(self, identity: bytes, attempt: int) -> str:
        """
        The id of the lease that an attempt may get.

        @param attempt: its number, from 1.
        """
        named = (attempt % _NUMBERS).to_bytes(_NUMBER, "big") + identity
        return _text(named + _mac(self._secrets[0], named))

    def identity(self, id: str) -> bytes | None:
        """
        The identity of the message in an id; C{None} if nobody of ours has made it.
        The time does not depend on where it is wrong.
        """
        if len(id) != LEASE_ID_LENGTH or not id.isascii():
            return None
        try:
            raw = base64.b64decode(id + "=" * (-len(id) % 4), b"-_", validate=True)
        except binascii.Error:
            return None
        named, mac = raw[:-_MAC], raw[-_MAC:]
        # One text for one id: the last character has bits to spare.
        if _text(raw) != id:
            return None
        found = [hmac.compare_digest(_mac(each, named), mac) for each in self._secrets]
        return named[_NUMBER:] if any(found) else None


def _mac(secret: bytes, named: bytes) -> bytes:
    return hmac.digest(secret, b"quebert lease\0" + named, "sha256")[:_MAC]


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
