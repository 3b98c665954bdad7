"""
The table C{[leases]}, and the mediators that it makes.
"""

from __future__ import annotations

from twisted.internet.task import Clock

from quebert.config import LeaseSettings
from quebert.mediator import PolicyMediator
from quebert.service._mediators import mediates_alike, mediator
from quebert.test.test_settings import LEAST, ReadCase

SECRET = "whsec_" + "c2Vj" * 8
URL = 'url = "https://tasks.example/"\n'
FILE = 'secrets_file = "leases"\n'


class LeasesTableTests(ReadCase):
    """
    The table C{[leases]}.
    """

    def setUp(self) -> None:
        """
        A file with a secret.
        """
        super().setUp()
        self.secrets(SECRET)

    def secrets(self, *lines: str) -> None:
        """
        The file has these.
        """
        file = self.folder / "leases"
        file.write_text("".join(f"{each}\n" for each in lines))
        file.chmod(0o600)

    def leases(self, text: str) -> LeaseSettings | None:
        """
        What the table says.
        """
        return self.read(f"{LEAST}[leases]\n{text}").leases

    def test_read(self) -> None:
        """
        The table has defaults for the times, and no secret is shown.
        """
        self.assertIsNone(self.read(LEAST).leases)
        found = self.leases(URL + FILE)
        assert found is not None
        self.assertEqual((found.longest, found.last), (86_400, 7 * 86_400))
        self.assertNotIn("sec", repr(found).replace("secrets_file", ""))
        found = self.leases(URL + FILE + 'longest = "5m"\nlast = "1h"')
        assert found is not None
        self.assertEqual((found.longest, found.last), (300, 3_600))

    def test_ids(self) -> None:
        """
        Each secret of the file is accepted, and the first makes ids.
        """
        before = self.leases(URL + FILE)
        self.secrets("whsec_" + "bmV3" * 8, SECRET)
        after = self.leases(URL + FILE)
        assert before is not None
        assert after is not None
        old = before.ids.make(bytes(16), 1)
        self.assertEqual(after.ids.identity(old), bytes(16))
        self.assertIsNone(before.ids.identity(after.ids.make(bytes(16), 1)))

    def test_wrong(self) -> None:
        """
        What is wrong is told with its line.
        """
        for text, line, sentence in (
            (URL, 3, "leases.secrets_file is missing"),
            (FILE, 3, "leases.url is missing"),
            (f'{FILE}url = "tasks"', 5, "leases.url must be an HTTP URL"),
            (f'{URL}{FILE}longest = "2h"\nlast = "1h"', 7, "longest at least, which"),
            (f"{URL}{FILE}longest = 0", 6, "leases.longest must be"),
            (f"{URL}{FILE}years = 1", 6, "leases.years is not known"),
        ):
            error = self.wrong(f"{LEAST}[leases]\n{text}")
            self.assertEqual([each.line for each in error.problems], [line], error)
            self.assertIn(sentence, str(error))
        self.secrets("whsk_" + "c2Vj" * 8 + "c2Vjc2VjcyE=")
        error = self.wrong(f"{LEAST}[leases]\n{URL}{FILE}")
        self.assertIn("leases.secrets_file", str(error))

    def test_mediators(self) -> None:
        """
        A mediator C{policy} offers leases, and another one is made when the table
        changes.
        """
        policy = f'{LEAST}mediator = "policy"\n'
        before = self.read(f"{policy}[leases]\n{URL}{FILE}").queues["a"]
        made = mediator(before, None, Clock())
        assert isinstance(made, PolicyMediator)
        self.assertIsNotNone(made._policy.lease_url)
        without = self.read(policy).queues["a"]
        self.assertIsNone(mediator(without, None, Clock())._policy.lease_url)
        self.assertFalse(mediates_alike(before, without))
