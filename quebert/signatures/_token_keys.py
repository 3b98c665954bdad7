"""
The RSA keys that sign ID tokens, and their public halves as JSON (RFC 7517).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from typing import Any

import attrs
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from quebert._lines import lines_of
from quebert.errors import ConfigError

__all__ = ["MOST_TOKEN_KEYS", "TokenKey", "TokenKeys", "base64url"]

#: Keys in one file: two are needed while one takes the place of the other.
MOST_TOKEN_KEYS = 10
# Bits of a key, as Google's have, and as verifiers ask for at least (RFC 7518, section
# 3.3).  One of 4,096 bits takes six times as long to sign.
_BITS = 2_048
_MOST_BITS = 4_096
_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----\n.*?\n-----END \1-----", re.DOTALL)


def base64url(data: bytes) -> str:
    """
    Base64 for URLs, without padding (RFC 7515, section 2).
    """
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


@attrs.frozen
class TokenKey:
    """
    A private key of RSA.

    @ivar id: names it, by its thumbprint (RFC 7638).
    """

    _key: RSAPrivateKey = attrs.field(repr=False, eq=False)
    id: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        if not _BITS <= self._key.key_size <= _MOST_BITS:
            text = f"must have {_BITS} to {_MOST_BITS} bits, not {self._key.key_size}"
            raise ConfigError(f"an RSA key {text}")
        told = json.dumps(self._numbers, separators=(",", ":"), sort_keys=True)
        thumbprint = base64url(hashlib.sha256(told.encode("ascii")).digest())
        object.__setattr__(self, "id", thumbprint)

    @classmethod
    def generate(cls) -> TokenKey:
        """
        A new one; that takes about 0.1 s.
        """
        return cls(generate_private_key(65_537, _BITS))

    @classmethod
    def parse(cls, pem: str) -> TokenKey:
        """
        The key that a text in PEM is.

        @raise ConfigError: it is none; the text is not told.
        """
        try:
            key = load_pem_private_key(pem.encode("utf-8"), None)
        except TypeError:
            raise ConfigError("a key is encrypted: decrypt it") from None
        except (ValueError, UnsupportedAlgorithm):
            raise ConfigError("a key is no private key in PEM") from None
        if not isinstance(key, RSAPrivateKey):
            raise ConfigError("a key is not of RSA")
        return cls(key)

    @property
    def text(self) -> str:
        """
        It as a file has it.
        """
        form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return self._key.private_bytes(*form).decode("ascii").strip()

    def sign(self, content: bytes) -> bytes:
        """
        The signature RS256 of C{content} (RFC 7518, section 3.3).
        """
        return self._key.sign(content, PKCS1v15(), SHA256())

    @property
    def public(self) -> dict[str, str]:
        """
        The public half, as a JSON Web Key.
        """
        return {**self._numbers, "kid": self.id, "use": "sig", "alg": "RS256"}

    @property
    def _numbers(self) -> dict[str, str]:
        numbers = self._key.public_key().public_numbers()
        return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}


def _number(value: int) -> str:
    return base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


@attrs.frozen
class TokenKeys:
    """
    The keys of an issuer.

    @ivar keys: the first one signs; verifiers get the public halves of all.
    """

    keys: tuple[TokenKey, ...]

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> TokenKeys:
        """
        Those of a file: private keys of RSA in PEM, one after the other.

        @raise ConfigError: it cannot be read, other users may read it, or it has
            something else, or no key.
        """
        text = "\n".join(line for _, line in lines_of(path, private=True))
        try:
            found = tuple(TokenKey.parse(each[0]) for each in _PEM.finditer(text))
        except ConfigError as e:
            raise ConfigError(f"{path}: {e}") from None
        if _PEM.sub("", text).strip():
            raise ConfigError(f"{path} has something that is no key in PEM")
        if not 0 < len(found) <= MOST_TOKEN_KEYS:
            text = f"must have 1 to {MOST_TOKEN_KEYS} keys, not {len(found)}"
            raise ConfigError(f"{path} {text}")
        return cls(found)

    def jwks(self) -> dict[str, Any]:
        """
        The public halves, as verifiers ask for them: a JSON Web Key Set.
        """
        return {"keys": [each.public for each in self.keys]}
