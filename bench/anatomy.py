"""
Where each microsecond of a task goes: ``twistd quebert`` at work, sampled by
py-spy, by module and by function.

The shares are those of the samples; the microseconds are that part of what a task
costs without py-spy, in the same run.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs
from letters import Letter, fill
from race import console
from rich.table import Table
from roster import PEERS, Peer
from stage import Stage
from web import StageError

PLAIN, DEPLOYED = PEERS[:2]
WARMUP, TASKS = 2_000, 20_000
#: Tasks, and seconds of samples, so many a second, that they last for.
PLENTY, SECONDS, RATE = 400_000, 10, 200
_FRAME = re.compile(r"^(?P<function>.*) \((?P<file>.*?):\d+\)$")


@attrs.frozen
class Frame:
    """
    A function, and the file that it is in.
    """

    function: str
    file: str

    @classmethod
    def of(cls, text: str) -> Frame:
        """
        What py-spy writes.
        """
        found = _FRAME.match(text)
        return cls(found["function"], found["file"]) if found else cls(text, "")


@attrs.frozen
class Samples:
    """
    How often each stack was seen; the innermost function is last.
    """

    stacks: list[tuple[list[Frame], int]]

    @classmethod
    def read(cls, file: Path) -> Samples:
        """
        Those of the reactor's thread in a file of py-spy's.
        """
        return cls([each for each in _stacks(file) if _is_at_work(each[0])])

    @property
    def total(self) -> int:
        """
        How many there are.
        """
        return sum(times for _, times in self.stacks)

    def own(self) -> tuple[Counter[str], Counter[str]]:
        """
        Samples in each module, and in each function, without what it called.
        """
        modules: Counter[str] = Counter()
        functions: Counter[str] = Counter()
        for stack, times in self.stacks:
            modules[stack[-1].file] += times
            functions[f"{stack[-1].function}  {stack[-1].file}"] += times
        return modules, functions


def _stacks(file: Path) -> Iterator[tuple[list[Frame], int]]:
    for line in file.read_text().splitlines():
        stack, _, times = line.rpartition(" ")
        yield [Frame.of(each) for each in stack.split(";")], int(times)


def _is_at_work(stack: list[Frame]) -> bool:
    return any(frame.function.endswith("mainLoop") for frame in stack)


def sampled(stage: Stage, peer: Peer, letter: Letter, file: Path) -> Samples:
    """
    Sample a mediator in the middle of plenty of tasks.
    """
    fill(stage.amqp, f"bench-{peer.name}", letter, PLENTY)
    spy = [str(Path(sys.executable).with_name("py-spy")), "record", "--format=raw"]
    spy += [f"--rate={RATE}", f"--duration={SECONDS}", f"--output={file}"]
    before = stage.web.count()
    with stage.worker(peer) as worker:
        stage.web.wait(before + WARMUP, worker.check, 60)
        done = subprocess.run([*spy, f"--pid={worker.pid}"], capture_output=True)
    if done.returncode:
        raise StageError(f"py-spy: {done.stderr.decode(errors='replace')[-500:]}")
    return Samples.read(file)


def shown(title: str, counts: Counter[str], total: int, cost: float) -> Table:
    """
    The most of them, in microseconds a task.
    """
    heading = f"{title}: {cost:.1f} µs a task"
    table = Table(title=heading, box=None, title_justify="left")
    for column in ("µs", "%", ""):
        table.add_column(column, justify="right" if column else "left")
    for name, times in counts.most_common(30):
        part = times / total
        table.add_row(f"{part * cost:.1f}", f"{part * 100:.1f}", name)
    return table


def main() -> None:
    """
    Measure, sample, and show.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("anatomy.txt"))
    kinds = {"plain": PLAIN, "deployed": DEPLOYED}
    parser.add_argument("--mediator", choices=kinds, default="plain")
    said = parser.parse_args()
    peer = kinds[said.mediator]
    try:
        with Stage() as stage:
            letter = stage.letter(peer, stage.web.url)
            measured = stage.measure(peer, letter, WARMUP, TASKS)
            samples = sampled(stage, peer, letter, said.output)
    except StageError as e:
        sys.exit(f"Not measured: {e}")
    cost = measured.cpu / measured.tasks * 1e6
    modules, functions = samples.own()
    console.print(shown("By module", modules, samples.total, cost))
    console.print(shown("By function", functions, samples.total, cost))


if __name__ == "__main__":
    main()
