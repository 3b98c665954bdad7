"""
How many small faults in quebert the tests notice: a comparison, a condition, a number
or a result changed, a call left out.  Only tests that trial runs count, which need no
RabbitMQ.

The faults are put into copies of the repository, one after the other.  For each fault,
those tests run that execute its line, the test module of its own module first, until
one fails.  Which tests execute which lines is recorded once, and again when something
has changed.  What was found is kept in the folder .faults, so that the program can be
ended and started again.  The exit status is 1 if less than 95 % are noticed, of those
that change something.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import queue
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
from importers import has_functions, importers
from mutants import Mutant, around, chosen
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / ".faults"
FOLDERS = (
    *("amqp", "mediator", "policy", "limits", "broker", "http"),
    *("events", "history", "metrics", "telemetry", "operations", "web"),
)
ENOUGH = 0.95
#: Bytes of memory of a process that runs tests: a fault can make an endless loop.
MEMORY = 4 << 30
#: How many times longer than without a fault the tests may take, and how many seconds.
SLOWER, PATIENCE = 3.0, 20.0
#: Seconds: a test that takes longer comes after all that do not.
LONG = 1.0
#: In the place of a test: a line is executed when its module is imported.
_IMPORTED = ""
console = Console()


@attrs.frozen
class Found:
    """
    What became of a fault.

    @ivar by: the tests that notice it, or how they ended; C{None}: they do not.
    @ivar tests: how many tests execute its line.
    """

    by: str | None
    tests: int


class Executed:
    """
    Which tests execute which lines.
    """

    def __init__(self, modules: Iterable[dict[str, Any]]) -> None:
        self.seconds: dict[str, float] = {}
        self._lines: dict[tuple[str, int], set[str]] = {}
        for module in modules:
            self.seconds.update(module["seconds"])
            for path, lines in module["lines"].items():
                for line, tests in lines.items():
                    self._lines.setdefault((path, int(line)), set()).update(tests)

    def tests(self, mutant: Mutant) -> list[str]:
        """
        The tests to which a fault can make a difference, the most promising first.
        """
        found = set()
        for line in around((ROOT / mutant.path).read_bytes(), mutant.line, mutant.last):
            found |= self._lines.get((mutant.path, line), set())
        if _IMPORTED in found:  # then whatever uses the module may notice
            users = self._users(mutant)
            for (path, _), tests in self._lines.items():
                found |= tests if path in users else set()
        found &= self.seconds.keys()  # not those that fail without a fault, too
        own = f"test{Path(mutant.path).stem}."

        def late(test: str) -> tuple[bool, bool, float, str]:
            seconds = self.seconds[test]
            return seconds > LONG, own not in test, seconds, test

        return sorted(found, key=late)

    @staticmethod
    def _users(mutant: Mutant) -> set[str]:
        """
        Where a test has lines that a fault outside of functions can make a difference
        to: the module itself; and those that import the name that is assigned to, or
        any name if the module has no functions.
        """
        path, name = mutant.path, mutant.statement.partition(" ")[0].rstrip(":")
        if not has_functions((ROOT / path).read_bytes()):
            return {path, *importers(ROOT, path)}
        return {path, *(() if mutant.function else importers(ROOT, path, name))}


class Trees:
    """
    Copies of the repository, each for one process at a time.

    @ivar number: how many copies there are.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self._free: queue.Queue[Path] = queue.Queue()
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        names = subprocess.check_output(listed, cwd=ROOT, text=True).splitlines()
        for each in range(number):
            tree = folder / str(each)
            for name in names:
                if (ROOT / name).is_file():
                    (tree / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(ROOT / name, tree / name)
            self._free.put(tree)

    @contextmanager
    def one(self) -> Iterator[Path]:
        """
        A copy that nobody else uses meanwhile.
        """
        tree = self._free.get()
        try:
            yield tree
        finally:
            self._free.put(tree)


def run(tree: Path, arguments: list[str], limit: float) -> str | None:
    """
    Run Python in a copy of the repository.

    @return: C{None} if it succeeds, else the test that fails, or what happened.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree),
        # A file that changes twice within a second would have a stale one.
        "PYTHONDONTWRITEBYTECODE": "1",
        "QUEBERT_TEST_EXAMPLES": "10",
    }
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=tree,
        env=environment,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )
    try:
        said, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return "hangs"
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
    if process.returncode == 0:
        return None
    names = [line for line in said.splitlines() if line.startswith("quebert.test.")]
    return names[-1] if names else (said.strip().splitlines() or ["dies"])[-1]


def record(trees: Trees, folders: tuple[str, ...]) -> Executed:
    """
    Find out which tests execute which lines of these folders, as far as that is not
    known.
    """
    KEPT.mkdir(exist_ok=True)
    common = hashlib.sha256(repr(folders).encode())
    for folder in folders:
        for path in sorted((ROOT / "quebert" / folder).rglob("*.py")):
            common.update(path.read_bytes())

    def recorded(path: Path) -> dict[str, Any]:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        digest = common.copy()
        digest.update(path.read_bytes())
        known = KEPT / f"{module}-{digest.hexdigest()[:16]}.json"
        if not known.exists():
            for old in KEPT.glob(f"{module}-*.json"):
                old.unlink()
            with trees.one() as tree:
                script = str(ROOT / "bench" / "executed.py")
                sources = [str(tree / "quebert" / each) for each in folders]
                said = run(tree, [script, module, str(known), *sources], 600)
            if said is not None:  # else its tests would count as noticing nothing
                known.unlink(missing_ok=True)
                raise SystemExit(f"{module} cannot be recorded: {said}")
        found: dict[str, Any] = json.loads(known.read_text())
        return found

    paths = [
        path
        for path in sorted((ROOT / "quebert" / "test").rglob("test_*.py"))
        if re.search(r"^class \w+\(.*(Case|Tests)\)", path.read_text(), re.MULTILINE)
    ]
    with ThreadPoolExecutor(trees.number) as pool:
        return Executed(filter(None, pool.map(recorded, paths)))


def tried(mutant: Mutant, executed: Executed, trees: Trees, whole: bool) -> Found:
    """
    Run the tests with one fault.
    """
    tests = executed.tests(mutant)
    limit = PATIENCE + SLOWER * sum(map(executed.seconds.__getitem__, tests))
    with trees.one() as tree:
        path = tree / mutant.path
        source = path.read_bytes()
        path.write_bytes(mutant.applied(source))
        trial = ["-m", "twisted.trial", "--exitfirst"]
        try:
            by = run(tree, [*trial, *tests], limit) if tests else None
            if by is None and whole:
                by = run(tree, [*trial, "quebert"], 900)
        finally:
            path.write_bytes(source)
    return Found(by, len(tests))


class Results:
    """
    What is known of the faults of one selection, in a file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Any] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                self._known.update(json.loads(line))

    def get(self, mutant: Mutant) -> Found | None:
        """
        What is known of a fault.
        """
        known = self._known.get(mutant.key)
        return None if known is None else Found(**known)

    def put(self, mutant: Mutant, found: Found) -> None:
        """
        Remember it.
        """
        told = {mutant.key: attrs.asdict(found)}
        self._known.update(told)
        with self._path.open("a") as file:
            file.write(f"{json.dumps(told)}\n")


