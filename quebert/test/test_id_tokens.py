"""
Tests for L{quebert.signatures._oidc}: ID tokens, which others have to verify.
"""

from __future__ import annotations

import json
from typing import Any

import jwt
from google.oauth2 import id_token
from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import NoIDToken
from quebert.signatures import IDTokens, TokenKeys, openid_configuration
from quebert.signatures._oidc import KEPT, MOST_TOKENS
from quebert.test.checks import refusal
from quebert.test.mediating import NOW, URL
from quebert.test.test_task_cloud_tasks import ACCOUNT
from quebert.test.test_token_keys import KEYS

ISSUER = "https://tasks.example"


class _Answer:
    """
    The answer to a request for the public keys.
    """

    status = 200

    def __init__(self, keys: TokenKeys) -> None:
        self.data = json.dumps(keys.jwks()).encode()


def verified(token: str, audience: str, keys: TokenKeys = KEYS) -> dict[str, Any]:
    """
    What a token says to a handler that verifies it with Google's own library.
    """
    fetch: Any = lambda *args, **options: _Answer(keys)  # noqa: E731
    found = id_token.verify_token(token, fetch, audience, ISSUER)
    return dict(found)


class IDTokensTests(SynchronousTestCase):
    """
    L{IDTokens}.
    """

    def setUp(self) -> None:
        """
        Stop the time.
        """
        self.time = NOW
        self.tokens = IDTokens(ISSUER, KEYS, lambda: self.time)

    def claims(self, token: str) -> dict[str, Any]:
        """
        What a token says, at whatever time.
        """
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
        return claims

    def test_verified(self) -> None:
        """
        Google's own library verifies a token, if it is for the handler's audience, and
        the key that has signed it is there; so does PyJWT, with the issuer.
        """
        token = IDTokens(ISSUER, KEYS).token(ACCOUNT, URL)
        self.assertEqual(verified(token, URL)["email"], ACCOUNT)
        refusal(jwt.InvalidAudienceError, verified, token, f"{URL}/other")
        refusal(jwt.PyJWTError, verified, token, URL, TokenKeys(KEYS.keys[1:]))
        head, claims, signature = token.split(".")
        forged = f"{head}.{claims[:-2]}AA.{signature}"
        refusal(jwt.InvalidSignatureError, verified, forged, URL)
        key = jwt.PyJWK(KEYS.jwks()["keys"][0]).key
        options: dict[str, Any] = {"audience": URL, "issuer": ISSUER}
        jwt.decode(token, key, algorithms=["RS256"], **options)

    def test_rotated(self) -> None:
        """
        While keys are rotated, tokens of the old key and of the new are verified.
        """
        rotated = TokenKeys(KEYS.keys[::-1])
        for signing in (KEYS, rotated):
            token = IDTokens(ISSUER, signing).token(ACCOUNT, URL)
            for known in (KEYS, rotated):
                self.assertEqual(verified(token, URL, known)["iss"], ISSUER)

    def test_claims(self) -> None:
        """
        A token says what Google's say; the number of an account is always the same.
        """
        token = self.tokens.token(ACCOUNT, URL)
        header = {"alg": "RS256", "kid": KEYS.keys[0].id, "typ": "JWT"}
        self.assertEqual(jwt.get_unverified_header(token), header)
        claims = self.claims(token)
        subject = "829564282489283260007"
        self.assertEqual(claims, {
            "aud": URL,
            "azp": subject,
            "email": ACCOUNT,
            "email_verified": True,
            "exp": NOW + 3_600,
            "iat": NOW,
            "iss": ISSUER,
            "sub": subject,
        })  # fmt: skip
        other = self.claims(self.tokens.token("other@example", "é\ud800"))
        self.assertNotEqual(other["sub"], subject)
        self.assertEqual(other["aud"], "é\ud800")

    def test_limited(self) -> None:
        """
        There may be tokens of some accounts alone; what is kept of one account is the
        same, and is nothing for others.
        """
        token = self.tokens.token(ACCOUNT, URL)
        limited = self.tokens.limited_to(["mailer@*", ACCOUNT])
        self.assertEqual(limited.token(ACCOUNT, URL), token)
        for accounts in ([], ["*@other.example"]):
            none = self.tokens.limited_to(accounts)
            error = self.assertRaises(NoIDToken, none.token, ACCOUNT, URL)
            self.assertIn(f"an ID token of {ACCOUNT}, which the table", str(error))
        self.assertEqual(self.tokens.token("any", URL).count("."), 2)

    def test_kept(self) -> None:
        """
        A token is used again for five minutes, also when the clock is set back, and
        only for its account and audience.
        """
        first = self.tokens.token(ACCOUNT, URL)
        self.time += KEPT - 1
        self.assertIs(self.tokens.token(ACCOUNT, URL), first)
        self.assertIsNot(self.tokens.token(ACCOUNT, f"{URL}/b"), first)
        self.assertIsNot(self.tokens.token("b@example", URL), first)
        self.time += 1
        second = self.tokens.token(ACCOUNT, URL)
        self.assertEqual(self.claims(second)["iat"], self.time)
        self.time -= 60
        third = self.tokens.token(ACCOUNT, URL)
        self.assertEqual(self.claims(third)["iat"], self.time)

    def test_many(self) -> None:
        """
        No more than a number of them are kept; those made first go.
        """
        self.patch(IDTokens, "_signed", lambda *args: f"{args[1:]}")
        first = self.tokens.token(ACCOUNT, URL)
        for number in range(MOST_TOKENS - 1):
            last = self.tokens.token(ACCOUNT, f"{URL}/{number}")
        self.assertIs(self.tokens.token(ACCOUNT, URL), first)
        self.tokens.token(ACCOUNT, "one more")
        self.assertEqual(len(self.tokens._kept), MOST_TOKENS)
        self.assertIsNot(self.tokens.token(ACCOUNT, URL), first)
        self.assertIs(self.tokens.token(ACCOUNT, f"{URL}/{number}"), last)

    def test_configuration(self) -> None:
        """
        The issuer tells where its keys are.
        """
        for issuer in (ISSUER, f"{ISSUER}/"):
            told = openid_configuration(issuer)
            self.assertEqual(told["issuer"], issuer)
            self.assertEqual(told["jwks_uri"], f"{ISSUER}/.well-known/jwks.json")
