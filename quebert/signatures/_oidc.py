"""
ID tokens, as Google's for handlers of Cloud Tasks, signed by a key of our own.

They are made by hand, and not by a JWT library: to make one takes two lines of JSON and
one signature.  What is hard and dangerous about them, to verify those of others, is not
done here.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from fnmatch import fnmatchcase
from typing import Any

import attrs

from quebert.errors import NoIDToken
from quebert.signatures._token_keys import TokenKeys, base64url

__all__ = ["JWKS_PATH", "IDTokens", "openid_configuration"]

#: Where verifiers find the public keys, behind the URL of the issuer.
JWKS_PATH = "/.well-known/jwks.json"
#: Seconds for which a token is valid, as Google's are.
LIFETIME = 3_600
#: Seconds for which a token is used again: a signature takes up to 2 ms.
KEPT = 300.0
#: Tokens that are kept.  Each takes about 1 KB.
MOST_TOKENS = 2_000


def openid_configuration(issuer: str) -> dict[str, Any]:
    """
    What an issuer tells of itself at C{/.well-known/openid-configuration} (OpenID
    Connect Discovery 1.0, section 3).

    @param issuer: its URL.
    """
    return {
        "issuer": issuer,
        "jwks_uri": issuer.rstrip("/") + JWKS_PATH,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "claims_supported": [
            "aud", "azp", "email", "email_verified", "exp", "iat", "iss", "sub",
        ],
    }  # fmt: skip


@attrs.frozen
class _Kept:
    """
    A token that may be used again.

    @ivar made: when it was, in seconds since the epoch.
    """

    token: str
    made: float


class IDTokens:
    """
    Makes ID tokens.

    @param issuer: the URL that they name, as verifiers expect it.
    @param now: the time of day, in seconds since the epoch.
    """

    def __init__(
        self, issuer: str, keys: TokenKeys, now: Callable[[], float] = time.time
    ) -> None:
        self._issuer = issuer
        self._key = keys.keys[0]
        self._now = now
        header = {"alg": "RS256", "kid": self._key.id, "typ": "JWT"}
        self._header = _part(header)
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._accounts: tuple[str, ...] = ("*",)

    def limited_to(self, accounts: Sequence[str]) -> IDTokens:
        """
        What makes tokens of some accounts alone.

        @param accounts: patterns, with C{*}, C{?} and C{[...]}.
        """
        found = copy(self)
        found._accounts = tuple(accounts)
        return found

    def token(self, account: str, audience: str) -> str:
        """
        A token, valid for at least 55 minutes.

        @param account: the e-mail address of the service account that it is of.
        @param audience: whom it is for.
        @raise NoIDToken: it is none of the accounts that there may be tokens of.
        """
        if not any(fnmatchcase(account, each) for each in self._accounts):
            raise NoIDToken(
                f"its request needs an ID token of {account}, which the table"
                " [oidc.accounts] does not give to tasks of this queue"
            )
        now = self._now()
        kept = self._kept.get((account, audience))
        if kept is not None and 0 <= now - kept.made < KEPT:
            return kept.token
        token = self._signed(account, audience, int(now))
        self._kept.pop((account, audience), None)
        while len(self._kept) >= MOST_TOKENS:  # the one that was made first
            del self._kept[next(iter(self._kept))]
        self._kept[account, audience] = _Kept(token, now)
        return token

    def _signed(self, account: str, audience: str, second: int) -> str:
        subject = _subject(account)
        claims = {
            "aud": audience,
            "azp": subject,
            "email": account,
            "email_verified": True,
            "exp": second + LIFETIME,
            "iat": second,
            "iss": self._issuer,
            "sub": subject,
        }
        content = f"{self._header}.{_part(claims)}"
        return f"{content}.{base64url(self._key.sign(content.encode('ascii')))}"


def _part(fields: Mapping[str, Any]) -> str:
    return base64url(json.dumps(fields, separators=(",", ":")).encode("ascii"))


def _subject(account: str) -> str:
    """
    The unique number of an account: Google's have 21 digits, too.  Always the same for
    one account.
    """
    digest = hashlib.sha256(account.encode("utf-8", "surrogatepass")).digest()
    return str(10**20 + int.from_bytes(digest, "big") % (9 * 10**20))
