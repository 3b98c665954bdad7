"""
Tests for what there is to tell of what is dead: L{DeadLetter}, L{Match}, and how
L{quebert.cli._dead} prints it.
"""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert._text import width
from quebert.cli import _dead
from quebert.cli._dead import Listing, whole
from quebert.errors import ConfigError
from quebert.operations import DeadLetter, Match
from quebert.operations._matching import matched
from quebert.test.checks import QUICK, refusal

REASON = "quebert-reason"
HEADERS: dict[str, Any] = {
    "quebert-kind": "exhausted",
    "quebert-reason": "503 Service Unavailable",
    "quebert-last-status": 503,
    "quebert-last-answer": b"Overloaded \xff",
    "quebert-attempts": 12,
    "quebert-buried-at": 1_700_000_000.25,
    "x-shop": "7",
}
TASK = {"uuid": "8f14", "url": "http://me:s3cret@example.com/a", "params": {"é": 1}}


def letter(headers: Any = HEADERS, task: Any = TASK, **properties: Any) -> DeadLetter:
    """
    A dead letter.
    """
    body = task if isinstance(task, bytes) else json.dumps(task).encode()
    return DeadLetter({"headers": headers, **properties}, body)


class DeadLetterTests(SynchronousTestCase):
    """
    Tests for L{DeadLetter}.
    """

    def test_fields(self) -> None:
        """
        What is known of it, as text.
        """
        dead = letter()
        self.assertEqual(dead.kind, "exhausted")
        self.assertEqual(dead.reason, "503 Service Unavailable")
        self.assertEqual(dead.status, "503")
        self.assertEqual(dead.answer, "Overloaded \N{REPLACEMENT CHARACTER}")
        self.assertEqual(dead.attempts, "12")
        self.assertEqual(dead.uuid, "8f14")
        self.assertEqual(dead.url, "http://...@example.com/a")
        self.assertEqual(dead.buried_at, 1_700_000_000.25)
        self.assertEqual(dead.task, TASK)

    def test_nothing_known(self) -> None:
        """
        Whatever somebody has put there, it can be told of.
        """
        for headers in ({}, {"quebert-buried-at": "now", "quebert-kind": None}):
            for body in (b"", b"\xff", b"[1]", b"7", b'{"a": 1}'):
                dead = letter(headers, body)
                fields = (dead.kind, dead.reason, dead.status, dead.uuid, dead.url)
                self.assertEqual(set(fields), {""})
                self.assertIsNone(dead.buried_at)
                self.assertEqual(dead.redriven_body, body)
                list(whole(dead))
        whens: list[Any] = [float("inf"), float("nan"), 1e300, -1e300, [], True]
        for when in whens:
            dead = letter({"quebert-buried-at": when})
            list(whole(dead))
            Listing(1).add(dead)

    def test_no_task(self) -> None:
        """
        What is no task has the uuid of its message.
        """
        dead = letter(task=b"no JSON", **{"message-id": "8f15"})
        self.assertEqual(dead.uuid, "8f15")

    def test_anew(self) -> None:
        """
        It begins anew with the body that it has, without a count of failures.
        """
        self.assertEqual(letter().redriven_body, letter().body)
        failed = letter(task={**TASK, "failures": 7, "traceback": "..."})
        self.assertEqual(json.loads(failed.redriven_body), TASK)
        self.assertEqual(len(failed.history), 6)
        self.assertNotIn("x-shop", failed.history)

    def test_lines(self) -> None:
        """
        All of it can be read, and its times.
        """
        text = "\n".join(whole(letter(**{"content-type": "application/json"})))
        self.assertIn("content-type: application/json", text)
        self.assertIn("quebert-last-status: 503", text)
        self.assertIn("quebert-last-answer: Overloaded \\xff", text)
        self.assertIn("quebert-buried-at: 2023-11-1", text)
        self.assertIn('\n    "é": 1\n', text)
        self.assertEqual([*whole(letter({}, b"a\nb\xff"))], ["", "a", "b\\xff"])

    def test_secrets(self) -> None:
        """
        What is a secret by its name, and users and passwords in URLs, are shown to
        those alone who ask for them.
        """
        url = "http://me:pa/s3cret@example.com/a?key=canary"
        task = {
            "url": url,
            "callback_url": "https://me:pa/s3cret@example.com/ended?key=canary",
            "headers": {"Authorization": "Bearer s3cret", "X-API-Key": "s3cret"},
            "params": [{"see": f"at {TASK['url']}", "proxy-authorization": ["s3cret"]}],
            "uuid": "8f14",
        }
        headers = {**HEADERS, "authorization": "s3cret", REASON: f"for {TASK['url']}"}
        for body in (
            task,
            b"Authorization: Basic s3cret\nhttp://me:s3cret@example.com/",
            b'{"headers": {"AUTHORIZATION" : "s3cret"}',
        ):
            dead = letter(headers, body, **{"correlation-id": "//me:s3cret@a"})
            text = "\n".join(whole(dead))
            self.assertNotIn("s3cret", text)
            self.assertNotIn("canary", text)
            self.assertIn("quebert-reason: for http://...@example.com/a", text)
            shown = "\n".join(whole(dead, secrets=True))
            self.assertGreaterEqual(shown.count("s3cret"), 4)
        listing = Listing(1)
        listing.add(letter(headers, task))
        text = "\n".join(listing.lines())
        self.assertNotIn("s3cret", text)
        self.assertNotIn("canary", text)
        self.assertIn("http://...@example.com/a?...", text)

    def test_userinfo_in_no_task(self) -> None:
        """
        Users and passwords are found as JSON may spell URLs, and up to the last C{@}.
        """
        for body in (
            rb'{"url": "http:\/\/me:s3cret@example.com\/a',
            rb'["http:\/\/s3cret@example.com\/a"]',
            b'{"url": "http://me:p@s3cret@example.com/a',
            b'{"url": "/a", "params": {"dsn": "postgres://me:it\'s@s3cret@db/a"}}',
            rb'{"dsn": "postgres://me:it\"s3cret@db/a',
        ):
            text = "\n".join(whole(letter({}, body)))
            self.assertNotIn("s3cret", text)
            self.assertIn("...@", text)
        task = {"url": "/a", "params": {"dsn": 'postgres://me:it"s3cret@db/a'}}
        self.assertNotIn("s3cret", "\n".join(whole(letter({}, task))))

    def test_secrets_quickly(self) -> None:
        """
        To hide secrets takes linear time, whatever the body is.
        """
        parts = (b"passw", b"token  ", b"//a", b"//@", b'authorization:"', b"cookie\\")
        for part in parts:
            list(whole(letter(HEADERS, part * 100_000)))


