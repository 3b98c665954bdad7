"""
The metrics: those of the semantic conventions for messaging and for HTTP clients.

Whoever writes tasks may choose hosts, and there is no end of them.  A metric has
L{MOST_SERIES} series at most, one for each set of attributes.  What comes beyond goes
to one more, as the specification of OpenTelemetry has it (Metrics SDK, cardinality
limits): not every release of the SDK has such a limit.
"""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.metrics import Histogram, Meter

from quebert.telemetry._conventions import Attributes

__all__ = ["MOST_SERIES", "OVERFLOW", "Instruments"]

#: As many as by default in the specification.
MOST_SERIES = 2_000
#: The attribute of all that is beyond.
OVERFLOW: Mapping[str, bool] = {"otel.metric.overflow": True}
# Seconds, as the conventions ask for.
_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0),
)


class Instruments:
    """
    The instruments of all metrics.
    """

    def __init__(self, meter: Meter) -> None:
        self._sent = meter.create_counter(
            "messaging.client.sent.messages",
            "{message}",
            "Messages that were sent to the broker",
        )
        self._consumed = meter.create_counter(
            "messaging.client.consumed.messages",
            "{message}",
            "Messages that were taken from the broker",
        )
        self._operation = _seconds(
            meter,
            "messaging.client.operation.duration",
            "Until the broker has confirmed a message",
        )
        self._process = _seconds(
            meter, "messaging.process.duration", "From a message to its outcome"
        )
        self._request = _seconds(
            meter,
            "http.client.request.duration",
            "From a request to the end of its answer",
        )
        self._of_sent, self._of_process, self._of_request = (_Series() for _ in "123")

    def sent(self, seconds: float, attributes: Attributes) -> None:
        """
        A message was sent.

        @param seconds: until the broker had confirmed it.
        """
        few = self._of_sent.of(attributes)
        self._sent.add(1, few)
        self._operation.record(seconds, few)

    def processed(self, seconds: float, attributes: Attributes) -> None:
        """
        A message was processed.
        """
        few = self._of_process.of(attributes)
        self._consumed.add(1, few)
        self._process.record(seconds, few)

    def requested(self, seconds: float, attributes: Attributes) -> None:
        """
        A request was made.
        """
        self._request.record(seconds, self._of_request.of(attributes))


class _Series:
    """
    The series of a metric.
    """

    def __init__(self) -> None:
        self._known: set[tuple[tuple[str, object], ...]] = set()

    def of(self, attributes: Attributes) -> Attributes:
        """
        C{attributes}, or the attribute of the one series for all that are too many.
        """
        key = tuple(attributes.items())
        if key not in self._known:
            if len(self._known) >= MOST_SERIES:
                return OVERFLOW
            self._known.add(key)
        return attributes


def _seconds(meter: Meter, name: str, description: str) -> Histogram:
    return meter.create_histogram(
        name, "s", description, explicit_bucket_boundaries_advisory=_BUCKETS
    )
