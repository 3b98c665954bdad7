"""
The field C{callback_url} of tasks.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert import task as tasks
from quebert.errors import BadTask, NoDefaultURL
from quebert.task import BOUNDS, check_callback_url
from quebert.test.checks import refusal

NOW = 1_800_000_000.0


class CallbackURLTests(SynchronousTestCase):
    """
    What it may be.
    """

    def test_good(self) -> None:
        """
        A URL that could be that of a task.
        """
        for url in ("https://x.example/?a=b", "/ended", "http://ü:p@x.example/é"):
            self.assertEqual(check_callback_url(url, "http://localhost/"), url)

    def test_bad(self) -> None:
        """
        Anything else is refused in a sentence.
        """
        for url, why in (
            (7, "callback_url must be a string, not a number"),
            (
                {"url": "/x", "callback_url": "/y"},
                "callback_url must be a string, not an object: a callback has no"
                " options, and no callback of its own",
            ),
            (["/x"], "no callback of its own"),
            ("", "callback_url must have 1 to 8192 characters, not 0"),
            ("/" + "x" * BOUNDS.url, "not 8193"),
            ("ftp://x.example/", "callback_url cannot be requested: "),
            ("http://127.1/", "callback_url cannot be requested: "),
        ):
            text = refusal(BadTask, check_callback_url, url, "http://localhost/")
            self.assertIn(why, text)

    def test_partial(self) -> None:
        """
        A partial one needs a default URL.
        """
        text = refusal(NoDefaultURL, check_callback_url, "/ended", "")
        self.assertIn("callback_url cannot be requested", text)

    def test_made(self) -> None:
        """
        C{make} writes it, and refuses a bad one, as C{max_url_length} says.
        """
        url = "https://caller.example/ended"
        task = tasks.make(NOW, "/x", callback_url=url, callback_name="n")
        self.assertEqual((task["callback_url"], task["callback_name"]), (url, "n"))
        self.assertNotIn("callback_url", tasks.make(NOW, "/x"))
        text = refusal(
            BadTask, tasks.make, NOW, "/x", callback_url=url, max_url_length=9
        )
        self.assertEqual(text, "callback_url must have 1 to 9 characters, not 28")
