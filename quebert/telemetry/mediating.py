"""
The telemetry of mediators: L{telemetry_of} makes it, as C{twistd quebert} and
C{quebert run} do.

It works from outside of a mediator: the function that a watch calls with each message,
and the HTTP client of the mediator, are replaced by others that do the same.  So a
mediator without telemetry does not meet any of it.  What connects the two is a context
variable: a mediator makes a request in the context of its message.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred, succeed

from quebert._log import Logger
from quebert._reactor import given_or_global
from quebert.boundaries import HTTPClient
from quebert.telemetry._environment import signals_in
from quebert.telemetry._process import MISSING, problems_of

if TYPE_CHECKING:
    from quebert.telemetry._processing import Callback

__all__ = ["OFF", "Telemetry", "TelemetryOff", "telemetry_of"]


class Telemetry(Protocol):
    """
    Follows tasks through mediators.
    """

    def callback(self, queue: str, callback: Callback) -> Callback:
        """
        The callback for the messages of a queue, in place of C{callback}.
        """

    def http_client(self, http: HTTPClient) -> HTTPClient:
        """
        The client for the requests of a mediator, in place of C{http}.
        """

    def stop(self) -> Deferred[None]:
        """
        Export the spans and metrics that are left; fires when that is done, or takes
        too long.
        """


class TelemetryOff:
    """
    No telemetry: no variable asks for it.
    """

    def callback(self, queue: str, callback: Callback) -> Callback:
        """
        C{callback} itself.
        """
        return callback

    def http_client(self, http: HTTPClient) -> HTTPClient:
        """
        C{http} itself.
        """
        return http

    def stop(self) -> Deferred[None]:
        """
        Nothing is left.
        """
        return succeed(None)


#: No telemetry.
OFF = TelemetryOff()


def telemetry_of(
    reactor: Any = None, environ: Mapping[str, str] = os.environ
) -> Telemetry:
    """
    The telemetry that the C{OTEL_*} variables ask for, begun.  If it cannot be had, the
    log tells why, and there is none.
    """
    log = Logger(namespace="quebert.telemetry")
    signals = signals_in(environ)
    problems = problems_of(signals)
    for problem in problems:
        log.warn("No telemetry: {problem}.", problem=problem)
    if not signals.wanted or MISSING in problems:
        return OFF
    try:
        from quebert.telemetry._faults import Faults
        from quebert.telemetry._mediation import Mediation
        from quebert.telemetry._sdk import sdk_of

        faults = Faults(log.failure)
        sdk = sdk_of(signals, environ, faults, service="quebert", is_global=True)
        on = Mediation(sdk, given_or_global(reactor))
    except Exception:  # of a variable that cannot be read, say
        log.failure("No telemetry.")
        return OFF
    log.info(
        "Telemetry is on: {signals}.",
        signals=" and ".join(
            name for name in ("traces", "metrics") if getattr(signals, name)
        ),
    )
    return on
