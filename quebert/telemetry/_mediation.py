"""
The telemetry of mediators, where it is on.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from quebert._log import Logger
from quebert.boundaries import HTTPClient
from quebert.telemetry._exporter_log import ExporterLog
from quebert.telemetry._instruments import Instruments
from quebert.telemetry._processing import Callback, Processor
from quebert.telemetry._requests import traced_client
from quebert.telemetry._sdk import Sdk

__all__ = ["Mediation"]


class Mediation:
    """
    Spans and metrics of an SDK: a L{Telemetry<quebert.telemetry.mediating.Telemetry>}.
    """

    log = Logger()

    def __init__(self, sdk: Sdk, reactor: Any) -> None:
        self._sdk = sdk
        self._reactor = reactor
        self._instruments = Instruments(sdk.meter)
        self._log_no_more = ExporterLog(self._reactor.callFromThread).install()

    def callback(self, queue: str, callback: Callback) -> Callback:
        """
        A callback that makes a span of each message.
        """
        return Processor(self._sdk, self._instruments, queue, callback)

    def http_client(self, http: HTTPClient) -> HTTPClient:
        """
        A client that makes a span of each request.
        """
        return traced_client(self._sdk, self._instruments, http)

    def stop(self) -> Deferred[None]:
        """
        Export the spans and metrics that are left, within
        L{FLUSH<quebert.telemetry._sdk.FLUSH>}.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        pool = self._reactor.getThreadPool()
        in_time = await deferToThreadPool(self._reactor, pool, self._sdk.end)
        if not in_time:
            self.log.warn("The last spans and metrics were not all exported in time.")
        self._log_no_more()
