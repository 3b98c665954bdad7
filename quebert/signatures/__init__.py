"""
Signed requests, as Standard Webhooks 1.0.0 has them.  Pure, but for the files of keys.

See U{https://www.standardwebhooks.com}.  L{Signer} makes the headers of a request,
L{Verifier} judges them.  Both take several secrets, so that an old and a new one are
valid while a secret is replaced.
"""

from quebert.signatures._keys import (
    Key,
    PublicKey,
    SharedSecret,
    SigningKey,
    parse_key,
    read_keys,
    write_key,
)
from quebert.signatures._signer import Signer
from quebert.signatures._verifier import TOLERANCE, Remember, Verifier

__all__ = [
    "TOLERANCE",
    "Key",
    "PublicKey",
    "Remember",
    "SharedSecret",
    "Signer",
    "SigningKey",
    "Verifier",
    "parse_key",
    "read_keys",
    "write_key",
]
