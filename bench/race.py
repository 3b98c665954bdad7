"""
What it costs to dispatch a task: quebert beside others that do the same.

Each dispatcher takes tasks from a RabbitMQ of our own and POSTs them to an nginx
of our own, in turns, while its CPU time is read from outside; then tasks are
published at steady times, to see how soon they are requested.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from page import shown, write
from results import Result, Results, Settings, machine, today
from rich.console import Console
from rich.progress import track
from roster import PEERS, Peer
from stage import CONCURRENCY, Latency, Measurement, Stage
from web import StageError

console = Console()


def peers(names: str) -> list[Peer]:
    """
    Those with these names, which are separated by commas.
    """
    known = {peer.name: peer for peer in PEERS}
    try:
        return [known[name] for name in names.split(",")]
    except KeyError as e:
        raise argparse.ArgumentTypeError(f"{e} is none of {', '.join(known)}") from None


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """
    What the command line says.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rounds", type=int, default=5, help="of all dispatchers (5)")
    add("--tasks", type=int, default=20_000, help="in each round (20,000)")
    add("--warmup", type=int, default=2_000, help="before those (2,000)")
    add("--only", type=peers, default=list(PEERS), metavar="NAME[,NAME]")
    add("--no-latency", action="store_true", help="measure CPU only")
    add("--rate", type=float, default=200.0, help="tasks/s for the latency (200)")
    add("--seconds", type=float, default=15.0, help="for as long (15)")
    add("--lead", type=float, default=5.0, help="seconds before those (5)")
    add("--turns", type=int, default=3, help="that each has at the latency (3)")
    add("--write", action="store_true", help="write RESULTS.rst and its files")
    add("--from", dest="saved", type=Path, help="a results.json; measure nothing")
    return parser.parse_args(arguments)


def settings(options: argparse.Namespace) -> Settings:
    """
    Those of a race.
    """
    return Settings(
        rounds=options.rounds,
        tasks=options.tasks,
        warmup=options.warmup,
        concurrency=CONCURRENCY,
        rate=options.rate,
        seconds=options.seconds,
        lead=options.lead,
        turns=options.turns,
    )


def race(there: list[Peer], how: Settings, latency: bool) -> Results:
    """
    Let them all run.
    """
    with Stage() as stage:
        rounds = cpu_rounds(stage, there, how)
        delays = latencies(stage, there if latency else (), how)
        results = [
            Result.of(peer, rounds[peer.name], delays.get(peer.name)) for peer in there
        ]
        return Results(today(), machine(stage.version()), how, results)


def cpu_rounds(
    stage: Stage, there: list[Peer], how: Settings
) -> dict[str, list[Measurement]]:
    """
    What each costs, in turns.
    """
    letters = {peer.name: stage.letter(peer, stage.web.url) for peer in there}
    rounds: dict[str, list[Measurement]] = {peer.name: [] for peer in there}
    turns = [peer for _ in range(how.rounds) for peer in there]
    what = f"CPU, {how.tasks:,} tasks each"
    for peer in track(turns, what, console=console):
        letter = letters[peer.name]
        rounds[peer.name].append(stage.measure(peer, letter, how.warmup, how.tasks))
    return rounds


def latencies(stage: Stage, there: Iterable[Peer], how: Settings) -> dict[str, Latency]:
    """
    How soon each requests what is published: the medians of some turns, since the load
    of the machine changes from one minute to the next.
    """
    peers, measured = list(there), defaultdict(list)
    turns = [peer for _ in range(how.turns) for peer in peers]
    what = f"latency, {how.seconds:g} s each"
    for peer in track(turns, what, console=console) if turns else ():
        one = stage.latency(peer, how.rate, how.lead, how.seconds)
        measured[peer.name].append(one)
    return {name: Latency.median_of(each) for name, each in measured.items()}


def main() -> None:
    """
    Race, or look at a race that was; show it, and write it if that is wanted.
    """
    # Ended from outside, all that was started is to be ended, too.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    said = options()
    try:
        if said.saved:
            results = Results.load(said.saved)
        else:
            there = [peer for peer in said.only if peer.is_there]
            for peer in said.only:
                if peer not in there:
                    console.print(f"{peer.title} is left out: it is not installed")
            results = race(there, settings(said), not said.no_latency)
    except StageError as e:
        sys.exit(f"The race has failed: {e}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    console.print(shown(results))
    if said.write:
        write(results)


if __name__ == "__main__":
    main()
