"""
Tests for L{quebert.signatures._token_keys}: the keys that sign ID tokens.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from jwt import PyJWK, PyJWKSet
from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import ConfigError
from quebert.signatures import SigningKey, TokenKey, TokenKeys, write_key
from quebert.test.checks import folder, refusal

#: Two, since it takes a while to make one.
KEYS = TokenKeys((TokenKey.generate(), TokenKey.generate()))


class TokenKeysTests(SynchronousTestCase):
    """
    L{TokenKeys}, in a file and as JSON.
    """

    def setUp(self) -> None:
        """
        A file that is not there yet.
        """
        self.path = folder(self) / "keys.pem"

    def refused(self, text: str) -> str:
        """
        What is said against a file, after its path.
        """
        self.path.write_text(text)
        self.path.chmod(0o600)
        why = refusal(ConfigError, TokenKeys.from_file, self.path)
        self.assertIn(str(self.path), why)
        return why.replace(str(self.path), "FILE")

    def test_file(self) -> None:
        """
        A file has the keys one after the other; there may be remarks.
        """
        first, second = KEYS.keys
        write_key(self.path, first)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(TokenKeys.from_file(self.path), TokenKeys((first,)))
        with self.path.open("a") as file:
            file.write(f"# the next one\r\n\r\n{second.text}\r\n")
        self.assertEqual(TokenKeys.from_file(self.path), KEYS)

    def test_open_file(self) -> None:
        """
        A file that other users may read is refused.
        """
        write_key(self.path, KEYS.keys[0])
        self.path.chmod(0o604)
        why = refusal(ConfigError, TokenKeys.from_file, self.path)
        self.assertIn(f"other users may read or write {self.path}", why)

    def test_wrong_files(self) -> None:
        """
        A file with anything else is refused, and nothing of it is told.
        """
        first = KEYS.keys[0].text
        parts = first.split("\n")
        for text, told in (
            ("", "FILE must have 1 to 10 keys, not 0"),
            (f"{first}\n" * 11, "FILE must have 1 to 10 keys, not 11"),
            (f"{first}\nsecret", "FILE has something that is no key in PEM"),
            ("\n".join(parts[:-1]), "FILE has something that is no key in PEM"),
            (
                "\n".join((parts[0], "AAAA", parts[-1])),
                "FILE: a key is no private key in PEM",
            ),
        ):
            self.assertEqual(self.refused(text), told)

    def test_other_keys(self) -> None:
        """
        Keys that are too short, encrypted, or of another kind are refused.
        """
        short = generate_private_key(65_537, 1_024)
        form = (Encoding.PEM, PrivateFormat.PKCS8)
        pem = short.private_bytes(*form, NoEncryption()).decode()
        why = "FILE: an RSA key must have 2048 to 4096 bits, not 1024"
        self.assertEqual(self.refused(pem), why)
        pem = short.private_bytes(*form, BestAvailableEncryption(b"x")).decode()
        self.assertEqual(self.refused(pem), "FILE: a key is encrypted: decrypt it")
        other = SigningKey.generate()._key.private_bytes(*form, NoEncryption())
        self.assertEqual(self.refused(other.decode()), "FILE: a key is not of RSA")

    def test_jwks(self) -> None:
        """
        Verifiers read the public halves of all keys, and find each by its name.
        """
        told = KEYS.jwks()
        self.assertEqual({name for key in told["keys"] for name in key}, {
            "alg", "e", "kid", "kty", "n", "use",
        })  # fmt: skip
        read = PyJWKSet.from_dict(told)
        self.assertEqual([k.key_id for k in read.keys], [k.id for k in KEYS.keys])
        self.assertEqual([PyJWK(k).algorithm_name for k in told["keys"]], ["RS256"] * 2)

    def test_secret(self) -> None:
        """
        Nothing of a key is in its repr.
        """
        self.assertNotIn("RSAPrivateKey", repr(KEYS))
        self.assertIn(KEYS.keys[0].id, repr(KEYS))
