"""
What mediators notice of quebert web: how soon they request what is published without
it, with it, and while it is killed and started again and again.

    python bench/watched.py [--rate 500] [--seconds 12] [--turns 2] [--nice 0]

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
from contextlib import ExitStack, contextmanager
from pathlib import Path

from letters import Letter, channel_to
from roster import PEERS
from stage import PATIENCE, Latency, Stage, Worker, pacing
from watchers import Web, say
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
    parser.add_argument("--nice", type=int, default=0, help="of quebert web (0)")
    return parser.parse_args(words)


class KilledWeb:
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

    @param letter: a task; C{workers} do what is published like it.
    @ivar kills: how often C{quebert web} was killed, and C{recorded}: how many of the
        C{wanted} attempts are in the history.
    """

    def __init__(
        self,
        stage: Stage,
        letter: Letter,
        workers: Sequence[Worker],
        asked: argparse.Namespace,
        folder: Path,
    ) -> None:
        self.kills = 0
        self.recorded = self.wanted = 0
        self._stage = stage
        self._letter = letter
        self._workers = workers
        self._asked = asked
        self._folder = folder
        self._history = folder / "history.sqlite"

    def turn(self, mode: str) -> Latency:
        """
        One turn of a mode.
        """
        if mode == MODES[0]:
            with channel_to(self._stage.amqp) as channel:
                channel.queue_delete(HISTORY)  # nobody is to get events
            return self._latency(None)
        with self._web() as web:
            killed = KilledWeb(web, self._asked.every if mode == MODES[2] else None)
            began = time.time()
            found = self._latency(killed)
            self.kills += killed.kills
            self.wanted += self._total
            self.recorded += self._written(began)
        return found

    @contextmanager
    def _web(self) -> Iterator[Web]:
        nice = ["nice", "-n", str(self._asked.nice)]
        web = Web(self._stage.node.url, str(self._history), self._folder, nice)
        try:
            deadline = time.monotonic() + PATIENCE
            while web.overview() is None:
                if time.monotonic() > deadline:
                    raise StageError("quebert web does not answer")
                time.sleep(0.1)
            yield web
        finally:
            web.kill()

    def _latency(self, killed: KilledWeb | None) -> Latency:
        asked, web = self._asked, self._stage.web
        assert isinstance(web, Arrivals)
        seconds = _LEAD + asked.seconds
        total = self._total
        before, began = web.count(), time.time_ns()

        def check() -> None:
            for worker in self._workers:
                worker.check()
            if killed is not None:
                killed.look()

        with pacing(self._stage.amqp, self._letter, asked.rate, total):
            web.wait(before + total, check, seconds + PATIENCE)
        arrivals = [each for each in web.arrivals() if each[0] >= began]
        if not len(dict(arrivals)) == len(arrivals) == total:
            raise StageError(f"{len(arrivals)} requests, not {total}")
        return Latency.of(arrivals, round(asked.rate * _LEAD))

    @property
    def _total(self) -> int:
        return int(self._asked.rate * (_LEAD + self._asked.seconds))

    def _written(self, began: float) -> int:
        """
        Wait until all attempts of a turn are written, and give how many there are.
        """
        deadline = time.monotonic() + PATIENCE
        query = "SELECT count(*) FROM entries WHERE number > 0 AND started > ?"
        while True:
            with sqlite3.connect(self._history) as connection:
                (found,) = connection.execute(query, [began * 1e6]).fetchone()
            count = int(found)
            if count >= self._total or time.monotonic() > deadline:
                return count
            time.sleep(0.1)


def run(asked: argparse.Namespace) -> None:
    """
    Let all modes have their turns, and print what they come to.
    """
    found: dict[str, list[Latency]] = defaultdict(list)
    made = tempfile.TemporaryDirectory(prefix="quebert-watched-")
    with ExitStack() as stack:
        stage = stack.enter_context(Stage(Arrivals()))
        folder = Path(stack.enter_context(made))
        letter = stage.letter(PLAIN, stage.web.url)
        workers = [stack.enter_context(stage.worker(PLAIN)) for _ in range(2)]
        stage.await_consumer(workers[0])
        watched = Watched(stage, letter, workers, asked, folder)
        for _ in range(asked.turns):
            for mode in MODES:
                found[mode].append(watched.turn(mode))
        for mode, each in found.items():
            latency = Latency.median_of(each)
            p99 = ", ".join(f"{one.p99:.1f}" for one in each)
            typical = f"p50 {latency.p50:5.1f} ms, p99 {latency.p99:5.1f} ms"
            say(f"{mode:22} {typical} ({p99})")
        say(f"killed {watched.kills} times")
        say(f"{watched.recorded:,} of {watched.wanted:,} attempts in the history")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        run(arguments(sys.argv[1:]))
    except StageError as e:
        sys.exit(f"Not measured: {e}")
