"""
Tests for C{quebert history}: the life of a task, from a database or over HTTP.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from click.testing import CliRunner
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from quebert import cli
from quebert.cli import _past
from quebert.cli._life_text import life_lines
from quebert.cli._past import VARIABLE, attempts_in, past_of
from quebert.config import read
from quebert.errors import ConfigError, QuebertError
from quebert.events import AttemptBatch
from quebert.history import LifeRecord, Retention, open_ledger
from quebert.test.test_live_fold import record

UUID = "0b5c-ü"
LIFE = {
    "uuid": UUID,
    "queue": "mail",
    "url": "http://a/x",
    "state": "retrying",
    "added": 1e9,
    "retry_at": 1e9 + 60,
    "attempts": [
        {
            "uuid": UUID,
            "queue": "mail",
            "url": "http://a/x",
            "number": 1,
            "started": 1e9,
            "ended": 1e9 + 0.25,
            "status": 503,
            "outcome": "retry",
            "reason": "503 \x1b[31mno",
            "answer": "later",
            "mediator": "m1",
        }
    ],
    "lives": [{"at": 1e9, "state": "redriven", "reason": "by ada"}],
    "gaps": [
        {"mediator": "m3", "from": 1e9, "to": 1e9 + 1, "count": 0},
        {"mediator": "m2", "from": 1e9, "to": 1e9 + 1, "count": 3},
    ],
}


class LifeTests(SynchronousTestCase):
    """
    The life of a task in lines.
    """

    def test_lines(self) -> None:
        """
        All is told that the history tells.
        """
        lines = [*life_lines(LIFE)]
        text = "\n".join(lines)
        for part in (
            f"uuid      {UUID}",
            "state     retrying",
            "retry at  2001-09-0",
            "#1  2001-09-0",
            "250ms  503     retry    m1        503 ?[31mno",
            "last answer: later",
            "redriven  by ada",
            "gap: 3 attempts of mediator m2 are not in the history",
        ):
            self.assertIn(part, text)
        self.assertNotIn("m3", text)
        self.assertTrue(all(map(str.isprintable, lines)))

    def test_odd(self) -> None:
        """
        What another program answers is told as far as it can be read.
        """
        odd: Any = {
            "uuid": ["x"],
            "attempts": [7, {"started": "x", "number": None}, {"ended": 1e400}],
            "gaps": "none",
            "lives": [{"at": {}}],
            "added": "yesterday",
        }
        for each in life_lines(odd):
            self.assertTrue(each.isprintable())
        self.assertEqual(attempts_in(odd), [])
        self.assertEqual(attempts_in(None), [])

    def test_attempts(self) -> None:
        """
        They are read for those who ask why a task waits.
        """
        (found,) = attempts_in(LIFE)
        self.assertEqual((found.outcome, found.status), ("retry", 503))

    def test_where(self) -> None:
        """
        Where the history is must be said once, and be somewhere.
        """
        self.patch(_past, "DEFAULT", "/there/is/none")
        for options, problem in (
            (["--history", "a", "--web", "http://b"], "not both"),
            (["--history", "/there/is/none"], "there is no history /there/is/none"),
            (["--web", "localhost:8080"], "must be like http://localhost:8080"),
            ([], "give --config FILE, --history URL or --web"),
        ):
            result = CliRunner().invoke(cli.main, ["history", "u", *options])
            self.assertNotEqual(result.exit_code, 0)
            self.assertIn(problem, result.output)


@ensureDeferred
async def test_database(tmp_path: Path) -> None:
    """
    The life of a task comes from the database that keeps it; the command shows it.
    """
    path = tmp_path / "history.sqlite"
    ledger = await open_ledger(str(path), Retention(age=None))
    records = (
        record(uuid=UUID, number=1, status=503, outcome="retry"),
        record(uuid=UUID, number=2, started=20.0, ended=20.5),
    )
    batch = AttemptBatch(mediator="m1", sequence=1, at=30.0, records=records, total=2)
    await ledger.record(batch)
    await ledger.record_lives(
        [LifeRecord(uuid=UUID, queue="mail", state="redriven", at=15.0)]
    )
    await ledger.close()
    past = past_of(str(path), None)
    assert past is not None
    life = await past(reactor, UUID)
    assert life is not None
    assert [each.number for each in attempts_in(life)] == [1, 2]
    assert await past(reactor, "other") is None
    config = tmp_path / "web.toml"
    text = f'[web.cluster]\nhistory = "{path}"\n[queues.tasks]\nkey = "tasks"\n'
    config.write_text(text)
    from_file = past_of(None, None, read(str(config)))
    assert from_file is not None
    assert await from_file(reactor, UUID) == life
    for options, wanted in (((), "redriven"), (("--json",), '"state": "done"')):
        command = [sys.executable, "-m", "quebert", "history", UUID, *options]
        shown = subprocess.run(
            [*command, "--history", str(path)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert wanted in shown.stdout


class _Web(Resource):
    """
    Answers as C{quebert web} does.
    """

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        """
        One task, for those with a token.
        """
        if request.getHeader("authorization") != "Bearer secret":
            request.setResponseCode(401)
            return b'{"title": "Unauthorized"}'
        if request.uri != b"/v1/tasks/0b5c-%C3%BC":
            request.setResponseCode(500 if b"bad" in request.uri else 404)
            return b'{"title": "x", "detail": "broken"}'
        return json.dumps(LIFE).encode()


@pytest_twisted.async_yield_fixture
async def web() -> AsyncIterator[str]:
    """
    The URL of a server.
    """
    listen: Any = reactor
    port = listen.listenTCP(0, Site(_Web()), interface="127.0.0.1")
    yield f"http://127.0.0.1:{port.getHost().port}/"
    await maybeDeferred(port.stopListening)


@ensureDeferred
async def test_web(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The life of a task comes from C{quebert web}, for those who may read.
    """
    past = past_of(None, web)
    assert past is not None
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=f"401: set {VARIABLE}"):
        await past(reactor, UUID)
    monkeypatch.setenv(VARIABLE, "secret")
    assert await past(reactor, UUID) == LIFE
    assert await past(reactor, "other") is None
    with pytest.raises(ConfigError, match="answers 500: broken"):
        await past(reactor, "bad")


@ensureDeferred
async def test_no_web() -> None:
    """
    Where nobody listens, that is told.
    """
    past = past_of(None, "http://127.0.0.1:1")
    assert past is not None
    with pytest.raises(QuebertError, match="does not answer"):
        await past(reactor, UUID)
