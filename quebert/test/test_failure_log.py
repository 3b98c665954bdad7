"""
The log of tests that fail.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

#: A test that passes, and one that does not.
TESTS = """
from twisted.logger import Logger

log = Logger()

def test_passing():
    log.info("of the test that passes")

def test_failing():
    for n in range(300):
        log.debug("number {n}.", n=n)
    assert False
"""


def test_shown(tmp_path: Path) -> None:
    """
    Beside a failure stand the last lines of its own test, and of no other.
    """
    (tmp_path / "test_two.py").write_text(TESTS)
    options = ["-p", "quebert.test.failure_log", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout
    assert "Twisted log" in done.stdout
    assert "number 299." in done.stdout
    assert "number 99." not in done.stdout
    assert "of the test that passes" not in done.stdout
