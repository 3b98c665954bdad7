"""
What mediators notice of quebert web: how soon they request what is published without
it, with it, and while it is killed and started again and again.

    python bench/watched.py [--rate 500] [--seconds 12] [--turns 2] [--every 5]

Two C{twistd quebert} take tasks from a RabbitMQ of their own that are published at
steady times.  It prints the medians and the 99th percentiles, and how many of the
attempts are in the history at the end.
"""

from __future__ import annotations

import argparse
import signal
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from letters import channel_to
from roster import PEERS
from stage import PATIENCE, Latency, Stage, pacing
from watchers import Web, say, waiting
from web import Arrivals, StageError

from quebert.events import HISTORY

PLAIN = PEERS[0]
MODES = ("no quebert web", "quebert web", "killed and restarted")
# Seconds before those that are counted, while all of it starts.
_LEAD = 3.0


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """
    The command line.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=500.0, help="tasks/s (500)")
    parser.add_argument("--seconds", type=float, default=12.0, help="of a turn (12)")
    parser.add_argument("--turns", type=int, default=2, help="that each has (2)")
    parser.add_argument("--every", type=float, default=5.0, help="seconds to a kill")
    return parser.parse_args(words)


class Onlooker:
    """
    C{quebert web} while a turn goes on, killed now and then.

    @param every: seconds between two kills; C{None} for none.
    @ivar kills: how often it was killed.
    """

    def __init__(self, web: Web, every: float | None) -> None:
        self._web = web
        self._every = every
        self._since = time.monotonic()
        self.kills = 0

    def look(self) -> None:
        """
        Kill it and start it again, if it is time.
        """
        if self._every is None or time.monotonic() < self._since + self._every:
            return
        self._web.kill()
        self._web.start()
        self._since = time.monotonic()
        self.kills += 1


class Watched:
    """
    The turns of all modes.

    @ivar kills: how often C{quebert web} was killed, and C{recorded}: how many attempts
        are to be in the history.
    """

    def __init__(self, stage: Stage, asked: argparse.Namespace, folder: Path) -> None:
        self.kills = 0
        self.recorded = 0
        self._stage = stage
        self._asked = asked
        self._folder = folder

    @property
    def history(self) -> Path:
        """
        The file of the history.
        """
        return self._folder / "history.sqlite"

    def turn(self, mode: str) -> Latency:
        """
        One turn of a mode.
        """
        if mode == MODES[0]:
            with channel_to(self._stage.amqp) as channel:
                channel.queue_delete(HISTORY)  # nobody is to get events
            return self._latency(None)
        with self._web() as web:
            every = self._asked.every if mode == MODES[2] else None
            onlooker = Onlooker(web, every)
            found = self._latency(onlooker)
            self.kills += onlooker.kills
            self._written(web)
        return found

    @contextmanager
    def _web(self) -> Iterator[Web]:
        web = Web(self._stage.node.url, str(self.history), self._folder)
        try:
            deadline = time.monotonic() + PATIENCE
            while web.overview() is None:
                if time.monotonic() > deadline:
                    raise StageError("quebert web does not answer")
                time.sleep(0.1)
            yield web
        finally:
            web.kill()

    def _latency(self, onlooker: Onlooker | None) -> Latency:
        stage, rate = self._stage, self._asked.rate
        seconds = _LEAD + self._asked.seconds
        total = round(rate * seconds)
        with Arrivals() as server:
            letter = stage.letter(PLAIN, server.url)
            with stage.worker(PLAIN) as one, stage.worker(PLAIN) as other:
                stage.await_consumer(one)

                def check() -> None:
                    one.check()
                    other.check()
                    if onlooker is not None:
                        onlooker.look()

                with pacing(stage.amqp, letter, rate, total):
                    server.wait(total, check, seconds + PATIENCE)
            arrivals = server.arrivals()
        if len(dict(arrivals)) != total or len(arrivals) != total:
            raise StageError(f"{len(arrivals)} requests, not {total}")
        self.recorded += total if onlooker is not None else 0
        return Latency.of(arrivals, round(rate * _LEAD))

    def _written(self, web: Web) -> None:
        """
        Wait until all attempts are written.
        """
        deadline = time.monotonic() + PATIENCE
        while waiting(self._stage.node.url) or self.written() < self.recorded:
            if time.monotonic() > deadline:
                found = self.written()
                raise StageError(f"{found:,} of {self.recorded:,} are in the history")
            time.sleep(0.1)

    def written(self) -> int:
        """
        How many attempts are in the history.
        """
        with sqlite3.connect(self.history) as connection:
            query = "SELECT count(*) FROM entries WHERE number > 0"
            (count,) = connection.execute(query).fetchone()
        return int(count)


def run(asked: argparse.Namespace) -> None:
    """
    Let all modes have their turns, and print what they come to.
    """
    found: dict[str, list[Latency]] = defaultdict(list)
    made = tempfile.TemporaryDirectory(prefix="quebert-watched-")
    with Stage(Arrivals()) as stage, made as name:
        watched = Watched(stage, asked, Path(name))
        for _ in range(asked.turns):
            for mode in MODES:
                found[mode].append(watched.turn(mode))
        for mode, each in found.items():
            latency = Latency.median_of(each)
            p99 = ", ".join(f"{one.p99:.1f}" for one in each)
            typical = f"p50 {latency.p50:5.1f} ms, p99 {latency.p99:5.1f} ms"
            say(f"{mode:22} {typical} ({p99})")
        say(f"killed {watched.kills} times")
        say(f"{watched.written():,} of {watched.recorded:,} attempts in the history")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        run(arguments(sys.argv[1:]))
    except StageError as e:
        sys.exit(f"Not measured: {e}")
