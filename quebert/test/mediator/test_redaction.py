"""
Tests for L{quebert.mediator._redaction}: texts without secrets.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert import task as tasks
from quebert.errors import BadTask
from quebert.mediator._redaction import ANSWER, Redaction
from quebert.task import Request, Task
from quebert.test.mediating import URL
from quebert.test.test_task_cloud_tasks import ACCOUNT, FIELD


def request(task: Task) -> Request:
    """
    The request of a task.
    """
    return tasks.request(task, "http://h/?key=default-secret")


class RedactionTests(SynchronousTestCase):
    """
    L{Redaction}.
    """

    def setUp(self) -> None:
        """
        One that has a secret of its own.
        """
        self.redaction = Redaction(["own-secret"], request)

    def test_text(self) -> None:
        """
        Secrets of the mediator, of the URL and of the headers are hidden.
        """
        task = {
            "url": "http://me:pass-word@h/?token=query-secret",
            "headers": {"X-Token": "header-secret", "X": "plain"},
        }
        text = "own-secret, pass-word, query-secret, header-secret, plain"
        shown = "..., ..., ..., ..., plain"
        self.assertEqual(self.redaction.text(text, task), shown)
        self.assertEqual(self.redaction.text("", task), "")

    def test_id_tokens(self) -> None:
        """
        A handler of Cloud Tasks may tell the ID token that it got, or its beginning; of
        other tasks texts like it are shown.
        """
        token = "eyJhbGciOi_-J9.eyJhdWQi.c2lnbmF0dXJl"
        field = {**FIELD, "oidc": {"service_account_email": ACCOUNT}}
        handled = {"url": URL, "cloud_tasks": field}
        for shown in (token, token[:20], token[:5]):
            text = f"no: {shown} is wrong"
            self.assertEqual(self.redaction.text(text, handled), "no: ... is wrong")
            beginning = self.redaction.beginning(text.encode(), handled)
            self.assertEqual(beginning, b"no: ... is wrong")
            for other in ({"url": URL}, {"url": URL, "cloud_tasks": FIELD}):
                self.assertEqual(self.redaction.text(text, other), text)
            spoiled = {"url": URL, "cloud_tasks": 5}
            self.assertEqual(self.redaction.text(text, spoiled), "no: ... is wrong")
        answer = b"x" * (ANSWER - 5) + token.encode()
        self.assertNotIn(b"eyJ", self.redaction.beginning(answer, handled))

    def test_spoiled(self) -> None:
        """
        They are hidden, too, where the task could not be requested any more.
        """
        task = {"url": URL, "headers": {"X-Token": "header-secret", "": 5}}
        with self.assertRaises(BadTask):
            request(task)
        self.assertEqual(self.redaction.text("a header-secret", task), "a ...")
        self.assertEqual(self.redaction.text("a", {"url": 5, "headers": 5}), "a")

    def test_beginning(self) -> None:
        """
        Of an answer the first bytes are kept.
        """
        shown = self.redaction.beginning(b"own-secret" + b"x" * 9_000, {"url": URL})
        self.assertEqual((shown[:4], len(shown)), (b"...x", ANSWER))
