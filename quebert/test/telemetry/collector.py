"""
A collector that speaks OTLP over HTTP, and keeps what it gets.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import attrs
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

__all__ = ["CollectedSpan", "Collector", "tree"]

# Where the second column of a tree begins.
_COLUMN = 43
_KINDS = {2: "server", 3: "client", 4: "producer", 5: "consumer"}


@attrs.frozen
class CollectedSpan:
    """
    A span as it came.  Ids are in hexadecimal.

    @ivar links: the spans that it has links to.
    @ivar service: that it is of.
    """

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    links: tuple[str, ...]
    began: int
    is_error: bool
    service: str
    attributes: Mapping[str, Any]


class _Collecting(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    collector: Collector


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Collecting

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        status = self.server.collector.answer(self.path, dict(self.headers), body)
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


class Collector:
    """
    A context manager, in which the collector listens.

    @ivar status: that it answers.
    @ivar go_on: it answers only while this is set.
    @ivar paths: those that were asked for.
    @ivar headers: those of the last request.
    """

    def __init__(self) -> None:
        self.status = 200
        self.go_on = threading.Event()
        self.go_on.set()
        self.paths: list[str] = []
        self.headers: dict[str, str] = {}
        self._spans: list[CollectedSpan] = []
        self._points: dict[str, dict[frozenset[tuple[str, Any]], int]] = {}
        self._server = _Collecting(("127.0.0.1", 0), _Handler)
        self._server.collector = self
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """
        The variables that have a program export to it, every tenth of a second.
        """
        port = self._server.server_address[1]
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_METRIC_EXPORT_INTERVAL": "100",
        }

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """
        Take a request.
        """
        self.paths.append(path)
        self.headers = headers
        self.go_on.wait()
        if self.status == 200 and path == "/v1/traces":
            self._take_spans(ExportTraceServiceRequest.FromString(body))
        elif self.status == 200 and path == "/v1/metrics":
            self._take_metrics(ExportMetricsServiceRequest.FromString(body))
        return self.status

    def _take_spans(self, request: ExportTraceServiceRequest) -> None:
        for of_resource in request.resource_spans:
            resource = _attributes(of_resource.resource.attributes)
            for scope in of_resource.scope_spans:
                for span in scope.spans:
                    self._spans.append(
                        CollectedSpan(
                            span.name,
                            _KINDS.get(span.kind, "internal"),
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            tuple(each.span_id.hex() for each in span.links),
                            span.start_time_unix_nano,
                            span.status.code == 2,
                            str(resource["service.name"]),
                            _attributes(span.attributes),
                        )
                    )

    def _take_metrics(self, request: ExportMetricsServiceRequest) -> None:
        for of_resource in request.resource_metrics:
            for scope in of_resource.scope_metrics:
                for metric in scope.metrics:
                    points = self._points.setdefault(metric.name, {})
                    for total in metric.sum.data_points:
                        key = frozenset(_attributes(total.attributes).items())
                        points[key] = total.as_int
                    for histogram in metric.histogram.data_points:
                        key = frozenset(_attributes(histogram.attributes).items())
                        points[key] = histogram.count

    @property
    def spans(self) -> list[CollectedSpan]:
        """
        All that came, in the order in which they began.
        """
        return sorted(self._spans, key=lambda span: span.began)

    def points(self, name: str) -> dict[frozenset[tuple[str, Any]], int]:
        """
        How often a metric was recorded, by its attributes.
        """
        return dict(self._points.get(name, {}))


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        found[pair.key] = None if kind is None else getattr(pair.value, kind)
    return found


def tree(
    spans: Iterable[CollectedSpan],
    told: Callable[[CollectedSpan], str] = lambda span: "",
) -> list[str]:
    """
    Spans as lines, each behind its parent and by two more spaces to the right.

    @param told: what is to be told of a span, in a second column.
    """
    known = list(spans)
    ids = {span.id for span in known}

    def below(parent: str, depth: int) -> list[str]:
        lines: list[str] = []
        for span in known:
            above = span.parent if span.parent in ids else ""
            if above == parent:
                line = f"{'  ' * depth + span.name:{_COLUMN}}{told(span)}"
                lines += [line.rstrip(), *below(span.id, depth + 1)]
        return lines

    return below("", 0)
