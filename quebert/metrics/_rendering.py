"""
Metrics in the two texts that Prometheus reads.  Pure.

Theory of operation.  A mediator does nothing else while it tells its metrics, and
C{prometheus-client} takes 60 ms for 200 queues, most of it for the same names again and
again.  So what stands before the number of a line is made once.  A test compares the
result with that of C{prometheus-client}, byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from prometheus_client.utils import floatToGoString

from quebert.metrics._catalogue import FAMILIES, Family
from quebert.metrics._totals import Histogram

__all__ = ["rendered", "shown"]

_Labels = tuple[str, ...]
# Beginnings of lines that are kept, and of the lines of histograms.
_LINES, _HISTOGRAMS = 8_192, 1_024
# Where Go, and so Prometheus, begins to write exponents.
_LARGE = 1e6


def rendered(
    samples: Mapping[str, Sequence[tuple[_Labels, Any]]], *, openmetrics: bool
) -> bytes:
    """
    The text.

    @param samples: of each metric, by its name.
    @param openmetrics: whether it is OpenMetrics 1.0, not the older text.
    """
    lines: list[str] = []
    for family in FAMILIES:
        if found := samples.get(family.name):
            lines += _head(family, openmetrics)
            if family.kind == "histogram":
                lines += _of_histograms(family, found)
            else:
                name, names = family.full_name, family.labels
                lines += [
                    f"{_start(name, names, labels)}{_number(value)}\n"
                    for labels, value in found
                ]
    if openmetrics:
        lines.append("# EOF\n")
    return "".join(lines).encode()


def _head(family: Family, openmetrics: bool) -> Iterator[str]:
    name, text = family.full_name, family.text.replace("\\", r"\\")
    if openmetrics:
        text = text.replace('"', r"\"")
        if family.kind == "counter":
            name = name.removesuffix("_total")
    yield f"# HELP {name} {text}\n"
    yield f"# TYPE {name} {family.kind}\n"


def _of_histograms(
    family: Family, samples: Iterable[tuple[_Labels, Histogram]]
) -> Iterator[str]:
    for labels, histogram in samples:
        bounds = tuple(histogram.bounds)
        starts = _bucket_starts(family.full_name, bounds, family.labels, labels)
        total, number = 0, "0.0"
        for start, count in zip(starts, histogram.counts, strict=False):
            if count:
                total += count
                number = _number(total)
            yield f"{start}{number}\n"
        yield f"{starts[-2]}{number}\n"
        yield f"{starts[-1]}{_number(histogram.total)}\n"


@lru_cache(_HISTOGRAMS)
def _bucket_starts(
    name: str, bounds: tuple[float, ...], names: _Labels, labels: _Labels
) -> tuple[str, ...]:
    """
    How the lines of a histogram begin: those of the buckets, of the count, and of the
    sum.
    """
    le = [*map(str, bounds), "+Inf"]
    buckets = (
        _start(f"{name}_bucket", (*names, "le"), (*labels, bound)) for bound in le
    )
    others = (_start(f"{name}{end}", names, labels) for end in ("_count", "_sum"))
    return (*buckets, *others)


@lru_cache(_LINES)
def _start(name: str, names: _Labels, labels: _Labels) -> str:
    """
    What stands before the number.
    """
    pairs = sorted(zip(names, map(_escaped, labels), strict=True))
    told = ",".join(f'{name}="{label}"' for name, label in pairs)
    return f"{name}{{{told}}} " if told else f"{name} "


def _escaped(label: str) -> str:
    text = shown(label).replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"")


def shown(label: str) -> str:
    """
    A name as UTF-8 can have it: JSON can bring one that is half a character.
    """
    if label.isascii():
        return label
    return label.encode("utf-8", "backslashreplace").decode("utf-8")


def _number(value: float) -> str:
    number = float(value)
    return repr(number) if -_LARGE < number < _LARGE else floatToGoString(number)
