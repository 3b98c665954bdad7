"""
Tests for C{quebert secret}.
"""

from __future__ import annotations

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from quebert.cli import main
from quebert.signatures import Signer, TokenKeys, Verifier, parse_key, read_keys
from quebert.test.checks import folder


class SecretTests(SynchronousTestCase):
    """
    C{quebert secret FILE} makes a file.
    """

    def setUp(self) -> None:
        """
        A file that is not there yet.
        """
        self.path = folder(self) / "secret"

    def make(self, *options: str) -> Result:
        """
        Run the command.
        """
        return CliRunner().invoke(main, ["secret", str(self.path), *options])

    def test_shared(self) -> None:
        """
        With a secret for both sides, which nobody else may read, and nobody sees.
        """
        result = self.make()
        self.assertEqual((result.exit_code, result.output), (0, ""))
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        headers = Signer.from_file(self.path).headers("u", b"{}")
        Verifier.from_file(self.path).verify(headers, b"{}")

    def test_pair(self) -> None:
        """
        With a signing key; the public one is printed.
        """
        result = self.make("--pair")
        self.assertEqual(result.exit_code, 0)
        public = parse_key(result.stdout.strip())
        headers = Signer(read_keys(self.path, signing=True)).headers("u", b"{}")
        Verifier([public]).verify(headers, b"{}")

    def test_id_tokens(self) -> None:
        """
        With a key for ID tokens; there is one kind of key in a file.
        """
        result = self.make("--id-tokens")
        self.assertEqual((result.exit_code, result.output), (0, ""))
        self.assertEqual(len(TokenKeys.from_file(self.path).keys), 1)
        result = self.make("--id-tokens", "--pair")
        self.assertEqual(result.exit_code, 2)
        self.assertIn("give --pair or --id-tokens, not both", result.stderr)

    def test_there(self) -> None:
        """
        What is there already stays as it is.
        """
        self.path.write_text("old")
        result = self.make()
        self.assertEqual(result.exit_code, 1)
        self.assertIn(f"{self.path} cannot be made: File exists", result.stderr)
        self.assertEqual(self.path.read_text(), "old")
