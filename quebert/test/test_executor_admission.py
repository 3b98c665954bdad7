"""
Which requests an executor takes tasks from: tests for L{quebert.functions.admission},
through the executor's own site.
"""

from __future__ import annotations

import signal
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.logger import formatEvent
from twisted.python.usage import UsageError

from quebert.errors import ConfigError
from quebert.executor import ExecutorOptions, ExecutorResource
from quebert.executor._options import ProcessService
from quebert.signatures import SharedSecret, Signer, SigningKey, Verifier
from quebert.task import Task
from quebert.test.checks import folder, refusal
from quebert.test.forgeries import FORGERIES
from quebert.test.test_executor import Reply, ServiceCase, Wire

SECRET = "whsec_Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5"
BODY = b'{"url":"/hello","params":[1]}'
JSON = ("Content-Type", "application/json")
HOST = ("Host", "localhost:8000")
Pairs = tuple[tuple[str, str], ...]


class AdmissionCase(ServiceCase):
    """
    Posts to executors that note their tasks.
    """

    def setUp(self) -> None:
        """
        No task was taken.
        """
        super().setUp()
        self.tasks: list[Task] = []

    def listen(self, **options: Any) -> None:
        """
        Start an executor.
        """
        service = self.start(self.tasks.append, **options)
        self.addCleanup(maybeDeferred, service.stopService)

    def post(
        self, *headers: tuple[str, str], body: bytes = BODY, method: str = "POST"
    ) -> Reply:
        """
        What a request is answered that has these headers, and no others but its length.
        """
        lines = [f"{method} / HTTP/1.1", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        wire = Wire(self.reactor)
        wire.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return wire.reply()

    def taken(self, *headers: tuple[str, str]) -> None:
        """
        Expect a task to be taken.
        """
        reply = self.post(*headers)
        self.assertEqual((reply.code, len(self.tasks)), (204, 1), (headers, reply))
        self.tasks.clear()

    def refused(self, code: int, *headers: tuple[str, str], body: bytes = BODY) -> str:
        """
        Expect a task to be refused with one sentence.
        """
        reply = self.post(*headers, body=body)
        self.assertEqual((reply.code, self.tasks), (code, []), (headers, reply))
        self.assertNotIn("\n", reply.text)
        return reply.text


class UnsignedTests(AdmissionCase):
    """
    Without a secret, what a web page could have sent is refused.
    """

    def setUp(self) -> None:
        """
        An executor without options.
        """
        super().setUp()
        self.listen()

    def test_forms(self) -> None:
        """
        A form that a web page sends, with whatever of the three signs a browser gives.
        """
        for kind in (
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "text/plain",
            "text/plain; charset=application/json",
            "text/json",
            "application/jsonp",
            "application/x; application/json",
            "",
        ):
            said = self.refused(415, HOST, ("Content-Type", kind))
            self.assertIn("Content-Type: application/json", said)
        self.refused(415, HOST)
        self.refused(415, HOST, JSON, ("Content-Type", "text/plain"))

    def test_pages(self) -> None:
        """
        Whatever its type, a request that a browser says is from a page.
        """
        for name, value in (
            ("Origin", "https://evil.example"),
            ("Origin", "null"),
            ("Origin", "http://localhost:8000"),
            ("Origin", "http://localhost:3000"),
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Site", "same-site"),
            ("Sec-Fetch-Site", "same-origin"),
            ("sec-fetch-site", ""),
        ):
            said = self.refused(403, HOST, JSON, (name, value))
            self.assertIn("comes from a web page", said)
        self.refused(403, HOST, JSON, ("Sec-Fetch-Site", "none"), ("Origin", "null"))

    def test_hosts(self) -> None:
        """
        A request for a host that a site could have.
        """
        for host in (
            "evil.example",
            "evil.example:8000",
            "EVIL.example.",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example:localhost",
            "localhost@evil.example",
            "evil.example/localhost",
            "[evil.example]",
            "[::1].evil.example",
            "[::1",
            "localhost, evil.example",
            "\xe9vil.example",
            "",
        ):
            said = self.refused(421, ("Host", host), JSON)
            self.assertIn("--allow-host=NAME", said)
        self.refused(421, HOST, ("Host", "evil.example"), JSON)

    def test_taken(self) -> None:
        """
        The requests of a mediator, and those of a person with curl.
        """
        for host in (
            "localhost",
            "LOCALHOST:8000",
            "localhost.",
            "shop.localhost:8000",
            "127.0.0.1:8000",
            "10.0.0.7",
            "[::1]:8000",
            "executor:8000",
            "my_executor",
        ):
            self.taken(("Host", host), JSON)
        for kind in (
            "application/json; charset=utf-8",
            "Application/JSON",
            "application/cloudevents+json",
        ):
            self.taken(HOST, ("Content-Type", kind))
        self.taken(HOST, JSON, ("Sec-Fetch-Mode", "cors"))  # as Node's fetch does
        self.taken(HOST, JSON, ("Sec-Fetch-Site", "none"))

    def test_allowed(self) -> None:
        """
        Further names can be allowed, and all.
        """
        self.listen(hosts=["Tasks.example.com"])
        self.taken(("Host", "tasks.example.com:8000"), JSON)
        self.refused(421, ("Host", "a.tasks.example.com"), JSON)
        self.listen(hosts=["*"])
        self.taken(("Host", "evil.example"), JSON)
        self.refused(403, ("Host", "evil.example"), JSON, ("Origin", "null"))
        for wrong in ("a:80", "http://a", "*.a", "", "a..b"):
            said = refusal(ConfigError, ExecutorResource, len, hosts=[wrong])
            self.assertIn("must be the name of a host without a port", said)
        refusal(ConfigError, ExecutorResource, len, hosts="a")

    def test_log(self) -> None:
        """
        Each cause is logged once, then with a count; nothing of it can harm a terminal.
        """
        events = self.logged()
        for _ in range(1_000):
            self.refused(403, HOST, JSON, ("Origin", "null"))
        self.refused(421, ("Host", "\x9b31m\xe9vil.example" * 50), JSON)
        lines = [formatEvent(e) for e in events if "refused" in formatEvent(e)]
        self.assertEqual(len(lines), 2)
        self.assertIn("A request was refused: the request comes from a web", lines[0])
        self.assertTrue(lines[1].isprintable())
        self.assertLess(len(lines[1]), 300)
        self.reactor.advance(61)
        told = [formatEvent(e) for e in events]
        self.assertTrue(any("999 times more" in each for each in told), told)


class SignedTests(AdmissionCase):
    """
    With a secret, what is not signed is refused, and nothing else.
    """

    def setUp(self) -> None:
        """
        An executor that has the secret.
        """
        super().setUp()
        self.now = 1_700_000_000.0
        self.signer = Signer([SECRET], now=self.time)
        self.listen(verifier=Verifier([SECRET], now=self.time))

    def time(self) -> float:
        """
        The time of day.
        """
        return self.now

    def signed(self, uuid: str = "u") -> Pairs:
        """
        The headers of a signed request.
        """
        return tuple(self.signer.headers(uuid, BODY).items())

    def test_taken(self) -> None:
        """
        A signed request is taken, wherever it comes from.
        """
        self.taken(HOST, JSON, *self.signed())
        self.taken(("Host", "tasks.example.com"), *self.signed())
        self.taken(HOST, ("Origin", "https://example.com"), *self.signed())

    def test_unsigned(self) -> None:
        """
        One that is not signed is answered 401.
        """
        reply = self.post(HOST, JSON)
        self.assertEqual((reply.code, self.tasks), (401, []))
        self.assertEqual(reply.text, "the request is not signed: it has no webhook-id")
        self.assertEqual(reply.headers["WWW-Authenticate"], "Standard-Webhooks")

    def test_forgeries(self) -> None:
        """
        So is each forgery.
        """
        headers = dict(self.signed())
        for name, forged in FORGERIES.items():
            with self.subTest(name):
                made, body = forged(headers, BODY, SECRET, self.now)
                self.refused(401, HOST, JSON, *made.items(), body=body)
        twice = (*self.signed(), ("Webhook-Id", "v"))
        self.assertIn("two headers webhook-id", self.refused(401, HOST, JSON, *twice))

    def test_replay(self) -> None:
        """
        So is what was here before, and the next attempt at the task is not.
        """
        first = self.signed()
        self.taken(HOST, JSON, *first)
        for seconds in (0, 1, 298, 1):
            self.now += seconds
            said = self.refused(401, HOST, JSON, *first)
            self.assertEqual(said, "this very request was here before")
        self.taken(HOST, JSON, *self.signed())

    def test_secret(self) -> None:
        """
        The secret is in no answer, log or repr.
        """
        events = self.logged()
        said = self.refused(401, HOST, JSON, *self.signed(), ("X", "1"), body=b"{}")
        said += repr([list(events), Verifier([SECRET])])
        said += "".join(formatEvent(e) for e in events)
        self.assertIn("A request was refused: no signature fits", said)
        self.assertNotIn("canary", said)
        self.assertNotIn(SECRET[6:], said)


class FileTests(AdmissionCase):
    """
    C{twistd quexecutor --verify-secret-file}.
    """

    def setUp(self) -> None:
        """
        A file with a secret; the handlers of signals are put back in the end.
        """
        super().setUp()
        for number in (signal.SIGTERM, signal.SIGHUP):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.path = folder(self) / "secret"
        self.path.write_text(f"# of the mediator\n{SECRET}\n")

    def options(self, *more: str) -> ExecutorOptions:
        """
        Options with that file.
        """
        options = ExecutorOptions()
        function = "--function=json.dumps"
        options.parseOptions([f"--verify-secret-file={self.path}", function, *more])
        return options

    def post_signed(self, secret: str) -> int:
        """
        The status of a request that is signed with a secret.
        """
        return self.post(*Signer([secret]).headers(None, BODY).items()).code

    def test_reload(self) -> None:
        """
        The file can be read again; if it cannot be used, it stays as it was.
        """
        before = signal.getsignal(signal.SIGTERM)
        self.addCleanup(signal.signal, signal.SIGTERM, before)
        service = ProcessService(self.options(), self.reactor)
        service.privilegedStartService()
        service.startService()
        self.addCleanup(maybeDeferred, service.stopService)
        new = SharedSecret.generate().text
        self.assertEqual([self.post_signed(s) for s in (SECRET, new)], [200, 401])
        events = self.logged()
        for text, wanted, told in (
            (f"{SECRET}\n{new}", [200, 200], "Reloaded --verify-secret-file."),
            ("whsec_canary", [200, 200], "Not reloaded: --verify-secret-file: "),
            (new, [401, 200], "Reloaded --verify-secret-file."),
        ):
            self.path.write_text(text)
            service.reload()
            said = "\n".join(map(formatEvent, events))
            self.assertIn(told, said)
            self.assertNotIn("canary", said)
            self.assertEqual([self.post_signed(s) for s in (SECRET, new)], wanted)

    def test_wrong(self) -> None:
        """
        A file that cannot be used is an error of usage, which names the line.
        """
        for text, why in (
            ("canary\n", f"{self.path}, line 1: a secret begins with whsec_"),
            (SigningKey.generate().text, "belongs to the signing side alone"),
            ("", f"{self.path} has no secret"),
        ):
            self.path.write_text(text)
            said = refusal(UsageError, self.options)
            self.assertTrue(said.startswith("--verify-secret-file: "), said)
            self.assertIn(why, said)
            self.assertNotIn("canary", said)

    def test_hosts(self) -> None:
        """
        C{--allow-host} allows names, and is of no use beside a secret.
        """
        self.assertIn(
            "is of no use", refusal(UsageError, self.options, "--allow-host=a")
        )
        options = ExecutorOptions()
        options.parseOptions(
            [
                "--function=json.dumps",
                "--allow-host=a.example",
                "--allow-host=B.example",
            ]
        )
        self.assertEqual(options["hosts"], ["a.example", "b.example"])
        wrong = ["--function=json.dumps", "--allow-host=a:80"]
        said = refusal(UsageError, ExecutorOptions().parseOptions, wrong)
        self.assertTrue(said.startswith("--allow-host='a:80' must be the name"), said)
        for option in ("--allow-host=", "--verify-secret-file="):
            self.assertIn(option, str(ExecutorOptions()))
