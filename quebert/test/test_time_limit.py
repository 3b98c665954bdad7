"""
The time limit of tests.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

#: Tests that hang, each in another way, and one that does not.
HANGING = """
import subprocess

import pytest
from pytest_twisted import async_yield_fixture, ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

@ensureDeferred
async def test_waiting():
    await Deferred()

@ensureDeferred
async def test_busy():
    await deferLater(reactor, 0)
    while True:
        pass

@ensureDeferred
async def test_callback():
    reactor.callLater(0, subprocess.run, ["sleep", "1000"])
    await Deferred()

def test_process():
    subprocess.run(["sleep", "1000"])

@async_yield_fixture
async def endless():
    yield
    await Deferred()

def test_teardown(endless):
    pass

@ensureDeferred
async def test_good():
    await deferLater(reactor, 0)
"""


@pytest.mark.timed
def test_hanging(tmp_path: Path) -> None:
    """
    A test that hangs fails with a sentence, wherever it does; the others are run.
    """
    (tmp_path / "test_hanging.py").write_text(HANGING)
    options = [
        "-p",
        "quebert.test.time_limit",
        "--time-limit=3",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--tb=line", "-rA", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    told = done.stdout
    for name in ("waiting", "busy", "callback", "process"):
        assert f"FAILED test_hanging.py::test_{name} - " in told, told
    assert "ERROR test_hanging.py::test_teardown - " in told
    assert "PASSED test_hanging.py::test_good" in told
    assert told.count("the test took longer than --time-limit=3 seconds") >= 4
    assert "tearing down took longer than --time-limit=3 seconds" in told
