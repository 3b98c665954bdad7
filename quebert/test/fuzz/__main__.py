"""
Look for inputs for which a property does not hold: C{python -m quebert.test.fuzz}.

Each target has a process of its own, some at a time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from quebert.test.fuzz import CORPUS, TARGETS

#: Lines of its output that are shown of a fuzzer that has found something.
_SHOWN = 60


def main() -> int:
    """
    Fuzz all targets, or those that are named; returns the exit code.
    """
    parser = argparse.ArgumentParser(prog="quebert.test.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--minutes", type=float, default=0.5, help="for each target")
    parser.add_argument("--jobs", type=int, default=2, help="targets at a time")
    parser.add_argument(
        "--folder", type=Path, default=Path(".fuzz"), help="for findings"
    )
    given = parser.parse_args()
    unknown = set(given.targets) - set(TARGETS)
    if unknown:
        parser.error(f"there is no target {min(unknown)}: {', '.join(TARGETS)}")
    run = partial(_fuzz, given.folder, 60 * given.minutes)
    with ThreadPoolExecutor(given.jobs) as pool:
        fine = list(pool.map(run, given.targets or TARGETS))
    print(f"{fine.count(True)} targets without a finding, {fine.count(False)} with one")
    return 0 if all(fine) else 1


def _fuzz(folder: Path, seconds: float, name: str) -> bool:
    """
    Fuzz one target; returns whether nothing was found.
    """
    found = folder / name
    found.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "quebert.test.fuzz.one",
        name,
        str(seconds),
        str(found),
    ]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    lines = done.stdout.decode("utf-8", "replace").splitlines() or ["it said nothing"]
    if done.returncode == 0:
        print(f"{name}: no finding; {lines[-1]}", flush=True)
        return True
    print(
        f"{name}: a finding, exit code {done.returncode}:",
        *lines[-_SHOWN:],
        f"Mend it, and put the input, if it is in {found}, into {CORPUS / name}.",
        sep="\n",
        flush=True,
    )
    return False


if __name__ == "__main__":
    sys.exit(main())
