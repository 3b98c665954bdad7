"""
Fuzz one target: with Atheris, which looks for inputs that reach new lines, where it is
installed; else with Hypothesis.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

from quebert.test.fuzz import CORPUS, corpus, target

try:
    import atheris
except ImportError:  # there is none for this Python, or this machine
    atheris = None

#: Bytes of an input.
_LONGEST_INPUT = 8_192
#: Megabytes that a fuzzer may take, and seconds for one input.
_MOST_MEMORY, _TIMEOUT = 2_048, 60
#: Packages whose lines count.
_WATCHED = ["quebert", "tomllib", "txamqp"]
#: Inputs of one try of Hypothesis.
_EXAMPLES = 500


def with_atheris(name: str, seconds: float, folder: Path) -> None:
    """
    Fuzz until the time is over; a finding is in C{folder}, and ends the process.
    """
    with atheris.instrument_imports(include=_WATCHED):
        check = target(name)
    reached = folder / "reached"
    reached.mkdir(exist_ok=True)
    options = {
        "artifact_prefix": f"{folder}/",
        "max_len": _LONGEST_INPUT,
        "max_total_time": max(1, round(seconds)),
        "rss_limit_mb": _MOST_MEMORY,
        "timeout": _TIMEOUT,
    }
    arguments = [f"-{option}={value}" for option, value in options.items()]
    atheris.Setup([name, str(reached), str(CORPUS / name), *arguments], check)
    atheris.Fuzz()


def with_hypothesis(name: str, seconds: float) -> None:
    """
    Fuzz until the time is over.

    @raise AssertionError: a finding, with its input in a note; or any other error.
    """
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from hypothesis import strategies as st

    seeds = st.sampled_from([each.read_bytes() for each in corpus(name)] or [b""])
    places, anything = st.integers(0, _LONGEST_INPUT), st.binary(max_size=20)
    inputs = st.binary(max_size=_LONGEST_INPUT) | st.builds(
        _spliced, seeds, st.lists(st.tuples(places, st.integers(0, 9), anything))
    )
    tried: Callable[[Callable[[bytes], None]], Any] = settings(
        max_examples=_EXAMPLES,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    until, check = monotonic() + seconds, target(name)
    for number in count():
        if monotonic() > until:
            print(f"about {number * _EXAMPLES} inputs in {seconds:g} s")
            return
        seed(number)(tried(given(inputs)(check)))()


def _spliced(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """
    C{data} with some bytes replaced by others, which may be more or fewer.
    """
    for place, size, others in changes:
        at = place % (len(data) + 1)
        data = data[:at] + others + data[at + size :]
    return data[:_LONGEST_INPUT]


def main(name: str, seconds: str, folder: str) -> None:
    """
    Fuzz the target C{name}.
    """
    if atheris is None:
        with_hypothesis(name, float(seconds))
    else:
        with_atheris(name, float(seconds), Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
