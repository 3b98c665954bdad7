"""
The web servers that tasks are sent to, and the count of their requests.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tree import end

from quebert.testing import free_port

#: Seconds in which a server must answer.
PATIENCE = 20.0
# Between two looks at the count: not so often that it costs the server much of
# what a task costs it, and never late by more than a few tasks.
_SHORTEST, _LONGEST = 0.002, 0.25
_IDLE = 0.01

NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type application/json;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
    client_body_temp_path {folder}/body;
    fastcgi_temp_path {folder}/fastcgi;
    proxy_temp_path {folder}/proxy;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 '{{"ok":true}}'; }}
        location = /status {{ stub_status; }}
    }}
}}
"""


class StageError(Exception):
    """
    Something did not go as it must for a figure to mean anything.
    """


def find_nginx() -> str | None:
    """
    The path of nginx, which may be where only root looks.
    """
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    return shutil.which("nginx", path=path)


class Web:
    """
    A web server of one's own, on a free port of the loopback.

    @ivar url: what tasks are sent to.
    @ivar pid: the process whose tree it is.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/task"
        self._exit = ExitStack()
        self._polls = 0

    def command(self, folder: Path) -> list[str]:
        """
        What starts it, with a folder for its files.
        """
        program = Path(__file__).with_name("server.py")
        return [sys.executable, str(program), str(self.port)]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            temporary = tempfile.TemporaryDirectory(prefix="quebert-web-")
            folder = Path(stack.enter_context(temporary))
            process = stack.enter_context(running(self.command(folder), folder / "out"))
            self.pid = process.pid
            self._connect(stack, process)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exit.close()

    def _connect(self, stack: ExitStack, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE
        self._http = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        stack.callback(self._http.close)
        while True:
            try:
                return self._http.connect()
            except ConnectionRefusedError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise StageError("the web server does not start") from None
            time.sleep(0.02)

    def _get(self, path: str) -> bytes:
        self._http.request("GET", path)
        self._polls += 1
        return self._http.getresponse().read()

    def count(self) -> int:
        """
        How many requests there were, without those of ours.
        """
        lines = self._get("/status").splitlines()
        heading = lines.index(b"server accepts handled requests")
        return int(lines[heading + 1].split()[2]) - self._polls

    def wait(self, wanted: int, check: Callable[[], None], seconds: float) -> None:
        """
        Wait until there were that many requests.

        @param check: called at each look, raises when waiting is in vain.
        @param seconds: how long this may take.
        """
        deadline = time.monotonic() + seconds
        looks = [(time.monotonic(), self.count())]
        while (count := looks[-1][1]) < wanted:
            check()
            if time.monotonic() > deadline:
                missing = f"{wanted - count} requests are missing"
                raise StageError(f"{missing} after {seconds:.0f} s")
            time.sleep(_pause(looks[-2:], wanted))
            looks.append((time.monotonic(), self.count()))


def _pause(looks: list[tuple[float, int]], wanted: int) -> float:
    """
    Seconds until the next look: half of what is expected to be left, going by
    the latest two.
    """
    (begin, before), (now, count) = looks[0], looks[-1]
    if count == before:
        return _IDLE
    left = (wanted - count) * (now - begin) / (count - before)
    return min(max(left / 2, _SHORTEST), _LONGEST)


class Nginx(Web):
    """
    An nginx with one worker, which reads and writes no file for a request.
    """

    def command(self, folder: Path) -> list[str]:
        """
        What starts it.
        """
        configuration = str(folder / "nginx.conf")
        text = NGINX.format(folder=folder, port=self.port)
        Path(configuration).write_text(text)
        log = str(folder / "log")
        nginx = find_nginx() or "nginx"
        return [nginx, "-p", str(folder), "-e", log, "-c", configuration]


class Arrivals(Web):
    """
    The server of ours, which notes when each task arrived.
    """

    def arrivals(self) -> list[tuple[int, int]]:
        """
        When each task was sent and when it came, in nanoseconds.
        """
        return [(sent, came) for sent, came in json.loads(self._get("/arrivals"))]


def web_server() -> Web:
    """
    An nginx, or, where there is none, the server of ours.
    """
    return Nginx() if find_nginx() else Web()


@contextmanager
def running(command: list[str], output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """
    A process in a session of its own, ended in the end; what it says goes to the
    file C{output}.
    """
    with open(output, "wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process)
