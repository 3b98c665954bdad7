"""
What the log's line for each task costs: microseconds of CPU of a mediator, without
network, that has no observer, that has one which does nothing, and that logs a line, as
text and as JSON, to a file.
"""

from __future__ import annotations

import json
import tempfile
import time
from typing import Any

from race import console
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogBeginner, globalLogPublisher
from twisted.web.http_headers import Headers

from quebert._log import print_safely
from quebert._log_output import LevelFilter, stream_observer
from quebert.boundaries import WatchedMessage, WholeResponse
from quebert.mediator import PolicyMediator
from quebert.service._task_log import log_done

COUNT, ROUNDS = 5_000, 7
_TASK = {
    "url": "http://localhost:8000/hello/you",
    "uuid": "8f145aec-5b4a-464e-b5bc-69f9794aece0",
    "params": {"name": "you"},
}


class Message(WatchedMessage):
    """
    A task that comes for the first time.
    """

    body = json.dumps(_TASK).encode()
    properties: Any = {}
    may_have_past = False


class Answer(WholeResponse):
    """
    A success.
    """

    code = 200
    whole = b""
    headers = Headers()

    def may_have(self, name: bytes) -> bool:
        """
        It has no header fields.
        """
        return False

    def content(self) -> Deferred[bytes]:
        """
        It has no body.
        """
        return succeed(self.whole)


class Network:
    """
    Answers at once.
    """

    def request(self, *args: object, **options: object) -> Deferred[Answer]:
        """
        Make a request.
        """
        return succeed(Answer())


def cost(observer: Any) -> float:
    """
    Microseconds of CPU a task, in the best of some rounds.
    """
    mediator = PolicyMediator(http=Network(), clock=Clock(), observer=observer)
    message, best = Message(), float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(COUNT):
            mediator.messageReceived(message)
        best = min(best, time.process_time() - began)
    return best / COUNT * 1e6


def main() -> None:
    """
    Measure, and show it.
    """
    print_safely()
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)
    without = cost(None)
    console.print(f"no observer    {without:5.1f} µs, without network")
    console.print(f"observer       {cost(lambda event: None) - without:+5.1f} µs")
    for format in ("text", "json"):
        with tempfile.TemporaryFile("w") as file:
            observer = LevelFilter().before(stream_observer(file, format))
            globalLogPublisher.addObserver(observer)
            console.print(f"line of {format}   {cost(log_done) - without:+5.1f} µs")
            globalLogPublisher.removeObserver(observer)


if __name__ == "__main__":
    main()
