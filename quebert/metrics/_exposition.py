"""
Metrics as Prometheus reads them: OpenMetrics or its older text, as a client accepts.

Only here is C{prometheus-client} imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from quebert.metrics._catalogue import FAMILIES, Family
from quebert.metrics._totals import Histogram

__all__ = ["Exposition", "MetricsCollector"]

#: Seconds for which one exposition is given to all who ask.
FRESH = 1.0
# Characters of an Accept header that are read.
_LONGEST = 1_000
# Kinds of expositions that are kept.
_KINDS = 8

Samples = Callable[[], Mapping[str, Sequence[tuple[tuple[str, ...], Any]]]]


class MetricsCollector(Collector):
    """
    A collector for C{prometheus-client}, which a program may have in its own registry,
    too.

    @param samples: gives those of each metric, by its name.
    """

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        """
        All metrics.
        """
        samples = self._samples()
        for family in FAMILIES:
            found = samples.get(family.name)
            if found:
                yield _metric(family, found)


def _metric(family: Family, samples: Iterable[tuple[tuple[str, ...], Any]]) -> Metric:
    name, text = family.full_name, family.text
    samples = [(tuple(map(_shown, labels)), value) for labels, value in samples]
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(name, text, labels=family.labels)
        for labels, value in samples:
            histogram.add_metric(labels, _buckets(value), value.total)
        return histogram
    metric: CounterMetricFamily | GaugeMetricFamily
    if family.kind == "counter":
        metric = CounterMetricFamily(name, text, labels=family.labels)
    else:
        metric = GaugeMetricFamily(name, text, labels=family.labels)
    for labels, value in samples:
        metric.add_metric(labels, value)
    return metric


def _shown(label: str) -> str:
    """
    A name as UTF-8 can have it: JSON can bring one that is half a character.
    """
    if label.isascii():
        return label
    return label.encode("utf-8", "backslashreplace").decode("utf-8")


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    found, total = [], 0
    bounds = [*map(str, histogram.bounds), "+Inf"]
    for bound, count in zip(bounds, histogram.counts, strict=True):
        total += count
        found.append((bound, float(total)))
    return found


class Exposition:
    """
    The answer of C{/metrics}.  However many requests there are, it is made once in
    L{FRESH} seconds.

    @param samples: as for L{MetricsCollector}.
    @param clock: tells seconds.
    """

    def __init__(self, samples: Samples, clock: Callable[[], float]) -> None:
        self._collector = MetricsCollector(samples)
        self._clock = clock
        self._made: dict[str, bytes] = {}
        self._made_at = 0.0

    def __call__(self, accept: str) -> tuple[str, bytes]:
        """
        The content type, and the metrics.

        @param accept: what the client accepts, as its header says; may be empty.
        """
        encode, content_type = choose_encoder(accept[:_LONGEST])
        now = self._clock()
        if not 0.0 <= now - self._made_at < FRESH:
            self._made, self._made_at = {}, now
        found = self._made.get(content_type)
        if found is None:
            found = encode(self._collector)
            if len(self._made) < _KINDS:
                self._made[content_type] = found
        return content_type, found
