"""
The metrics: those of the semantic conventions for messaging and for HTTP clients.
"""

from __future__ import annotations

from opentelemetry.metrics import Histogram, Meter

__all__ = ["Instruments"]

# Seconds, as the conventions ask for.
_MESSAGING = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0),
)


class Instruments:
    """
    @ivar sent: messages that were sent.
    @ivar operation: how long the broker took to confirm them.
    @ivar consumed: messages that mediators were given.
    @ivar process: how long they took to be processed.
    @ivar request: how long the requests took.
    """

    def __init__(self, meter: Meter) -> None:
        self.sent = meter.create_counter(
            "messaging.client.sent.messages",
            "{message}",
            "Messages that were sent to the broker",
        )
        self.consumed = meter.create_counter(
            "messaging.client.consumed.messages",
            "{message}",
            "Messages that were taken from the broker",
        )
        self.operation = _seconds(
            meter,
            "messaging.client.operation.duration",
            "Until the broker has confirmed a message",
        )
        self.process = _seconds(
            meter, "messaging.process.duration", "From a message to its outcome"
        )
        self.request = _seconds(
            meter,
            "http.client.request.duration",
            "From a request to the end of its answer",
        )


def _seconds(meter: Meter, name: str, description: str) -> Histogram:
    return meter.create_histogram(
        name, "s", description, explicit_bucket_boundaries_advisory=_MESSAGING
    )
