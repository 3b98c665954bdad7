"""
Tests that measure time, among the others.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from quebert.test.turns import timed_first

#: Tests, of which some measure time; each tells when it runs, and in which worker.
TESTS = """
import glob, os, pathlib, time
import pytest

def tell(kind):
    began = time.monotonic()
    time.sleep(0.02)
    worker = os.environ["PYTEST_XDIST_WORKER"]
    with open("told", "a") as told:
        told.write(f"{kind} {worker} {began} {time.monotonic()}\\n")

@pytest.mark.parametrize("n", range(20))
def test_other(n):
    tell("other")

@pytest.mark.timed
@pytest.mark.parametrize("n", range(4))
def test_timed(n):
    # Until each worker has begun one: else the quicker one might come to its other
    # tests while nobody measures time.
    pathlib.Path("timed-" + os.environ["PYTEST_XDIST_WORKER"]).touch()
    deadline = time.monotonic() + 60
    while len(glob.glob("timed-*")) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    tell("timed")
"""


class OrderTests(SynchronousTestCase):
    """
    L{timed_first}.
    """

    def order(self, tests: str, workers: int) -> str:
        """
        Tests in their order; those that measure time have capital letters, and digits
        are those that start something.
        """
        return "".join(timed_first(tests, str.isupper, str.isdigit, workers))

    def test_one_worker(self) -> None:
        """
        One worker has all that measure time first.
        """
        self.assertEqual(self.order("aBcDe", 1), "BDace")

    def test_shares(self) -> None:
        """
        Each worker has its share of them first, and all others keep their order.
        """
        self.assertEqual(self.order("abcdefghABCD", 2), "ACabcdBDefgh")
        self.assertEqual(self.order("abcdefgABC", 3), "AabBcdCefg")

    def test_started_before(self) -> None:
        """
        What must not be started beside them is started before them, in each worker.
        """
        self.assertEqual(self.order("ab12cdeABC3", 2), "1ACab2Bcde3")
        self.assertEqual(self.order("ab12", 2), "ab12")

    def test_few_others(self) -> None:
        """
        No test is lost where most of them measure time.
        """
        for workers in range(1, 6):
            for tests in ("", "A", "a", "ABCa", "ABCDEFab", "ABC12"):
                found = self.order(tests, workers)
                self.assertEqual(sorted(found), sorted(tests))


def test_apart(tmp_path: Path) -> None:
    """
    No test that measures time runs beside another that does not, and all of them are
    over before the first other one begins.
    """
    (tmp_path / "test_told.py").write_text(TESTS)
    options = ["-p", "quebert.test.turns", "-p", "no:cacheprovider", "-n", "2"]
    markers = ["-o", "markers=timed: measures time", "--dist", "worksteal"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *markers, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = [line.split() for line in (tmp_path / "told").read_text().splitlines()]
    assert len(told) == 24
    timed = [each for each in told if each[0] == "timed"]
    assert len({each[1] for each in timed}) == 2
    ended = max(float(each[3]) for each in timed)
    assert all(float(each[2]) > ended for each in told if each[0] == "other")