def equivalent() -> Callable[[Mutant], str | None]:
    """
    Why a fault changes nothing, as C{faults.toml} says.
    """
    told = tomllib.loads((ROOT / "bench" / "faults.toml").read_text())

    def why(mutant: Mutant) -> str | None:
        fault = attrs.asdict(mutant) | {"before": " ".join(mutant.before.split())}
        for each in told.get("equivalent", ()):
            if all(fault[name] == each[name] for name in each.keys() - {"why"}):
                return str(each["why"])
        return None

    return why


def show(mutants: list[Mutant], results: Results) -> float:
    """
    Print what is known, and give the share of the faults that are noticed.
    """
    rooms: dict[str, list[int]] = {}
    why, survivors = equivalent(), []
    for mutant in mutants:
        found = results.get(mutant)
        if found is None:
            continue
        counts = rooms.setdefault(mutant.room, [0, 0, 0, 0])
        if found.by is not None:
            place = 1
        elif why(mutant):
            place = 2
        else:
            place = 3
            survivors.append((mutant, found))
        counts[0] += 1
        counts[place] += 1
    table = Table("room", "faults", "noticed", "change nothing", "not noticed")
    totals = [sum(column) for column in zip(*rooms.values(), strict=True)]
    for room, counts in [*sorted(rooms.items()), ("all", totals)]:
        table.add_row(room, *map(str, counts))
    console.print(table)
    for mutant, found in sorted(survivors, key=lambda each: str(each[0])):
        told = f"{mutant}  ({found.tests} tests, in {mutant.function or 'the module'})"
        console.print(told, highlight=False, markup=False, soft_wrap=True)
    share = totals[1] / max(1, totals[0] - totals[2]) if totals else 0.0
    console.print(f"{share:.1%} of those that change something are noticed")
    return share


def main() -> int:
    """
    Try the faults that have not been tried, and show what is known of all.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="decides which faults")
    parser.add_argument("--number", type=int, default=200, help="of faults")
    parser.add_argument(
        "--only",
        nargs="+",
        default=FOLDERS,
        metavar="ROOM",
        help="take the faults from these folders, such as amqp/watch, alone",
    )
    parser.add_argument("--now", type=int, help="try no more than so many now")
    parser.add_argument(
        "--jobs", type=int, default=2, help="processes that run tests, side by side"
    )
    parser.add_argument(
        "--again", action="store_true", help="try those again that were not noticed"
    )
    parser.add_argument(
        "--whole",
        action="store_true",
        help="run all tests before a fault counts as not noticed",
    )
    said = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folders = tuple(said.only)
    mutants = chosen(ROOT, folders, said.seed)[: said.number]
    results, why = Results(KEPT / f"seed-{said.seed}.jsonl"), equivalent()

    def due(mutant: Mutant) -> bool:
        found = results.get(mutant)
        survived = found is not None and found.by is None and not why(mutant)
        return found is None or (said.again and survived)

    waiting = [mutant for mutant in mutants if due(mutant)][: said.now]
    if waiting:
        with tempfile.TemporaryDirectory() as folder:
            trees = Trees(Path(folder), said.jobs)
            executed = record(trees, folders)
            with ThreadPoolExecutor(said.jobs) as pool:
                tasks = {
                    pool.submit(tried, mutant, executed, trees, said.whole): mutant
                    for mutant in waiting
                }
                try:
                    for task in as_completed(tasks):
                        results.put(tasks[task], task.result())
                except KeyboardInterrupt:  # wait for those that run, for their children
                    pool.shutdown(cancel_futures=True)
                    raise
    return int(show(mutants, results) < ENOUGH)


if __name__ == "__main__":
    sys.exit(main())
