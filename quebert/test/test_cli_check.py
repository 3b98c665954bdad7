"""
Tests for C{quebert check}.
"""

from __future__ import annotations

from unittest import mock

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from quebert.cli import main
from quebert.errors import ConfigError
from quebert.metrics import ClusterMetrics
from quebert.signatures import SharedSecret
from quebert.test.checks import folder


class CheckTests(SynchronousTestCase):
    """
    C{quebert check FILE} tells whether a file is right.
    """

    def check(self, text: str) -> Result:
        """
        Check a file with this text.
        """
        path = folder(self) / "quebert.toml"
        path.write_text(text)
        self.path = str(path)
        return CliRunner().invoke(main, ["check", self.path])

    def test_fine(self) -> None:
        """
        It is, and what it is about is told.
        """
        result = self.check('[queues.mail]\nkey = "m"\n')
        first, second, third, fourth = result.stdout.splitlines()
        self.assertEqual((result.exit_code, first), (0, "fine: 1 queue: mail"))
        self.assertTrue(second.startswith("delayed tasks wait in quorum queues if"))
        self.assertTrue(third.startswith("tasks may reach private addresses: set"))
        self.assertTrue(fourth.startswith("tasks are tried for ever. Only with media"))
        two = self.check('[queues.mail]\nkey = "m"\n[queues.news]\nkey = "n"\n')
        self.assertEqual(two.stdout.splitlines()[0], "fine: 2 queues: mail, news")

    def test_made_queues(self) -> None:
        """
        It tells which queues are served that are not in the file.
        """
        result = self.check('[made_queues]\nserve = ["mail-*", "a"]\n')
        lines = result.stdout.splitlines()
        self.assertEqual((result.exit_code, lines[0]), (0, "fine: 0 queues"))
        self.assertIn("made with quebert queues make: mail-* a; their tasks", lines[1])
        result = self.check(
            '[made_queues]\nserve = ["*"]\neach.guard.private = "refuse"\n'
        )
        self.assertNotIn("private addresses", result.stdout)

    def test_private(self) -> None:
        """
        Queues whose tasks may reach private addresses are told, and what to do if
        their producers are not trusted.
        """
        two = '[queues.mail]\nkey = "m"\n[queues.news]\nkey = "n"\n'
        for text, wanted in (
            (two, ["tasks may reach"]),
            (f'{two}guard = {{ private = "refuse" }}\n', ["tasks of mail may reach"]),
            (f'{two}[guard]\nprivate = "refuse"\n', []),
        ):
            told = self.check(text).stdout.splitlines()[2:]
            advice = 'private addresses: set guard.private to "refuse" if you do not'
            found = [each.partition(f" {advice}") for each in told]
            self.assertEqual([before for before, _, after in found if after], wanted)

    def test_endless(self) -> None:
        """
        Queues whose tasks are tried for ever are told.
        """
        two = '[queues.mail]\nkey = "m"\n[queues.news]\nkey = "n"\n'
        for more, whose in (
            ('mediator = "policy"\n', ["tasks of mail"]),
            ("retry = { max_attempts = 3 }\n", ["tasks of mail"]),
            ('mediator = "plain"\n', ["tasks"]),
            ('mediator = "policy"\n[queues.mail.retry]\nmax_attempts = 3\n', []),
        ):
            told = self.check(two + more).stdout.splitlines()
            found = [each.partition(" are tried for ever. ") for each in told]
            self.assertEqual([before for before, _, after in found if after], whose)

    def test_other_port(self) -> None:
        """
        A host is told that a table without a port does not limit.
        """
        for url, table, wanted in (
            ("http://a:8000/", "a", True),
            ("http://A:8000/", "A", True),
            ("http://a:8000/", "a:8000", False),
            ("http://a/", "a", False),
            ("https://a:443/", "a", False),
            ("http://b:8000/", "a", False),
        ):
            told = self.check(
                f'[service]\ndefault_url = "{url}"\n'
                f'[hosts."{table}"]\nconcurrency = 1\n'
                '[queues.mail]\nkey = "m"\n'
            ).stdout
            line = '[hosts."a"] is for the ports 80 and 443: it does not limit the host'
            self.assertEqual(line in told, wanted, told)
            if wanted:
                self.assertIn('default_url of mail, which is "a:8000"', told)

    def test_delays(self) -> None:
        """
        Where delayed tasks wait is told, and who wants it so.
        """
        for value, wanted in (
            ('"auto"', "in quorum queues if RabbitMQ has them"),
            ("true", "in quorum queues, as configured"),
            ("false", "in classic queues, as configured"),
        ):
            text = f'[broker]\nquorum_delays = {value}\n[queues.mail]\nkey = "m"\n'
            self.assertIn(f"delayed tasks wait {wanted}", self.check(text).stdout)

    def test_one_host_stops_all(self) -> None:
        """
        Queues that one host which hangs can stop are told, and why.
        """
        queue = '[queues.mail]\nkey = "m"\n'
        for more, why in (
            ("hang_after = 0", "hang_after is 0"),
            ("concurrency = 1", "concurrency is 1"),
            ("prefetch = 1", "prefetch is 1"),
        ):
            told = self.check(f"{queue}{more}\n").stdout.splitlines()
            wanted = "one host that hangs stops all tasks of mail, since"
            self.assertEqual(told[-1], f"{wanted} {why}")

    def test_names(self) -> None:
        """
        Names of which RabbitMQ 4 cannot refuse anything are told.
        """
        long = "ü" * 60
        text = f'[queues."{long}"]\nkey = "m"\nexchange = "{long}"\n'
        result = self.check(text)
        told = result.stdout.splitlines()[-2:]
        for kind, line in zip(("queue", "exchange"), told, strict=True):
            self.assertIn(f"give {kind} {long} a shorter name: its name has", line)
        self.assertEqual(result.exit_code, 0)
        self.assertNotIn("shorter", self.check('[queues.mail]\nkey = "m"\n').stdout)

    def test_wrong(self) -> None:
        """
        It is not: a line for all that is wrong, and exit status 1.
        """
        result = self.check('[queues.mail]\nkeyy = "m"\nprehooks = ["no.such"]\n')
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(result.stdout, "")
        wanted = ("mail.key is missing", "mail.keyy is not known", "no module no")
        lines = result.stderr.splitlines()
        for number, (line, text) in enumerate(zip(lines, wanted, strict=True), 1):
            self.assertTrue(line.startswith(f"{self.path}:{number}: queues."), line)
            self.assertIn(text, line)

    def test_hooks(self) -> None:
        """
        Hooks are looked for.
        """
        result = self.check('[queues.mail]\nkey = "m"\nprehooks = ["os.path.join"]\n')
        self.assertEqual(result.exit_code, 0, result.output)
        result = self.check('[queues.mail]\nkey = "m"\nprehooks = ["os.sep"]\n')
        self.assertIn("must be a function, not str", result.stderr)

    def test_certificates(self) -> None:
        """
        So are certificates, and whether they are any.
        """
        text = '[queues.mail]\nkey = "m"\n[broker]\nurl = "amqps://h"\n'
        result = self.check(f'{text}tls.cacertfile = "none.pem"\n')
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        said = f"{self.path}: broker.tls is wrong: the cacertfile "
        self.assertTrue(result.stderr.startswith(said), result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1)
        result = self.check(f'{text}tls.cacertfile = "quebert.toml"\n')
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        text += '[hosts."h:1".tls]\n'
        result = self.check(f'{text}certfile = "none.pem"\n')
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        said = f'{self.path}: hosts."h:1".tls is wrong: the certfile '
        self.assertTrue(result.stderr.startswith(said), result.stderr)

    def test_metrics(self) -> None:
        """
        So is what metrics need, where they are to be shown.
        """
        text = '[queues.mail]\nkey = "m"\n'
        error = ConfigError("metrics need prometheus-client")
        with mock.patch.object(ClusterMetrics, "prepare", side_effect=error):
            self.assertEqual(self.check(text).exit_code, 0)
            result = self.check(f"{text}[web]\nlisten = 8080\n")
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        said = f"{self.path}: web.listen cannot be used: metrics need"
        self.assertTrue(result.stderr.startswith(said), result.stderr)

    def test_signing(self) -> None:
        """
        So are the secrets that sign; which line is wrong is told, not how it goes on,
        and whether every user may read the file.
        """
        secrets = folder(self) / "signing"
        text = f'[queues.mail]\nkey = "m"\nsign.secrets_file = "{secrets}"\n'
        secrets.write_text("# new\nwhsec_canary!\n")
        result = self.check(text)
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        said = (
            f"{self.path}:3: queues.mail.sign.secrets_file is wrong: {secrets}, line 2"
        )
        self.assertTrue(result.stderr.startswith(said), result.stderr)
        self.assertNotIn("canary", result.stderr)
        secrets.write_text(SharedSecret.generate().text)
        for mode, wanted in ((0o644, True), (0o640, False), (0o600, False)):
            secrets.chmod(mode)
            result = self.check(text)
            self.assertEqual(result.exit_code, 0, result.output)
            said = f"may read the signing secrets of mail: chmod o-r {secrets}\n"
            self.assertEqual(result.stdout.endswith(said), wanted)

    def test_no_file(self) -> None:
        """
        A file that is not there is wrong.
        """
        result = CliRunner().invoke(main, ["check", "no/such.toml"])
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(
            result.stderr,
            "no/such.toml:1: the file cannot be read: No such file or directory\n",
        )
