"""
The properties of all targets hold for all inputs that are kept.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import quebert
from quebert.test.checks import folder
from quebert.test.fuzz import TARGETS, corpus, target
from quebert.test.fuzz.one import with_hypothesis


class CorpusTests(SynchronousTestCase):
    """
    Each input, and each target.
    """

    def test_corpus(self) -> None:
        """
        Each input is tried with its own target, and with all others.
        """
        inputs = {
            f"{name}/{path.name}": path.read_bytes()
            for name in TARGETS
            for path in corpus(name)
        }
        for name in TARGETS:
            check = target(name)
            for of, data in inputs.items():
                with self.subTest(target=name, input=of):
                    check(data)

    def test_every_target(self) -> None:
        """
        Each target has inputs to begin with.
        """
        for name in TARGETS:
            self.assertGreater(len(corpus(name)), 5, name)


class FuzzerTests(SynchronousTestCase):
    """
    The fuzzers themselves.
    """

    def run_fuzzer(self, *options: str) -> subprocess.CompletedProcess[str]:
        """
        Fuzz for a moment.
        """
        command = [sys.executable, "-m", "quebert.test.fuzz", "--minutes=0.01"]
        where = folder(self)
        root = str(Path(quebert.__file__).parents[1])
        return subprocess.run(
            [*command, f"--folder={where}", *options],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": root},
        )

    def test_runs(self) -> None:
        """
        A fuzzer that finds nothing says so.
        """
        done = self.run_fuzzer("text")
        self.assertIn("text: no finding; ", done.stdout)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_no_target(self) -> None:
        """
        A target that is none is told of.
        """
        done = self.run_fuzzer("nothing")
        self.assertIn("there is no target nothing", done.stderr)
        self.assertEqual(done.returncode, 2)

    def test_without_atheris(self) -> None:
        """
        Hypothesis does the same where there is no Atheris.
        """
        told = StringIO()
        with redirect_stdout(told):
            with_hypothesis("text", 0.001)
        self.assertRegex(told.getvalue(), "^about [0-9]+ inputs in 0.001 s\n$")
