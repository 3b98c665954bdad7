"""
The audit log, the files of the page, the overview that is always there.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase

from quebert.config import ClusterWeb, Listen
from quebert.errors import BrokerError, ConfigError
from quebert.operations import BrokerAccess
from quebert.test.checks import refusal
from quebert.web import Assets, Audit, ClusterView
from quebert.web._exchange import APIRequest, Caller
from quebert.web._json import encoded
from quebert.web._snapshots import Snapshots
from quebert.web.cluster import WebService


class AuditTests(TestCase):
    """
    L{Audit}.
    """

    def test_lines(self) -> None:
        """
        Each line is an object, in a file that nobody else can read, also when it was
        moved away.
        """
        path = Path(self.mktemp())
        audit = Audit(str(path), now=lambda: 1_700_000_000.5)
        caller = Caller(name="anna", address="192.0.2.7")
        audit.note(
            caller, "pause", "done", queue="mail\nforged \x1b[2J", match=["a\nb"]
        )
        [line] = path.read_text().splitlines()
        found = json.loads(line)
        self.assertEqual(found["at"], 1_700_000_000.5)
        self.assertEqual((found["who"], found["address"]), ("anna", "192.0.2.7"))
        self.assertNotIn("\x1b", found["queue"])
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        path.rename(f"{path}.1")
        audit.note(Caller(), "resume", "x" * 10_000)
        found = json.loads(path.read_text())
        self.assertEqual(found["who"], "nobody")
        self.assertLess(len(found["result"]), 600)

    def test_log(self) -> None:
        """
        Each line goes to the log, too, with its time to the millisecond.
        """
        audit = Audit(now=lambda: 1_700_000_000.12345)
        with capturedLogs() as events:
            audit.note(Caller(name="anna"), "pause", "done", queue="mail")
        [line] = [formatEvent(each) for each in events]
        head, _, text = line.partition(" ")
        self.assertEqual((head, json.loads(text)["at"]), ("Audit:", 1_700_000_000.123))

    def test_cannot(self) -> None:
        """
        If the file cannot be written, that is told: at once, and later as a problem.
        """
        self.assertIn("cannot be written", refusal(ConfigError, Audit, "/no/such"))
        folder = Path(self.mktemp())
        folder.mkdir()
        audit = Audit(str(folder / "audit"))
        (folder / "audit").unlink()
        folder.rmdir()
        audit.note(Caller(), "pause", "done")
        self.assertIn("cannot be written", audit.problem)
        folder.mkdir()
        audit.note(Caller(), "pause", "done")
        self.assertEqual(audit.problem, "")

    def test_full_disk(self) -> None:
        """
        A line that is cut short by a full disk is a problem, and spoils no other.
        """
        path, write, room = Path(self.mktemp()), os.write, [0]
        audit = Audit(str(path), now=lambda: 1_700_000_000)
        self.patch(os, "write", lambda fd, data: write(fd, data[: room[0]]))
        for action, most in (("pause", 9), ("resume", 0), ("purge", 1), ("run", 500)):
            room[0] = most
            audit.note(Caller(), action, "done")
            self.assertEqual("No space left" in audit.problem, most < 500)
        cut, line = path.read_text().splitlines()
        self.assertEqual((cut, json.loads(line)["action"]), ('{"at": 17', "run"))


class AssetsTests(TestCase):
    """
    L{Assets}.
    """

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        for name in (
            "index.html",
            "llms.txt",
            "openapi.html",
            "app.js",
            "app.css",
            "icon.svg",
            "data.bin",
            ".x.js",
        ):
            (self.folder / name).write_text(name)
        self.assets = Assets(self.folder)

    def _get(self, *path: str, **headers: str) -> Any:
        request = APIRequest(method="GET", path=path, headers=headers)
        return self.assets.answer(request)

    def test_types(self) -> None:
        """
        Each has its type, a tag and the policy of the page.
        """
        table = {
            ("",): "text/html; charset=utf-8",
            ("v1", "openapi"): "text/html; charset=utf-8",
            ("llms.txt",): "text/plain; charset=utf-8",
            ("assets", "app.js"): "text/javascript; charset=utf-8",
            ("assets", "app.css"): "text/css; charset=utf-8",
            ("assets", "icon.svg"): "image/svg+xml",
        }
        for path, content_type in table.items():
            answer = self._get(*path)
            self.assertEqual(answer.content_type, content_type)
            headers = dict(answer.headers)
            self.assertIn("script-src 'self'", headers["Content-Security-Policy"])
            self.assertNotIn("unsafe", headers["Content-Security-Policy"])
            known = {"if-none-match": f'"x", {headers["ETag"]}'}
            again = self._get(*path, **known)
            self.assertEqual((again.status, again.body), (304, b""))

    def test_deep_links(self) -> None:
        """
        Links into the page lead to it; nothing else does.
        """
        pages: list[tuple[str, ...]] = [
            ("queues",),
            ("queues", "a/b"),
            ("tasks", "u"),
            ("dead", "mail"),
            ("hosts",),
            ("mediators",),
        ]
        for path in pages:
            self.assertEqual(self._get(*path).body, b"index.html", path)
        others: list[tuple[str, ...]] = [
            ("v1",),
            ("v1", "openapi", ""),
            ("", ""),
            ("queues", "a", "b"),
            ("hosts", "x"),
            ("favicon.ico",),
            ("assets",),
            ("assets", ""),
            ("assets", "none.js"),
            ("assets", "data.bin"),
            ("assets", ".x.js"),
            ("assets", "../setup.cfg"),
            ("assets", "..", "app.js"),
            ("assets", "/etc/passwd"),
        ]
        for path in others:
            self.assertIsNone(self._get(*path), path)

    def test_changes(self) -> None:
        """
        Files are read once, unless they are worked on.
        """
        (self.folder / "app.js").write_text("new")
        self.assertEqual(self._get("assets", "app.js").body, b"app.js")
        self.assets = Assets(self.folder, is_fixed=False)
        (self.folder / "app.js").write_text("newer")
        self.assertEqual(self._get("assets", "app.js").body, b"newer")


class SnapshotsTests(SynchronousTestCase):
    """
    L{Snapshots}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.looks: list[Deferred[ClusterView]] = []
        self.snapshots = Snapshots(self.clock, self._look, self.clock.seconds)

    def _look(self) -> Deferred[ClusterView]:
        self.looks.append(Deferred())
        return self.looks[-1]

    def _get(self) -> Deferred[ClusterView]:
        return Deferred.fromCoroutine(self.snapshots.get())

    def test_shared(self) -> None:
        """
        All who ask within a second get the same one.
        """
        getting = [self._get(), self._get()]
        self.assertEqual(len(self.looks), 1)
        view = ClusterView(at=1.0)
        self.looks[0].callback(view)
        for each in getting:
            self.assertIs(self.successResultOf(each), view)
        self.clock.advance(0.5)
        self.assertIs(self.successResultOf(self._get()), view)
        self.clock.advance(0.5)
        self.assertNoResult(self._get())

    def test_late(self) -> None:
        """
        Without an answer the last one is told, with a problem.
        """
        self._get()
        self.looks[0].callback(ClusterView(at=7.0))
        self.clock.advance(1)
        getting = self._get()
        self.assertNoResult(getting)
        self.clock.advance(5)
        view = self.successResultOf(getting)
        self.assertEqual(view.at, 7.0)
        self.assertIn("no answer for 5 s", view.problems[0])

    def test_fails(self) -> None:
        """
        So it is if there is none at all.
        """
        getting = self._get()
        self.looks[0].errback(BrokerError("RabbitMQ is away"))
        view = self.successResultOf(getting)
        self.assertEqual(view.problems, ("RabbitMQ is away",))
        self.clock.advance(1)
        getting = self._get()
        self.looks[1].errback(ZeroDivisionError())
        view = self.successResultOf(getting)
        self.assertIn("ZeroDivisionError", view.problems[0])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class JSONTests(SynchronousTestCase):
    """
    L{encoded}.
    """

    def test_numbers(self) -> None:
        """
        What is no number is null, and a lone surrogate does no harm.
        """

        @attrs.frozen
        class Odd:
            a: Any
            b: Any

        found = json.loads(encoded(Odd(float("nan"), [float("inf"), 1.5, True])))
        self.assertEqual(found, {"a": None, "b": [None, 1.5, True]})
        self.assertEqual(
            json.loads(encoded({"a": "x\ud800"}, b=1)), {"a": "x?", "b": 1}
        )


class PlaceTests(SynchronousTestCase):
    """
    What C{quebert web} says of where the page is.
    """

    def test_url(self) -> None:
        """
        A name by which users of the machine may read, also if it listens everywhere.
        """
        table = {
            "8080": "http://127.0.0.1:8080/",
            "0.0.0.0:81": "http://localhost:81/",
            "[::]:81": "http://localhost:81/",
            "[::1]:81": "http://[::1]:81/",
        }
        for listen, url in table.items():
            asked = ClusterWeb(listen=Listen.parse(listen))
            service = WebService(Clock(), BrokerAccess(Clock()), asked)
            self.assertEqual(service.url, url)
