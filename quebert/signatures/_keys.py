"""
Secrets and keys: how they are written, and what they sign and verify.

No text of theirs is in a repr or in an error.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Sequence
from typing import ClassVar, Protocol, Union

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from quebert._lines import lines_of
from quebert._text import what_is_wrong
from quebert.errors import ConfigError

__all__ = [
    "MOST_KEYS",
    "Key",
    "PublicKey",
    "SharedSecret",
    "SigningKey",
    "keys_for",
    "parse_key",
    "read_keys",
    "write_key",
]

#: Keys in one file: more than two at once are hardly needed, and each costs time.
MOST_KEYS = 10


@attrs.frozen
class _Written:
    """
    What is written as a prefix and base64.

    @cvar prefix: tells its kind.
    @cvar version: what its signatures begin with.
    @ivar raw: its bytes.
    """

    prefix: ClassVar[str]
    version: ClassVar[str]
    raw: bytes = attrs.field(repr=False)

    @property
    def text(self) -> str:
        """
        It as a file has it.
        """
        return self.prefix + base64.b64encode(self.raw).decode("ascii")


@attrs.frozen
class SharedSecret(_Written):
    """
    A secret of 24 to 64 bytes that both sides have, for HMAC-SHA256.
    """

    prefix = "whsec_"
    version = "v1"

    def __attrs_post_init__(self) -> None:
        if not 24 <= len(self.raw) <= 64:
            raise ConfigError(
                f"a secret (whsec_) must have 24 to 64 bytes, not {len(self.raw)}"
            )

    @classmethod
    def generate(cls) -> SharedSecret:
        """
        A new one.
        """
        return cls(os.urandom(32))

    def sign(self, content: bytes) -> bytes:
        """
        The signature of C{content}.
        """
        return hmac.digest(self.raw, content, hashlib.sha256)

    def has_signed(self, content: bytes, signatures: Sequence[bytes]) -> bool:
        """
        Whether one of C{signatures} is that of C{content}; takes the same time either
        way.  C{content} may have megabytes, so that it is read once.
        """
        if not signatures:
            return False
        right = self.sign(content)
        fits = [hmac.compare_digest(each, right) for each in signatures]
        return any(fits)


@attrs.frozen
class SigningKey(_Written):
    """
    The secret half of a key pair of ed25519, which the signing side alone has: the
    seed, 32 bytes, with or without the public key after it.
    """

    prefix = "whsk_"
    version = "v1a"
    _key: Ed25519PrivateKey = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        if len(self.raw) not in (32, 64):
            raise ConfigError(
                f"a signing key (whsk_) must have 32 or 64 bytes, not {len(self.raw)}"
            )
        key = Ed25519PrivateKey.from_private_bytes(self.raw[:32])
        object.__setattr__(self, "_key", key)
        if self.raw[32:] not in (b"", self.public.raw):
            raise ConfigError("the halves of a signing key (whsk_) do not fit together")

    @classmethod
    def generate(cls) -> SigningKey:
        """
        A new one.
        """
        return cls(os.urandom(32))

    @property
    def public(self) -> PublicKey:
        """
        The other half.
        """
        return PublicKey(self._key.public_key().public_bytes_raw())

    def sign(self, content: bytes) -> bytes:
        """
        The signature of C{content}.
        """
        return self._key.sign(content)


@attrs.frozen
class PublicKey(_Written):
    """
    The public half of a key pair of ed25519: 32 bytes.
    """

    prefix = "whpk_"
    version = "v1a"
    _key: Ed25519PublicKey = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        if len(self.raw) != 32:
            raise ConfigError(
                f"a public key (whpk_) must have 32 bytes, not {len(self.raw)}"
            )
        key = Ed25519PublicKey.from_public_bytes(self.raw)
        object.__setattr__(self, "_key", key)

    def has_signed(self, content: bytes, signatures: Sequence[bytes]) -> bool:
        """
        Whether one of C{signatures} is one of C{content} by the other half.  Each reads
        C{content} anew: its hash begins with a part of the signature, and the key
        (RFC 8032, section 5.1.7).
        """
        return any(self._is_signature(each, content) for each in signatures)

    def _is_signature(self, signature: bytes, content: bytes) -> bool:
        try:
            self._key.verify(signature, content)
        except InvalidSignature:
            return False
        return True


#: What signs requests, verifies them, or both.
Key = Union[SharedSecret, SigningKey, PublicKey]

_KINDS: tuple[type[Key], ...] = (SharedSecret, SigningKey, PublicKey)


def parse_key(text: str) -> Key:
    """
    The key that a text is.

    @raise ConfigError: it is none; the text is not told.
    """
    for kind in _KINDS:
        if text.startswith(kind.prefix):
            return kind(_bytes(text.removeprefix(kind.prefix), kind.prefix))
    raise ConfigError("a secret begins with whsec_, a key with whsk_ or whpk_")


def _bytes(encoded: str, prefix: str) -> bytes:
    padding = "=" * (-len(encoded) % 4)
    try:
        return base64.b64decode(encoded + padding, validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(f"what follows {prefix} must be base64") from None


def keys_for(signing: bool, keys: object) -> tuple[Key, ...]:
    """
    Keys that can all do what they are for; texts among C{keys} are parsed.

    @param signing: they are for signing, else for verifying.
    @raise ConfigError: one of them cannot, or there are none.
    """
    if isinstance(keys, (str, bytes)) or not isinstance(keys, (list, tuple)):
        raise ConfigError("keys must be a list")
    found = tuple(parse_key(k) if isinstance(k, str) else k for k in keys)
    if not 0 < len(found) <= MOST_KEYS:
        raise ConfigError(f"there must be 1 to {MOST_KEYS} keys, not {len(found)}")
    for each in found:
        check_use(each, signing)
    return found


def check_use(key: Key, signing: bool) -> None:
    """
    @param signing: the key is for signing, else for verifying.
    @raise ConfigError: it is for the other side.
    """
    if signing and isinstance(key, PublicKey):
        raise ConfigError(
            "a public key (whpk_) cannot sign: give the signing key (whsk_)"
        )
    if not signing and isinstance(key, SigningKey):
        raise ConfigError(
            "a signing key (whsk_) belongs to the signing side alone: give the public"
            " key (whpk_)"
        )


def read_keys(path: str | os.PathLike[str], *, signing: bool) -> tuple[Key, ...]:
    """
    The keys of a file in UTF-8: one a line; empty lines and those that begin with
    C{#} are left out.

    @param signing: they are for signing, else for verifying.
    @raise ConfigError: it cannot be read, or has no key, or a line is wrong, whose
        number is told.
    """
    found: list[Key] = []
    for number, line in lines_of(path):
        try:
            key = parse_key(line.strip())
            check_use(key, signing)
        except ConfigError as e:
            raise ConfigError(f"{path}, line {number}: {e}") from None
        found.append(key)
    if not found:
        raise ConfigError(f"{path} has no secret")
    if len(found) > MOST_KEYS:
        raise ConfigError(f"{path} has more than {MOST_KEYS} secrets")
    return tuple(found)


class HasText(Protocol):
    """
    Any key that can be written.
    """

    @property
    def text(self) -> str:
        """
        It as a file has it.
        """


def write_key(path: str | os.PathLike[str], key: HasText) -> None:
    """
    Make a file with a key, which nobody else may read.

    @raise ConfigError: it is there already, or cannot be made.
    """
    try:
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(made, "w", encoding="ascii") as file:
            file.write(f"{key.text}\n")
    except OSError as e:
        raise ConfigError(f"{path} cannot be made: {what_is_wrong(e)}") from None
