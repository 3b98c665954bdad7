"""
Signed requests, as Standard Webhooks 1.0.0 has them; and signed ids of leases.  Pure,
but for the files of keys.

ID tokens for handlers of Cloud Tasks are in C{_oidc}, and their keys in C{_token_keys}.

See U{https://www.standardwebhooks.com}.  L{Signer} makes the headers of a request,
L{Verifier} judges them.  Both take several secrets, so that an old and a new one are
valid while a secret is replaced.

To add a kind of key: a class in C{_keys}, L{Key} and C{_KINDS} there, and C{check_use}
(who signs with it, who verifies); an option of C{quebert secret} (C{cli/_secret});
C{docs/signatures.rst}.  To add another scheme, with other headers: a class beside
L{Signer} with its methods C{headers} (called as a request is written: it raises no
exception, and its names and values are ASCII) and C{unsigned}; C{Signing} and
C{_signing} in L{quebert.config}, and C{service/_mediators}, which makes a L{Signer} and
takes foreign headers of a signature away; and for executors L{quebert.executor}.  A
header that is a fixed secret, such as a token, needs neither: the table C{headers} of a
queue (C{config/_outside}) has it.
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
from quebert.signatures._lease_ids import (
    LEASE_ID_LENGTH,
    LeaseIDs,
    identity_of_message,
)
from quebert.signatures._oidc import JWKS_PATH, IDTokens, openid_configuration
from quebert.signatures._signer import Signer
from quebert.signatures._token_keys import TokenKey, TokenKeys
from quebert.signatures._verifier import TOLERANCE, Remember, Verifier

__all__ = [
    "JWKS_PATH",
    "LEASE_ID_LENGTH",
    "TOLERANCE",
    "IDTokens",
    "Key",
    "LeaseIDs",
    "PublicKey",
    "Remember",
    "SharedSecret",
    "Signer",
    "SigningKey",
    "TokenKey",
    "TokenKeys",
    "Verifier",
    "identity_of_message",
    "openid_configuration",
    "parse_key",
    "read_keys",
    "write_key",
]
