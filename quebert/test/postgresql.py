"""
A PostgreSQL server of one's own, in a temporary folder, on a free port.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from quebert.testing import free_port

__all__ = ["PostgreSQLServer", "find_postgresql"]

# The server refuses to run as root.
_USER = "postgres"


def find_postgresql() -> Path | None:
    """
    The folder with the programs of the newest PostgreSQL that is installed.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    on_path = shutil.which("postgres")
    if found:
        return found[-1].parent
    return Path(on_path).parent if on_path else None


class PostgreSQLServer:
    """
    A server that keeps nothing beyond its end, and does not wait for disks.

    @ivar port: of 127.0.0.1.
    @ivar url: of its database.
    """

    def __init__(self, *options: str) -> None:
        programs = find_postgresql()
        assert programs is not None
        self._programs = programs
        self._options = options
        self._made = 0
        self.port = free_port()  # nobody else gets it while the server is stopped
        self.url = f"postgresql://{_USER}@127.0.0.1:{self.port}/postgres"
        self.folder = Path(tempfile.mkdtemp(prefix="quebert-postgresql-"))
        self._data = self.folder / "data"

    def __enter__(self) -> PostgreSQLServer:
        if os.getuid() == 0:
            user = pwd.getpwnam(_USER)
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        try:
            self._run("initdb", "--auth=trust", "--no-sync", "-U", _USER, "-E", "UTF8")
            self.start()
        except BaseException:
            shutil.rmtree(self.folder)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.stop()
        shutil.rmtree(self.folder)

    def new_database(self) -> str:
        """
        Make a database, and give its URL.
        """
        self._made += 1
        name = f"made{self._made}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url.removesuffix("postgres") + name

    def start(self) -> None:
        """
        Start it, and wait until it answers.
        """
        options = [
            *("-c", "listen_addresses=127.0.0.1", "-c", f"port={self.port}"),
            *("-c", f"unix_socket_directories={self.folder}"),
            *("-c", "fsync=off", "-c", "max_wal_size=4GB"),
            *self._options,
        ]
        log = self.folder / "log"
        self._run("pg_ctl", "start", "-w", "-l", str(log), "-o", " ".join(options))

    def stop(self) -> None:
        """
        End it, and all connections.
        """
        self._run("pg_ctl", "stop", "-w", "-m", "immediate")

    def kill(self) -> None:
        """
        End it at once (SIGKILL), with all connections.  Its other processes end by
        themselves: nothing of it runs any more when this returns.
        """
        self._tell(self._pids()[:1], signal.SIGSTOP)  # it starts no other
        pids = self._pids()
        self._tell(pids[:1], signal.SIGKILL)
        while any(map(_runs, pids)):
            time.sleep(0.01)
        # They name a process that may still have to be waited for.
        for each in (self._data / "postmaster.pid", *self.folder.glob(".s.*.lock")):
            each.unlink(missing_ok=True)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """
        Nothing of it answers meanwhile; what is sent is taken.
        """
        pids = self._pids()
        self._tell(pids, signal.SIGSTOP)
        try:
            yield
        finally:
            self._tell(pids, signal.SIGCONT)

    def _tell(self, pids: list[int], number: signal.Signals) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # autovacuum comes and goes
                os.kill(pid, number)

    def _pids(self) -> list[int]:
        first = int((self._data / "postmaster.pid").read_text().split()[0])
        text = Path(f"/proc/{first}/task/{first}/children").read_text()
        return [first, *map(int, text.split())]

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self._data), *arguments]
        if os.getuid() == 0:
            command = ["runuser", "-u", _USER, "--", *command]
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        subprocess.run(
            command,
            check=True,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            timeout=120,
        )


def _runs(pid: int) -> bool:
    """
    Whether there is such a process.  One that has ended, and that nobody has waited
    for, is a zombie.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] != "Z"