class FieldTests(SynchronousTestCase):
    """
    What L{Match} can be about.
    """

    def test_unknown(self) -> None:
        """
        A field that no dead letter has is refused at once.
        """
        problem = self.assertRaises(ConfigError, Match, "knd", "x")
        self.assertIn("'knd' is no field of a dead letter: kind,", str(problem))


class MatchTests(SynchronousTestCase):
    """
    Tests for L{Match}.
    """

    def check(self, matches: str, *not_: str) -> None:
        """
        The first matches, the others do not.
        """
        self.assertTrue(Match.parse(matches)(letter()), matches)
        for each in not_:
            self.assertFalse(Match.parse(each)(letter()), each)

    def test_whole(self) -> None:
        """
        C{=} is for all of a field, with C{*} for anything in it.
        """
        self.check("kind=exhausted", "kind=exhaust", "kind=Exhausted", "kind=")
        self.check("status=503", "status=50", "status=.*3")
        self.check("status=5*", "status=4*", "status=*4")
        self.check("url=http://*@example.com/*", "url=*.example.com/*")
        self.check("attempts=12")

    @QUICK
    @given(st.text("ab*", max_size=8), st.text("ab\n", max_size=12))
    def test_anything(self, text: str, value: str) -> None:
        """
        C{*} is any text, as C{.*} of a regular expression is.
        """
        wanted = re.compile(".*".join(map(re.escape, text.split("*"))), re.DOTALL)
        found = Match("answer", text)(letter({"quebert-last-answer": value}))
        self.assertEqual(found, wanted.fullmatch(value) is not None)

    def test_many_parts(self) -> None:
        """
        A long text that nearly matches takes no time to speak of.  A regular expression
        with as many C{.*} would take years.
        """
        headers = {"quebert-last-answer": "a" * 1_000_000}
        text = "*a" * 100
        self.assertTrue(Match("answer", f"{text}*")(letter(headers)))
        self.assertFalse(Match("answer", f"{text}*b")(letter(headers)))
        self.assertFalse(Match("answer", f"{text}*b*")(letter(headers)))

    def test_part(self) -> None:
        """
        C{~} is for a part, in capitals or not.
        """
        self.check("reason~SERVICE una", "reason~service*", "answer~none")
        self.check("reason~")

    def test_not(self) -> None:
        """
        With C{!} before it, it must not be so.
        """
        self.check("kind!=poison", "kind!=exhausted")
        self.check("reason!~timeout", "reason!~503")

    def test_missing(self) -> None:
        """
        What is not known is empty.
        """
        self.assertTrue(Match.parse("status=")(letter({})))
        self.assertFalse(Match.parse("status=")(letter()))

    def test_password(self) -> None:
        """
        A password in the URL is nothing to be found by.
        """
        self.assertFalse(Match.parse("url~s3cret")(letter()))

    def test_refused(self) -> None:
        """
        What is none of these says what would be right.
        """
        for text in ("", "kind", "colour=red", "=x", "kind<3", "kind ~x"):
            self.assertIn("FIELD=TEXT", refusal(ConfigError, Match.parse, text))

    def test_all(self) -> None:
        """
        All must be so.
        """
        both = [Match.parse("kind=exhausted"), Match.parse("status=503")]
        self.assertTrue(matched(both, letter()))
        self.assertTrue(matched([], letter()))
        both.append(Match.parse("uuid=8f15"))
        self.assertFalse(matched(both, letter()))


