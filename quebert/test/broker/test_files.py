"""
Tests for whose the files of the embedded broker are.
"""

from __future__ import annotations

import fcntl
import grp
import os
import pwd
import stat
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from quebert.broker import Store
from quebert.broker.store import _files
from quebert.cli._passwords import users_of
from quebert.errors import ConfigError, StoreError
from quebert.test.checks import refusal


class FileTests(SynchronousTestCase):
    """
    Whose the broker's files are.
    """

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.folder.chmod(0o755)
        self.path = self.folder / "broker.sqlite"

    def modes(self) -> set[int]:
        """
        The modes of all files, of which there are the database and its log.
        """
        files = [*self.folder.iterdir()]
        self.assertGreaterEqual(len(files), 2)
        return {stat.S_IMODE(each.stat().st_mode) for each in files}

    def test_made(self) -> None:
        """
        They are private in a folder that was there, whatever the umask is.
        """
        for umask in (0, 0o022, 0o777):
            before = os.umask(umask)
            try:
                store = Store(self.path)
            finally:
                os.umask(before)
            self.assertEqual(self.modes(), {0o600})
            store.close()
            self.path.unlink()

    def test_found(self) -> None:
        """
        Those that were not private become so.
        """
        Store(self.path).close()
        self.path.chmod(0o666)
        store = Store(self.path)
        self.assertEqual(self.modes(), {0o600})
        store.close()

    def test_folder(self) -> None:
        """
        A folder that others may write to is refused, and nothing is made in it.
        """
        for mode in (0o777, 0o1777, 0o757, 0o702):
            self.folder.chmod(mode)
            said = refusal(StoreError, Store, self.path)
            self.assertIn("other users may write to the folder", said)
        self.assertEqual([*self.folder.iterdir()], [])
        self.folder.chmod(0o700)
        Store(self.path).close()

    def test_folders_of_a_link(self) -> None:
        """
        Where the database is a link, neither its folder nor that of the file may be one
        that others may write to.
        """
        for name in "links", "files":
            (self.folder / name).mkdir(mode=0o755)
        path = self.folder / "links" / "broker.sqlite"
        path.symlink_to(self.folder / "files" / "broker.sqlite")
        for name in "links", "files":
            folder = self.folder / name
            folder.chmod(0o777)
            said = refusal(StoreError, Store, path)
            self.assertIn(f"{folder}: other users may write to the folder", said)
            folder.chmod(0o755)
        Store(path).close()

    def test_group(self) -> None:
        """
        So is a folder that a group may write to, unless the group is its user alone.
        """
        self.folder.chmod(0o770)
        self.assertTrue(_files._has_others(2**31 - 2))
        for has_others in (True, False):
            self.patch(_files, "_has_others", lambda group, x=has_others: x)
            if has_others:
                refusal(StoreError, Store, self.path)
            else:
                Store(self.path).close()

    def test_members(self) -> None:
        """
        A group that is named like its user has nobody else in it, or is more than his.
        """
        uid = os.geteuid()
        user = pwd.struct_passwd(("ann", "x", uid, 7, "", "/", "/bin/sh"))
        self.patch(pwd, "getpwuid", {uid: user}.__getitem__)
        groups = {
            n: grp.struct_group((name, "x", n, members))
            for n, (name, members) in enumerate(
                (("ann", []), ("ann", ["ann"]), ("ann", ["ann", "bob"]), ("all", []))
            )
        }
        self.patch(grp, "getgrgid", groups.__getitem__)
        found = [_files._has_others(group) for group in range(5)]
        self.assertEqual(found, [False, False, True, True, True])

    def test_another_user(self) -> None:
        """
        So is one of another user, who may do there what they like, and a symbolic link
        of another user.
        """
        if os.geteuid():
            raise SkipTest("only root may give a folder away")
        os.chown(self.folder, 65_534, -1)
        said = refusal(StoreError, Store, self.path)
        self.assertIn("belongs to another user", said)
        os.chown(self.folder, 0, -1)
        self.path.symlink_to(self.folder / "other.sqlite")
        os.chown(self.path, 65_534, -1, follow_symlinks=False)
        said = refusal(StoreError, Store, self.path)
        self.assertIn("a symbolic link of another user", said)

    def test_locked_folder(self) -> None:
        """
        Whoever can read the folder can lock it: no broker waits for them.
        """
        folder = os.open(self.folder, os.O_RDONLY)
        self.addCleanup(os.close, folder)
        fcntl.flock(folder, fcntl.LOCK_EX)
        store = Store(self.path)
        store.close()
        self.assertEqual([*self.folder.iterdir()], [self.path])

    def test_links(self) -> None:
        """
        Links in the place of what the broker makes are not followed.
        """
        victim = self.folder / "victim"
        victim.write_bytes(b"precious")
        Path(f"{self.path}.new").symlink_to(victim)
        Store(self.path).close()
        self.assertEqual(victim.read_bytes(), b"precious")
        self.assertFalse(self.path.is_symlink())
        Path(f"{self.path}-wal").symlink_to(victim)
        said = refusal(StoreError, Store, self.path)
        self.assertIn("symbolic links", said)
        self.assertEqual(victim.read_bytes(), b"precious")


class PasswordFileTests(SynchronousTestCase):
    """
    Tests for L{users_of}.
    """

    def setUp(self) -> None:
        self.path = Path(self.enterContext(TemporaryDirectory())) / "users"

    def write(self, content: bytes, mode: int = 0o600) -> Path:
        """
        A file with C{content}.
        """
        self.path.write_bytes(content)
        self.path.chmod(mode)
        return self.path

    def test_users(self) -> None:
        """
        A line for each; a password may hold colons and spaces.
        """
        text = "# who\n\nme@home:se:cret \r\n  # and\n \r\nyou:päss\u2028word"
        users = {"me@home": "se:cret ", "you": "päss\u2028word"}
        for mode in (0o600, 0o400, 0o440):
            self.assertEqual(users_of(self.write(text.encode(), mode)), users)
            self.path.chmod(0o600)

    def test_refused(self) -> None:
        """
        What is wrong is said without a password.
        """
        for content, mode, part in (
            (b"a:s3cret", 0o644, "other users may read or write FILE: chmod 600"),
            (b"a:s3cret", 0o620, "other users may read or write FILE: chmod 600"),
            (b"a:s3cret\ns3cret", 0o600, "FILE, line 2: it must be NAME:PASSWORD"),
            (b":s3cret", 0o600, "FILE, line 1: it must be NAME:PASSWORD"),
            (b"s3cret:", 0o600, "FILE, line 1: it must be NAME:PASSWORD"),
            (b"a:s3cret\na:s3cret", 0o600, "FILE, line 2: it gives a user once more"),
            (b"# s3cret\n", 0o600, "FILE has no user"),
            (b"a:s3cret\xff", 0o600, "FILE is not in UTF-8"),
            (b"a:" + b"s3cret" * 20_000, 0o600, "FILE is larger than 65536 bytes"),
        ):
            said = refusal(ConfigError, users_of, self.write(content, mode))
            part = part.replace("FILE", str(self.path))
            self.assertTrue(said.startswith(f"--password-file: {part}"), said)
            self.assertNotIn("s3cret", said)
        self.path.unlink()
        self.assertIn("No such file", refusal(ConfigError, users_of, self.path))
        os.mkfifo(self.path)
        self.assertIn("is not a file", refusal(ConfigError, users_of, self.path))
