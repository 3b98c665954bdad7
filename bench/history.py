"""
What the history costs with millions of attempts: writing, searching, removing.

    python bench/history.py [--attempts N] [--batch N] [URL...]

A URL is the path of a file, or that of a PostgreSQL database, which must be empty.  By
default it makes both kinds of database in a temporary folder.  PostgreSQL is the one
that is installed, with its own settings but for shared_buffers, max_wal_size and fsync.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs

from quebert.events import AttemptBatch, AttemptRecord
from quebert.history import HistoryQuery, Retention
from quebert.history._store import HistoryStore
from quebert.test.postgresql import PostgreSQLServer

#: When the first attempt is made, and seconds until the last one.
START, SPAN = 1_700_000_000.0, 7 * 86_400.0
QUEUES = [f"queue-{n}" for n in range(20)]
URLS = [f"https://shop.example.com/tasks/{n:03}" for n in range(200)]
#: Once in a hundred thousand attempts.
RARE = "https://rare.example.com/hook"
MEDIATORS = 3


class Attempts:
    """
    Batches of attempts, at a steady rate: 2 % fail, and are tried again a minute later;
    a few are given up.
    """

    def __init__(self, number: int) -> None:
        self._step = SPAN / number
        self._chance = random.Random(19)
        self._again: list[tuple[float, AttemptRecord]] = []
        self.now = START
        self.sample: list[str] = []

    def batch(self, sequence: int, size: int) -> AttemptBatch:
        """
        The next batch.
        """
        records = tuple(self._record() for _ in range(size))
        self.sample.append(records[0].uuid)
        number, mediator = divmod(sequence, MEDIATORS)
        return AttemptBatch(
            mediator=f"mediator-{mediator}",
            sequence=number + 1,
            at=self.now,
            records=records,
            total=(number + 1) * size,
        )

    def _record(self) -> AttemptRecord:
        chance = self._chance.random
        self.now = now = self.now + self._step
        if self._again and self._again[0][0] <= now:
            before = self._again.pop(0)[1]
            return attrs.evolve(
                before,
                number=2,
                due=before.retry_at,
                started=now,
                ended=now + 0.05,
                status=200,
                outcome="done",
                reason="",
                answer="",
                retry_at=None,
            )
        failed = chance() < 0.02
        buried = failed and chance() < 0.05
        record = AttemptRecord(
            uuid=str(UUID(int=self._chance.getrandbits(128), version=4)),
            queue=QUEUES[int(chance() ** 2 * 20)],
            url=RARE if chance() < 1e-5 else URLS[int(chance() * 200)],
            number=1,
            added=now - 0.1,
            due=None,
            started=now,
            ended=now + chance() / 5,
            status=503 if failed else 200,
            outcome="buried" if buried else "retry" if failed else "done",
            reason="HTTP 503 Service Unavailable" if failed else "",
            answer="<h1>Too busy</h1> Please come again later." if failed else "",
            retry_at=now + 60.0 if failed and not buried else None,
        )
        if record.retry_at is not None:
            self._again.append((record.retry_at, record))
        return record


def tell(line: str) -> None:
    """
    Print a line.
    """
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def say(name: str, value: str) -> None:
    """
    Print a line of the result.
    """
    tell(f"  {name:44} {value}")


def cpu_of(server: PostgreSQLServer | None) -> float:
    """
    Seconds of processor that this process has used, and the processes of a server.
    """
    used = time.process_time()
    if server is not None:
        for each in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                head, _, rest = each.read_text().rpartition(") ")
                fields = rest.split()
                if "(postgres" in head:
                    used += (int(fields[11]) + int(fields[12])) / os.sysconf(
                        "SC_CLK_TCK"
                    )
    return used


def write(
    store: HistoryStore, server: PostgreSQLServer | None, number: int, size: int
) -> Attempts:
    """
    Write attempts, and tell the rate of the first, the last, and of all.
    """
    attempts = Attempts(number)
    seconds: list[float] = []
    slowest = 0.0
    cpu = cpu_of(server)
    made = 0.0
    for n in range(number // size):
        before = time.process_time()
        batch = attempts.batch(n, size)
        made += time.process_time() - before
        begun = time.perf_counter()
        store.write([batch])
        seconds.append(time.perf_counter() - begun)
        slowest = max(slowest, seconds[-1])
    cpu = cpu_of(server) - cpu - made
    tenth = max(1, len(seconds) // 10)
    for name, some in (
        ("the first tenth", seconds[:tenth]),
        ("the last tenth", seconds[-tenth:]),
        ("all", seconds),
    ):
        say(f"records/s written, {name}", f"{size * len(some) / sum(some):,.0f}")
    say("CPU for a record", f"{cpu / number * 1e6:.1f} us")
    say(f"slowest batch of {size:,}", f"{slowest:.2f} s")
    return attempts


def timed(name: str, ask: Callable[[int], Any], times: int = 50) -> None:
    """
    Ask several times, and tell how long that took.
    """
    taken = []
    for n in range(times):
        begun = time.perf_counter()
        ask(n)
        taken.append((time.perf_counter() - begun) * 1e3)
    typical, worst = statistics.median(taken), max(taken)
    say(name, f"{typical:8.1f} ms, at most {worst:8.1f} ms")


def search(store: HistoryStore, attempts: Attempts) -> None:
    """
    Ask what people ask.
    """
    sample = random.Random(1).choices(attempts.sample, k=200)
    found = []

    def tasks(size: int = 50, token: str = "", **fields: Any) -> Any:
        page = store.find_tasks(HistoryQuery(**fields), token, size)
        found.append((fields, len(page.tasks), bool(page.next_page_token)))
        return page

    def by_digits(length: int) -> Callable[[int], object]:
        return lambda n: tasks(uuid=sample[n][:length])

    def by_fields(fields: Mapping[str, Any]) -> Callable[[int], object]:
        return lambda _: tasks(**fields)

    def deep() -> Iterator[Callable[[int], object]]:
        token = ""

        def following(_: int) -> None:
            nonlocal token
            token = tasks(token=token, queue="queue-3").next_page_token

        yield following

    day = START + SPAN / 2
    timed("a task by its uuid", lambda n: store.life_of(sample[n]), 200)
    timed("search by uuid", lambda n: tasks(uuid=sample[n]), 200)
    for length in (8, 5, 4, 3, 2, 1):
        timed(f"search by {length} digits of it", by_digits(length))
    timed("page of a queue", lambda n: tasks(queue=QUEUES[n % 20]))
    for ask in deep():
        timed("the 50 pages that follow", ask)
    timed("page of all queues", lambda _: tasks())
    timed("attempts of a queue", lambda n: store.attempts_of(QUEUES[n % 20], None, 50))
    for fields in (
        {"outcome": "retry"},
        {"outcome": "buried"},
        {"outcome": "buried", "queue": "queue-19"},
        {"outcome": "expired"},
        {"status": 503},
        {"status": 404},
        {"status": 204},
        {"reason": "Unavailable", "queue": "queue-2"},
        {"url": URLS[7]},
        {"url": RARE},
        {"url": "rare"},
        {"url": "nowhere"},
        {"url": URLS[7], "queue": "queue-19", "outcome": "buried"},
        {"after": day, "before": day + 3600},
        {"after": day, "before": day + 3600, "outcome": "buried"},
    ):
        name = ", ".join(f"{k}={v!s:.24}" for k, v in fields.items() if k != "before")
        timed(f"search by {name}", by_fields(fields), 10)
        say("", f"{found[-1][1]} tasks{', and more' if found[-1][2] else ''}")
    timed(
        "latency of an hour",
        lambda n: store.latency(QUEUES[n % 20], START + SPAN - 3600),
    )
    timed("what is due", lambda n: store.due(QUEUES[n % 20], START + SPAN, 60.0))
    timed("totals", lambda _: store.totals(None), 5)


def retain(store: HistoryStore, attempts: Attempts, number: int, size: int) -> None:
    """
    Remove a tenth by age; then write and remove as many in turn.
    """
    retention = Retention(age=SPAN, size=None)
    begun, cpu, rounds, slowest = time.perf_counter(), time.process_time(), 0, 0.0
    more = True
    while more:
        before = time.perf_counter()
        more = store.retain(retention, START + 1.1 * SPAN)
        slowest = max(slowest, time.perf_counter() - before)
        rounds += 1
    taken = time.perf_counter() - begun
    cpu = time.process_time() - cpu
    say("records/s removed", f"{number / 10 / taken:,.0f}")
    say("CPU of it for a record", f"{cpu / number * 1e7:.1f} us")
    say("slowest slice", f"{slowest:.2f} s")
    written, taken = 0, 0.0
    for n in range(number // size, number // size + max(1, number // size // 20)):
        batch = attempts.batch(n, size)
        before = time.perf_counter()
        store.write([batch])
        written += size
        for _ in range(2 + size // 4000):
            if not store.retain(retention, attempts.now + 0.1 * SPAN):
                break
        taken += time.perf_counter() - before
    say("records/s written and removed in turn", f"{written / taken:,.0f}")


def measure(name: str, url: str, server: PostgreSQLServer | None, args: Any) -> None:
    """
    All of it, for one database.
    """
    tell(f"{name}, {args.attempts:,} attempts, in batches of {args.batch:,}")
    store = HistoryStore(url)
    store.open()
    attempts = write(store, server, args.attempts, args.batch)
    with store._database.reading() as connection:
        size = store._database.size(connection)
    say("size", f"{size / 2**20:,.0f} MB, {size / args.attempts:.0f} bytes a record")
    if server is not None:
        with store._database.reading() as connection:
            sized = "SELECT pg_total_relation_size('entries')"
            (real,) = connection.exec_driver_sql(sized).one()
        say("as PostgreSQL says", f"{real / 2**20:,.0f} MB")
    search(store, attempts)
    retain(store, attempts, args.attempts, args.batch)
    store.close()


def main() -> None:
    """
    Measure what is asked for.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attempts", type=int, default=10_000_000)
    parser.add_argument("--batch", type=int, default=5000)
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    parser.add_argument("urls", nargs="*")
    args = parser.parse_args()
    for url in args.urls:
        measure(url, url, None, args)
    if args.urls:
        return
    if args.only != "postgresql":
        folder = Path(tempfile.mkdtemp(prefix="quebert-history-"))
        try:
            measure("SQLite", str(folder / "history"), None, args)
        finally:
            shutil.rmtree(folder)
    if args.only != "sqlite":
        options = "-c", "shared_buffers=1GB"
        with PostgreSQLServer(*options) as server:
            measure("PostgreSQL", server.url, server, args)


if __name__ == "__main__":
    main()