class ListingTests(SynchronousTestCase):
    """
    Tests for L{Listing}.
    """

    def test_lines(self) -> None:
        """
        Kinds and reasons are counted, the most frequent first, and the first letters
        shown.
        """
        listing = Listing(2)
        self.patch(_dead, "_REASONS", 1)
        listing.add(letter({}, b"?"))
        listing.add(letter())
        listing.add(letter())
        listing.add(letter({**HEADERS, "quebert-reason": "timeout"}))
        lines = list(listing.lines())
        self.assertEqual(lines[0], "3 exhausted, 1 -")
        self.assertEqual(lines[2], "count  kind       reason")
        self.assertEqual(lines[3], "2      exhausted  503 Service Unavailable")
        self.assertEqual(lines[5], "and 1 other reasons")
        self.assertEqual(lines[8].split(), ["-"] * 6)
        self.assertIn("8f14  http://...@example.com/a  12        2023-", lines[9])
        self.assertEqual(len(lines), 10)

    def test_aligned(self) -> None:
        """
        Columns stay below each other whatever takes the place of one character, of
        two, or of none.
        """
        listing = Listing(9)
        uuids = "a\x1b[2Jb", "日本語", "e\N{COMBINING ACUTE ACCENT}", "\u202e\u200b"
        for uuid in uuids:
            listing.add(letter(task={"uuid": uuid, "url": "/"}))
        head, *rows = list(listing.lines())[-5:]
        self.assertEqual(
            [row.split()[0] for row in rows], ["a?[2Jb", *uuids[1:3], "??"]
        )
        columns = {width(row[: row.index("/")]) for row in rows}
        self.assertEqual(columns, {head.index("url")})

    def test_grouped(self) -> None:
        """
        What is a task's own in a reason does not tell it from others.
        """
        named = "task 8f14 for http://example.com/a is given up"
        for status, reason, wanted in (
            (503, f"{named} after 3 attempts in 9 s: it failed", HEADERS[REASON]),
            (599, f"{named} at once: it failed", "599"),
            (200, f"{named} by its executor: no such user", "no such user"),
            (None, f"{named} after 1 attempt in 0 s: no answer in 30 s", "no answer"),
            (
                None,
                "not a task: 8f14 at http://...@example.com/a",
                "not a task: ... at",
            ),
            ("5" * 5_000, f"{named} after 1 attempt: it failed", "it failed"),
            ("\N{SUPERSCRIPT TWO}00", f"{named} after 1 attempt: odd", "odd"),
            ("٥٠٣", f"{named} after 1 attempt: digits", "digits"),
            (None, "odd is given up", "odd is given up"),
        ):
            headers = {**HEADERS, REASON: reason, "quebert-last-status": status}
            common = letter(headers).common_reason
            self.assertTrue(common.startswith(wanted), common)
        refused = {
            **HEADERS,  # it was answered before the name led elsewhere
            "quebert-kind": "forbidden",
            "quebert-reason": "task 8f14 for /a is given up at once: the guard refuses",
        }
        self.assertEqual(letter(refused).common_reason, "the guard refuses")

    def test_long(self) -> None:
        """
        Whatever somebody has put there, a line of a table is no longer than its cells
        may be, and the end of a longer text is marked.
        """
        names = ("kind", "reason", "attempts")
        long = {f"quebert-{name}": f"{name} {'x' * 10_000}" for name in names}
        task = {"uuid": "u" * 10_000, "url": f"/{'u' * 10_000}"}
        listing = Listing(9)
        listing.add(letter(long, task))
        for _ in range(8):
            listing.add(letter())
        lines = list(listing.lines())
        self.assertLess(max(map(len, lines)), 6 * 202)
        self.assertEqual(lines[0], f"8 exhausted, 1 kind {'x' * 194}…")
        self.assertEqual(lines[4].count("…"), 2)
        (row,) = (line for line in lines if line.startswith("uuu"))
        cells = re.split(" {2,}", row)
        self.assertEqual([cell[-1] for cell in cells], ["…", "…", "…", "-", "…", "…"])
        self.assertEqual({len(cell) for cell in cells}, {1, 200})
