"""
What more processes help with: ``twistd quebert --processes``, for small tasks,
large ones, TLS, and a hook that computes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import trustme
from letters import Letter
from race import console
from rich.table import Table
from roster import PEERS, Peer
from stage import Measurement, Stage
from web import Nginx, StageError

from quebert.testing import free_port

PLAIN = PEERS[0]
BUSY = Peer("quebert-busy", "busy", "quebert_busy_hook.py", "", ())
LARGE = 100_000
PROCESSES = (1, 2, 4)


class TLSNginx(Nginx):
    """
    An nginx that speaks TLS, too, at C{https}, with a certificate of an authority
    that this process and those that it starts trust.
    """

    def command(self, folder: Path) -> list[str]:
        """
        What starts it.
        """
        command = super().command(folder)
        authority = trustme.CA()
        issued = authority.issue_cert("localhost")
        issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "pem"))
        authority.cert_pem.write_to_path(str(folder / "authority"))
        os.environ["SSL_CERT_FILE"] = str(folder / "authority")
        port = free_port()
        self.https = f"https://localhost:{port}/task"
        file = folder / "nginx.conf"
        plain = f"listen 127.0.0.1:{self.port};"
        files = f"ssl_certificate {folder}/pem; ssl_certificate_key {folder}/pem;"
        both = f"{plain} listen 127.0.0.1:{port} ssl; {files} client_max_body_size 1m;"
        file.write_text(file.read_text().replace(plain, both))
        return command


def padded(letter: Letter) -> Letter:
    """
    The same task with much more in it.
    """
    task = json.loads(letter.body)
    task["padding"] = "x" * LARGE
    return Letter(
        letter.exchange, letter.routing_key, json.dumps(task), letter.properties
    )


def cases(stage: Stage, web: TLSNginx) -> dict[str, tuple[Peer, Letter, int]]:
    """
    What is measured: by whom, with which task, and how many of them.
    """
    small, busy = stage.letter(PLAIN, web.url), stage.letter(BUSY, web.url)
    return {
        "small tasks": (PLAIN, small, 20_000),
        "TLS": (PLAIN, stage.letter(PLAIN, web.https), 20_000),
        "bodies of 100 kB": (PLAIN, padded(small), 4_000),
        "a hook of 1 ms": (BUSY, busy, 4_000),
    }


def measured(
    stage: Stage, peer: Peer, letter: Letter, tasks: int, processes: int
) -> Measurement:
    """
    One case, with so many processes.
    """
    os.environ["QUEBERT_BENCH_OPTIONS"] = f"--processes={processes}"
    return stage.measure(peer, letter, tasks // 10, tasks)


def row(name: str, processes: int, rounds: list[Measurement]) -> list[str]:
    """
    A row of the table.
    """

    def median(what: str) -> float:
        costs: list[float] = [getattr(each, what) / each.tasks for each in rounds]
        return statistics.median(costs)

    rate = statistics.median(each.tasks / each.seconds for each in rounds)
    costs = [f"{median(what) * 1e6:,.0f}" for what in ("cpu", "broker", "web")]
    return [name, str(processes), f"{rate:,.0f}", *costs]


def table(stage: Stage, web: TLSNginx, rounds: int) -> Table:
    """
    All cases.
    """
    found = Table(box=None)
    for heading in ("", "processes", "tasks/s", "CPU µs", "broker µs", "web µs"):
        found.add_column(heading, justify="right" if heading else "left")
    for name, (peer, letter, tasks) in cases(stage, web).items():
        for processes in PROCESSES:
            each = [
                measured(stage, peer, letter, tasks, processes) for _ in range(rounds)
            ]
            found.add_row(*row(name, processes, each))
    return found


def main() -> None:
    """
    Measure, and show.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    said = parser.parse_args()
    web = TLSNginx()
    try:
        with Stage(web) as stage:
            console.print(table(stage, web, said.rounds))
    except (StageError, subprocess.SubprocessError) as e:
        sys.exit(f"Not measured: {e}")


if __name__ == "__main__":
    main()
