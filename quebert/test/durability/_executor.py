"""
An executor in threads of this process that counts the attempts at each task.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

__all__ = ["CountingExecutor"]

# One task in so many fails at first.
_FAILING = 10


class CountingExecutor:
    """
    Does tasks.  One in ten fails at its first attempt.  All but the C{with} is for any
    thread.

    @ivar attempts: when each attempt at a task began, in seconds since the epoch, by
        the label of the task.
    @ivar done: how often each task was done.
    """

    def __init__(self) -> None:
        self.attempts: dict[str, list[float]] = {}
        self.done: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.executor = self
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """
        What tasks are sent to.
        """
        return f"http://127.0.0.1:{self._server.server_port}/"

    def take(self, label: str) -> int:
        """
        Note an attempt, and give the status of its answer.
        """
        with self._lock:
            attempts = self.attempts.setdefault(label, [])
            attempts.append(time.time())
            number = int(label.partition("/")[0])
            if number % _FAILING == 0 and len(attempts) == 1:
                return 503
            self.done[label] += 1
            return 200

    def __enter__(self) -> CountingExecutor:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024
    executor: CountingExecutor

    def handle_error(self, *_: Any) -> None:
        """
        A mediator that is killed ends its connections.
        """


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        """
        Do a task.
        """
        size = int(self.headers.get("Content-Length") or 0)
        task = json.loads(self.rfile.read(size))
        status = self.server.executor.take(task["params"])
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """
        Nobody reads it.
        """
