"""
Tests for L{quebert.functions.loading}: functions that options name.
"""

from __future__ import annotations

import sys
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import ConfigError
from quebert.functions import Functions, ReceivedTask, all_functions
from quebert.functions.loading import for_request, load_functions, parse_name

MODULE = """
from quebert.functions import Functions, task

def execute(task):
    return "executed"

@task("/thumbnail")
def thumbnail(task):
    return "thumbnail"

def original(body, uri, host, conf):
    return body, uri, host, conf

mine = Functions()
mine.add(execute, "/mine")
"""


class NameTests(SynchronousTestCase):
    """
    What C{--function} may say.
    """

    def test_names(self) -> None:
        """
        A name, or a path and a name.
        """
        self.assertEqual(parse_name("a.b"), (None, "a.b"))
        self.assertEqual(parse_name("a"), (None, "a"))
        self.assertEqual(parse_name("/x/=a.b.c"), ("/x/", "a.b.c"))
        self.assertEqual(parse_name("/=a.b"), ("/", "a.b"))

    def test_wrong(self) -> None:
        """
        Anything else is told apart, and shown what is right.
        """
        for given in ("", "/x", "/x=", "x=a.b", "/x?y=a.b", "/x#y=a.b", "a b", "a..b"):
            error = self.assertRaises(ConfigError, parse_name, given)
            said = str(error)
            self.assertTrue(said.startswith(f"--function={given} must be module."))
            self.assertIn("/path=module.function", said)
        error = self.assertRaises(ConfigError, parse_name, "\x1b[31m")
        self.assertNotIn("\x1b", str(error))


class LoadTests(SynchronousTestCase):
    """
    Functions are imported.
    """

    def setUp(self) -> None:
        """
        There is a module in the current directory.
        """
        folder = Path(self.enterContext(TemporaryDirectory())).resolve()
        self.enterContext(chdir(folder))
        self.patch(sys, "path", sys.path[:])
        self.patch(sys, "modules", sys.modules.copy())
        self.patch(all_functions, "_functions", {})
        (folder / "ours").mkdir()
        for name in ("jobs.py", "ours/jobs.py"):
            (folder / name).write_text(MODULE)
        (folder / "plain.py").write_text("def execute(task): pass")
        (folder / "broken.py").write_text("import no_such_thing")

    def load(self, *given: str, subconfig: str | None = None) -> Functions:
        """
        What these name.
        """
        return load_functions(map(parse_name, given), subconfig)

    def wrong(self, *given: str, subconfig: str | None = None) -> str:
        """
        What is said of names that are wrong.
        """
        error = self.assertRaises(ConfigError, self.load, *given, subconfig=subconfig)
        return str(error)

    def call(self, functions: Functions, path: str) -> object:
        """
        What the function for a path gives.
        """
        return functions(ReceivedTask({}, path=path))

    def test_paths(self) -> None:
        """
        Each path has its function, and all others one, too.
        """
        functions = self.load("/a=jobs.execute", "jobs.thumbnail")
        self.assertEqual(self.call(functions, "/a"), "executed")
        self.assertEqual(self.call(functions, "/b"), "thumbnail")

    def test_module(self) -> None:
        """
        A module, of a package or not, stands for its functions with C{@task}.
        """
        for name in ("jobs", "ours.jobs"):
            functions = self.load(name)
            self.assertEqual(self.call(functions, "/thumbnail"), "thumbnail")
            all_functions._functions.clear()

    def test_registry(self) -> None:
        """
        So do C{Functions} that have a name.
        """
        functions = self.load("jobs.mine")
        self.assertEqual(self.call(functions, "/mine"), "executed")

    def test_twice(self) -> None:
        """
        A path has one function.
        """
        said = self.wrong("/a=jobs.execute", "/a=jobs.thumbnail")
        self.assertIn("/a has a function already: execute", said)

    def test_not_there(self) -> None:
        """
        What is not there is named.
        """
        self.assertIn("has no function with @task", self.wrong("plain"))
        self.assertEqual(
            self.wrong("jobs.nothing"), "--function=jobs.nothing: jobs has no nothing"
        )
        self.assertIn("there is no module nowhere", self.wrong("nowhere.at_all"))
        self.assertIn("there is no module nowhere", self.wrong("nowhere"))

    def test_broken(self) -> None:
        """
        What is wrong with a module is told, with its place.
        """
        for name in ("broken", "broken.execute"):
            said = self.wrong(name)
            self.assertIn("broken cannot be imported: ModuleNotFoundError", said)
            self.assertIn("broken.py, line 1)", said)

    def test_original(self) -> None:
        """
        With C{--subconfig} a function gets the four arguments that it got in 2009.
        """
        functions = self.load("/a=jobs.original", subconfig="x")
        function = for_request(functions, "x", b"{}", "/a?b", "here:80")
        found = function(ReceivedTask({}, path="/a"))
        self.assertEqual(found, (b"{}", "/a?b", "here:80", "x"))

    def test_not_original(self) -> None:
        """
        One that takes a task is refused then.
        """
        said = self.wrong("jobs.execute", subconfig="")
        self.assertEqual(
            said,
            "--function=jobs.execute: with --subconfig a function must take"
            " (body, uri, host, conf)",
        )
