"""
The web server of a cluster that is made up, for those who work on the page::

    python -m quebert.test.fake_web --rate 20000

It prints its URL, with a token that may do everything.  The files of the page are read
anew at each request.  What it shows is moving; C{reports} is paused, C{mail} has dead
letters, and the tasks of C{slow} whose uuids begin with C{0badc0de} wait for a reason
each.  C{EventSource} of browsers sends no token: a page reads C{/v1/events} with
C{fetch}.  With C{--closed} reading needs the token, too, as on other machines.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

import quebert.web
from quebert.test.created_tasks.doubles import in_memory
from quebert.test.fake_cluster import FakeCluster
from quebert.web import EVERYTHING, Assets, Grant, Tokens, WebServer, new_token

__all__ = ["main"]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m quebert.test.fake_web")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--rate", type=float, default=2_000.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--token", default=None)
    parser.add_argument("--closed", action="store_true")
    parser.add_argument("--broken", default="", help="why the broker is away")
    parser.add_argument("--history-broken", default="", help="why the history is")
    return parser.parse_args()


def main(reactor: Any) -> Deferred[None]:
    """
    Serve, until it is interrupted.
    """
    asked = _arguments()
    token = asked.token or new_token()
    cluster = FakeCluster(reactor, time.time, asked.rate, asked.seed)
    cluster.broken, cluster.history_broken = asked.broken, asked.history_broken
    folder = Path(quebert.web.__file__).parent / "assets"
    server = WebServer(
        reactor,
        cluster,
        cluster,
        in_memory(reactor, time.time),
        cluster,
        tokens=Tokens.of(token, Grant("page", EVERYTHING)),
        open_reading=not asked.closed,
        assets=Assets(folder, is_fixed=False),
    )
    port = server.listen(asked.port, "127.0.0.1")
    cluster.start()
    sys.stdout.write(f"http://127.0.0.1:{port}/#token={token}\n")
    sys.stdout.flush()
    return Deferred()


if __name__ == "__main__":
    react(main)
