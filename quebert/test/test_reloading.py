"""
Tests for L{quebert.cli._reloading}: functions whose code is loaded again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from quebert.cli._reloading import FileWatch, ReloadingFunctions
from quebert.errors import ConfigError
from quebert.functions import all_functions

_WORK = "from mylib.words import word\ndef run(task):\n    return word()\n"
_WORD = "def word():\n    return {!r}\n"


class ReloadingTests(SynchronousTestCase):
    """
    L{ReloadingFunctions} is what its files say now.
    """

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory())).resolve()
        self.enterContext(chdir(self.folder))
        self.patch(sys, "path", sys.path[:])
        modules = sys.modules.copy()
        self.addCleanup(lambda: self.put_back(modules))
        (self.folder / "mylib").mkdir()
        self.write("mylib/__init__.py", "")
        self.write("mylib/words.py", _WORD.format("one"))
        self.write("mywork.py", _WORK)
        self.function = ReloadingFunctions(["mywork.run"])

    def put_back(self, modules: Mapping[str, object]) -> None:
        """
        Forget the modules of the test.
        """
        for name in sys.modules.keys() - modules.keys():
            del sys.modules[name]

    def write(self, name: str, text: str) -> None:
        """
        Write a file, of the same second as all others, as quick editors do.
        """
        path = self.folder / name
        path.write_text(text)
        self.time = getattr(self, "time", 1_700_000_000_000_000_000) + 1_000
        os.utime(path, ns=(self.time, self.time))

    def look(self) -> bool:
        """
        Look until nothing is being written.
        """
        return self.function.look() or self.function.look()

    def broken(self) -> str:
        """
        What is said when the code cannot be loaded.
        """
        error = self.assertRaises(ConfigError, self.look)
        self.assertNotIn("\n", str(error))
        return str(error)

    def test_unchanged(self) -> None:
        """
        Nothing is loaded again unless a file changes.
        """
        module = sys.modules["mywork"]
        self.assertFalse(self.look())
        self.assertIs(sys.modules["mywork"], module)
        self.assertEqual(self.function({}), "one")

    def test_own_module(self) -> None:
        """
        The function's module is loaded again.
        """
        self.write("mywork.py", "def run(task):\n    return 'mine'\n")
        self.assertTrue(self.look())
        self.assertEqual(self.function({}), "mine")
        self.assertFalse(self.look())

    def test_imported_module(self) -> None:
        """
        So is what it imports, also if the size and the second are the same.
        """
        for word in ("two", "six", "ten"):
            self.write("mylib/words.py", _WORD.format(word))
            self.assertTrue(self.look())
            self.assertEqual(self.function({}), word)

    def test_as_an_executor(self) -> None:
        """
        Names are those that C{twistd quexecutor} takes: several, of paths, and modules
        with C{@task}; all are loaded again.
        """
        self.patch(all_functions, "_functions", {})
        text = "from quebert.functions import task\n@task('/fax')\ndef fax(t):"
        self.write("faxes.py", f"{text} return 'fax'\n")
        self.function = ReloadingFunctions(["/word=mywork.run", "faxes"])
        self.assertEqual(self.function({"url": "/word"}), "one")
        self.assertEqual(self.function({"url": "/fax"}), "fax")
        self.write("faxes.py", f"{text} return 'new'\n")
        self.write("mylib/words.py", _WORD.format("two"))
        self.assertTrue(self.look())
        self.assertEqual(self.function({"url": "/word"}), "two")
        self.assertEqual(self.function({"url": "/fax"}), "new")

    def test_tasks_of_paths(self) -> None:
        """
        Of functions with C{@task}, those of the new version alone do tasks; if it is
        broken, those of the old one.
        """
        paths = set(all_functions.paths)
        text = "from quebert.functions import task\n@task('/{0}')\ndef {0}(t): {1}\n"
        self.write("mylib/words.py", text.format("fax", "pass") + _WORD.format("one"))
        self.assertTrue(self.look())
        self.write("mylib/words.py", text.format("mail", "pass") + _WORD.format("two"))
        self.assertTrue(self.look())
        self.assertEqual(set(all_functions.paths) - paths, {"/mail"})
        self.write("mylib/words.py", text.format("sms", "pass") + "1 / 0\n")
        self.broken()
        self.assertEqual(set(all_functions.paths) - paths, {"/mail"})
        self.write("mylib/words.py", _WORD.format("ten"))
        self.assertTrue(self.look())
        self.assertEqual(set(all_functions.paths), paths)

    def test_being_written(self) -> None:
        """
        A file that changes from look to look is left alone.
        """
        for _ in range(3):
            self.write("mywork.py", "def run(")
            self.assertFalse(self.function.look())
        self.write("mywork.py", _WORK)
        self.assertTrue(self.look())

    def test_broken(self) -> None:
        """
        Broken code is told once, with its file and line, and the old code goes on.
        """
        before = sys.modules["mylib.words"]
        self.write("mylib/words.py", "def word() return 1\n")
        self.assertIn("words.py, line 1)", self.broken())
        self.assertFalse(self.look())
        self.assertEqual(self.function({}), "one")
        self.assertIs(sys.modules["mylib.words"], before)
        self.write("mywork.py", "import no_such\n" + _WORK)
        self.assertIn(f"{self.folder / 'mywork.py'}, line 1)", self.broken())
        self.write("mywork.py", _WORK)
        self.broken()
        self.write("mylib/words.py", _WORD.format("two"))
        self.assertTrue(self.look())
        self.assertEqual(self.function({}), "two")

    def test_broken_new_file(self) -> None:
        """
        A new file that is broken is looked at, too.
        """
        self.write("mylib/new.py", "1 / 0\n")
        self.write("mywork.py", "import mylib.new\n" + _WORK)
        self.assertIn("ZeroDivisionError", self.broken())
        self.write("mylib/new.py", "pass\n")
        self.assertTrue(self.look())

    def test_function_is_gone(self) -> None:
        """
        A name that is there no more is told likewise.
        """
        self.write("mywork.py", "")
        self.assertIn("mywork has no run", self.broken())
        self.assertEqual(self.function({}), "one")

    def test_replaced(self) -> None:
        """
        A file that is away for a moment, as editors do it, is no change yet.
        """
        (self.folder / "mywork.py").unlink()
        self.assertFalse(self.look())
        self.write("mywork.py", "def run(task):\n    return 'mine'\n")
        self.assertTrue(self.look())

    def test_others(self) -> None:
        """
        Modules that are installed, and quebert's own, stay as they are.
        """
        before = {name: sys.modules[name] for name in ("json", "quebert", "attrs")}
        self.write("mywork.py", _WORK)
        self.assertTrue(self.look())
        for name, module in before.items():
            self.assertIs(sys.modules[name], module)

    def test_in_place_of_quebert(self) -> None:
        """
        That is so in a checkout of quebert, too.
        """
        import quebert

        with chdir(Path(quebert.__file__).parents[1]):
            function = ReloadingFunctions(["mywork.run"])
        names = {name.partition(".")[0] for name, _ in function._modules()}
        self.assertIn("mywork", names)  # other tests may have imported more from there
        self.assertNotIn("quebert", names)


class FileWatchTests(SynchronousTestCase):
    """
    L{FileWatch} tells changes of files.
    """

    def test_new_files(self) -> None:
        """
        A file that is named for the first time has not changed.
        """
        folder = Path(self.enterContext(TemporaryDirectory()))
        files = FileWatch()

        def paths() -> Iterator[str]:
            return map(str, folder.iterdir())

        self.assertEqual(files.changed(paths()), [])
        (folder / "a").write_text("1")
        for _ in range(2):
            self.assertEqual(files.changed(paths()), [])
        (folder / "a").write_text("12")
        self.assertEqual(files.changed(paths()), [])
        self.assertEqual(files.changed(paths()), [str(folder / "a")])
        self.assertEqual(files.changed(paths()), [])
