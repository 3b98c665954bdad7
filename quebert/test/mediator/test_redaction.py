"""
Tests for L{quebert.mediator._redaction}: texts without secrets.
"""

from __future__ import annotations

import html
import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert import task as tasks
from quebert._secrets import LONGEST
from quebert.errors import BadTask
from quebert.mediator._redaction import ANSWER, TEXT, Redaction
from quebert.task import Request, Task
from quebert.test.mediating import URL
from quebert.test.test_task_cloud_tasks import ACCOUNT, FIELD


def request(task: Task) -> Request:
    """
    The request of a task.
    """
    return tasks.request(task, "http://h/?key=default-secret")


#: Where leases are.
LEASES = "https://queue.example/v1/leases"


class RedactionTests(SynchronousTestCase):
    """
    L{Redaction}.
    """

    def setUp(self) -> None:
        """
        One that has a secret of its own.
        """
        self.redaction = Redaction(
            ["own-secret"], request, lambda _, n: f"{LEASES}/id-{n}"
        )

    def text(self, text: str, task: Task) -> str:
        """
        A text without the secrets of a task.
        """
        return self.redaction.of(task).hidden_in(text)

    def beginning(self, answer: bytes, task: Task) -> bytes:
        """
        What is kept of an answer.
        """
        return self.redaction.of(task).hidden_in_answer(answer)

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
        self.assertEqual(self.text(text, task), shown)
        self.assertEqual(self.text("", task), "")

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
            self.assertEqual(self.text(text, handled), "no: ... is wrong")
            beginning = self.beginning(text.encode(), handled)
            self.assertEqual(beginning, b"no: ... is wrong")
            for other in ({"url": URL}, {"url": URL, "cloud_tasks": FIELD}):
                self.assertEqual(self.text(text, other), text)
            spoiled = {"url": URL, "cloud_tasks": 5}
            self.assertEqual(self.text(text, spoiled), "no: ... is wrong")
        answer = b"x" * (ANSWER - 5) + token.encode()
        self.assertNotIn(b"eyJ", self.beginning(answer, handled))

    def test_spoiled(self) -> None:
        """
        They are hidden, too, where the task could not be requested any more.
        """
        task = {"url": URL, "headers": {"X-Token": "header-secret", "": 5}}
        with self.assertRaises(BadTask):
            request(task)
        self.assertEqual(self.text("a header-secret", task), "a ...")
        self.assertEqual(self.text("a", {"url": 5, "headers": 5}), "a")

    def test_beginning(self) -> None:
        """
        Of an answer the first bytes are kept.
        """
        shown = self.beginning(b"own-secret" + b"x" * 9_000, {"url": URL})
        self.assertEqual((shown[:4], len(shown)), (b"...x", ANSWER))

    def test_lease(self) -> None:
        """
        The URL of the lease that was offered is hidden, and the id in it.
        """
        message: Any = object()
        secrets = self.redaction.of({"url": URL}, message, 3)
        for text in (f"{LEASES}/id-3", f"{LEASES}/id-3".replace("/", "\\/"), "id-3"):
            self.assertNotIn("id-3", secrets.hidden_in(f"got {text}."))
            answer = secrets.hidden_in_answer(f"got {text}.".encode())
            self.assertNotIn(b"id-3", answer)
        self.assertEqual(secrets.hidden_in(f"{LEASES}/id-4"), f"{LEASES}/id-4")

    def test_spelt(self) -> None:
        """
        Secrets are hidden however JSON and HTML spell them, also where they are cut
        off.  What has none stays as it is.
        """
        secret = "a/b<c>&\"d'é\\\u20ac+e\N{SNAKE}=="
        page, text = html.escape(secret), json.dumps(secret)[1:-1]
        task = {"url": URL, "headers": {"X-Token": secret}}
        for spelt in (
            secret,
            text,
            json.dumps(secret, ensure_ascii=False)[1:-1],
            text.replace("/", "\\/"),  # PHP
            text.replace("=", "\\u003d").replace("<", "\\u003c"),  # Gson
            text.replace("+", "\\u002B").replace("\\u20ac", "\\u20AC"),  # .NET
            text.replace("&", "\\u0026"),  # Go
            page,
            page.replace("&#x27;", "&#039;"),
            page.replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
            html.escape(secret, quote=False),
        ):
            self.assertEqual(self.text(f"<{spelt}>", task), "<...>")
            self.assertEqual(self.beginning(f"<{spelt}>".encode(), task), b"<...>")
            for size in range(12, len(spelt)):
                answer = b"x" * (ANSWER - 40) + spelt[:size].encode()
                cut = self.beginning(answer, task)
                self.assertNotIn(b"b", cut)
        lines = {"url": "http://h/?token=ab%0Acd%09ef"}
        for spelt in ("ab\ncd\tef", "ab\\ncd\\tef", "ab&#10;cd&#x9;ef"):
            self.assertEqual(self.text(f"<{spelt}>", lines), "<...>")
        digits = f"&#{'9' * 5_000};"
        for other in (digits, "a\\/c \\u003d &amp; \\ud800", "\\", "&", "&#x110000;"):
            self.assertEqual(self.text(other, task), other)
            beginning = self.beginning(other.encode(), task)
            self.assertEqual(beginning, other.encode()[:ANSWER])
        self.assertEqual(self.beginning(b"\xff\x80", task), b"\xff\x80")

    def test_parts(self) -> None:
        """
        Of the values in one header so many are hidden that those in others are, too;
        values that are too short count for nothing.
        """
        many = ";".join(f"a=many{n:04}" for n in range(200))
        for first in (many, ";" * 200, "a=1;" * 200):
            headers = {"X-Token": first, "Cookie": "session=s3cret; id=identity"}
            shown = self.text("s3cret identity", {"url": URL, "headers": headers})
            self.assertEqual(shown, "... ...")
        shown = self.text(many, {"url": URL, "headers": {"X-Token": f"{many};"}})
        self.assertEqual(shown.count("many"), 100)

    def test_long(self) -> None:
        """
        Of a long text the beginning is told, or the end, without a secret that is cut
        off.
        """
        secret = "s3cret" * 1_000
        task = {"url": URL, "headers": {"X-Token": secret}}
        for size in (0, 100, TEXT - LONGEST, TEXT - 6_000, TEXT - 10, TEXT + 10):
            shown = self.text("a" * size + secret + "b" * TEXT, task)
            self.assertTrue("s3cr" not in shown, size)
            self.assertTrue(shown.startswith("a" * min(size, TEXT)))
            text = "b" * TEXT + secret + "\n" + "a" * size
            shown = self.redaction.of(task).hidden_in_end(text)
            self.assertTrue("cret" not in shown, size)
            self.assertTrue(shown.endswith("a" * min(size, TEXT)) or size > TEXT)
        quotes = {"url": URL, "headers": {"X-Token": '"' * 5_000}}
        self.assertEqual(self.text(html.escape('"' * 5_000), quotes), "...")

    def test_end(self) -> None:
        """
        A text of several lines is told whole; of a longer one the last whole lines are.
        """
        secrets = self.redaction.of({"url": URL})
        first, rest = "first own-secret", "\n" + "b" * 9 + "\nlast"
        self.assertEqual(secrets.hidden_in_end(first + rest), "first ..." + rest)
        longest = "a" * (TEXT - len(rest)) + rest
        self.assertEqual(secrets.hidden_in_end(longest), longest)
        self.assertEqual(secrets.hidden_in_end("a" + longest), "..." + rest)
