"""
What a race has found: raw figures, as they are kept in C{results.json}, and the
rows of a table, which are medians of them.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from roster import Peer
from stage import Latency, Measurement
from web import find_nginx


@attrs.frozen
class Settings:
    """
    @ivar rounds: how often each dispatcher was measured.
    @ivar tasks: in each round, after C{warmup} others.
    @ivar concurrency: tasks that may be with a dispatcher at once.
    @ivar rate: tasks published each second when latency was measured.
    @ivar seconds: for how long they were, after C{lead} seconds of warm-up.
    @ivar turns: how often, for each dispatcher.
    """

    rounds: int
    tasks: int
    warmup: int
    concurrency: int
    rate: float
    seconds: float
    lead: float
    turns: int = 1


@attrs.frozen
class Result:
    """
    All that was measured of one dispatcher.
    """

    name: str
    title: str
    setup: str
    versions: dict[str, str]
    rounds: list[Measurement]
    latency: Latency | None = None

    @classmethod
    def of(
        cls, peer: Peer, rounds: list[Measurement], latency: Latency | None
    ) -> Result:
        """
        With what there is to know of the peer.
        """
        versions = peer.versions()
        return cls(peer.name, peer.title, peer.setup, versions, rounds, latency)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Result:
        """
        From what C{attrs.asdict} made of one.
        """
        rounds = [Measurement(**each) for each in raw["rounds"]]
        latency = Latency(**raw["latency"]) if raw["latency"] else None
        return cls(**raw | {"rounds": rounds, "latency": latency})


@attrs.frozen
class Results:
    """
    @ivar date: when the race ended, as in C{2026-11-24}.
    @ivar machine: what it ran on, by name, in the order to show it.
    """

    date: str
    machine: dict[str, str]
    settings: Settings
    results: list[Result]

    def save(self, path: Path) -> None:
        """
        Write it to a file, as JSON.
        """
        text = json.dumps(attrs.asdict(self), indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Results:
        """
        Read what L{save} wrote.
        """
        raw = json.loads(path.read_text(encoding="utf-8"))
        settings = Settings(**raw["settings"])
        results = [Result.from_json(each) for each in raw["results"]]
        return cls(raw["date"], raw["machine"], settings, results)


# -- Medians


@attrs.frozen
class Row:
    """
    The medians of one dispatcher's rounds.

    @ivar cpu: microseconds of CPU a task; C{lowest} and C{highest} of all rounds.
    @ivar rate: tasks a second.
    @ivar times: its CPU in terms of quebert's, if that was there.
    @ivar memory: megabytes (of a million bytes), shared pages counted once.
    @ivar broker: microseconds of CPU a task, as is C{web}.
    @ivar busy: its CPU in terms of the time that passed; 1 is one core.
    @ivar p50: milliseconds, if it was measured, as C{p99}.
    """

    name: str
    title: str
    cpu: float
    lowest: float
    highest: float
    rate: float
    times: float | None
    memory: float
    broker: float
    web: float
    busy: float
    p50: float | None
    p99: float | None


def rows(results: Results) -> list[Row]:
    """
    One for each dispatcher, in order of their CPU.
    """
    own = [_cpu(each) for each in results.results if each.name == "quebert"]
    made = [_row(each, own[0] if own else None) for each in results.results]
    return sorted(made, key=lambda row: row.cpu)


def _row(result: Result, own: float | None) -> Row:
    costs = [each.cpu / each.tasks * 1e6 for each in result.rounds]
    return Row(
        name=result.name,
        title=result.title,
        cpu=_cpu(result),
        lowest=min(costs),
        highest=max(costs),
        rate=_median(result, lambda each: each.tasks / each.seconds),
        times=_cpu(result) / own if own else None,
        memory=_median(result, lambda each: each.pss / 1e6),
        broker=_median(result, lambda each: each.broker / each.tasks * 1e6),
        web=_median(result, lambda each: each.web / each.tasks * 1e6),
        busy=_median(result, lambda each: each.cpu / each.seconds),
        p50=result.latency.p50 if result.latency else None,
        p99=result.latency.p99 if result.latency else None,
    )


def _cpu(result: Result) -> float:
    return _median(result, lambda each: each.cpu / each.tasks * 1e6)


def _median(result: Result, figure: Callable[[Measurement], float]) -> float:
    return statistics.median(figure(each) for each in result.rounds)


# -- The machine


def today() -> str:
    """
    The date, in UTC.
    """
    return time.strftime("%Y-%m-%d", time.gmtime())


def machine(rabbitmq: str) -> dict[str, str]:
    """
    What this race runs on.

    @param rabbitmq: the broker's version.
    """
    return {
        "CPU": _cpu_model(),
        "cores": str(os.cpu_count()),
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "RabbitMQ": rabbitmq,
        "web server": _web_server(),
    }


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return " ".join(models[0].split()) if models else platform.machine()


def _web_server() -> str:
    nginx = find_nginx()
    if nginx is None:
        return "bench/server.py, since there was no nginx"
    done = subprocess.run([nginx, "-v"], capture_output=True, text=True)
    return f"nginx {done.stderr.partition('/')[2].split()[0]}"
