"""
Tests for L{quebert.cli._answer_text}: answers as a person reads them.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert.cli._answer_text import LIMIT, answer_text
from quebert.test.injections import INJECTIONS

_FLASK = """<!doctype html>
<html lang=en>
<title>500 Internal Server Error</title>
<h1>Internal Server Error</h1>
<p>The server encountered an internal error &amp; gave up.</p>
"""
_DJANGO = """\
<!DOCTYPE html><html><head><title>KeyError
          at /report</title><style type="text/css">
  html * { padding:0; margin:0; }
  body > p { x: "</p>" }
"""


class AnswerTextTests(SynchronousTestCase):
    """
    L{answer_text} makes a line of an answer.
    """

    def test_html(self) -> None:
        """
        Of HTML, the texts: those of the pages that frameworks show.
        """
        said = answer_text(_FLASK, True)
        wanted = (
            "500 Internal Server Error Internal Server Error The server encountered an"
            " internal error & gave up."
        )
        self.assertEqual(said, wanted)
        self.assertEqual(answer_text(_DJANGO, True), "KeyError at /report")
        self.assertEqual(answer_text("<h1>Oh</h1><b>Oh</b> no", True), "Oh no")
        self.assertEqual(answer_text("<script>if (a<b) x()</script>Oh", True), "Oh")

    def test_looks_like_html(self) -> None:
        """
        A page is known without being called HTML; other texts stay.
        """
        self.assertEqual(answer_text("\n<HTML><p>Oh", False), "Oh")
        self.assertEqual(answer_text("KeyError: <b>", False), "KeyError: <b>")
        self.assertEqual(answer_text('{"a": "<p>"}', False), '{"a": "<p>"}')

    def test_cut_off(self) -> None:
        """
        It may be cut off anywhere.
        """
        for end in range(len(_FLASK)):
            said = answer_text(_FLASK[:end], True)
            self.assertNotIn("lang", said)
            self.assertTrue(said.isprintable())

    def test_hostile(self) -> None:
        """
        Whatever it is, it is one short line.
        """
        hostile = ["<" * 2_048, "<!--" * 500, "<a " * 600, "&#27;[2J" * 200, "</" * 999]
        for text in [*INJECTIONS, *hostile]:
            for html in (False, True):
                said = answer_text(text, html)
                self.assertLessEqual(len(said), LIMIT)
                self.assertTrue(said.isprintable(), said)
