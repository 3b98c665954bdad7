"""
What OpenTelemetry costs a mediator per task: microseconds of processor time in the
thread of the reactor, and in all threads, with nothing switched on, and with more and
more of it.

A task is a message with C{traceparent}, which a mediator requests of an HTTP client
that answers at once: so that the rest of a task is small, and the same.  Each line is
the best of several processes of its own.  The collector is a web server that takes all.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

TASKS = 20_000
#: The variables of each line.
CASES: Mapping[str, Mapping[str, str]] = {
    "a bare mediator": {"BENCH_BARE": "1"},
    "telemetry off": {"OTEL_SDK_DISABLED": "true"},
    "metrics": {"OTEL_TRACES_EXPORTER": "none"},
    "traces, none sampled": {
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_TRACES_SAMPLER": "always_off",
    },
    "traces, 1 in 100 sampled": {
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_TRACES_SAMPLER": "traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.01",
    },
    "traces": {"OTEL_METRICS_EXPORTER": "none"},
    "traces and metrics": {},
}


def work() -> None:
    """
    Mediate tasks, and print what it took.
    """
    from twisted.internet import reactor
    from twisted.internet.defer import succeed

    from quebert._protocol.properties import encode_properties
    from quebert.amqp.watch._delivered_message import DeliveredMessage
    from quebert.http._response import Response
    from quebert.mediator import Mediator
    from quebert.outcome import Done
    from quebert.telemetry.mediating import telemetry_of

    nobody: Any = None
    answer = Response(200, [b"HTTP/1.1 200 OK\r\n\r\n"], nobody, 9, complete=True)
    http: Any = SimpleNamespace(request=lambda *args, **more: succeed(answer))
    mediator = Mediator(http=http)
    callback: Any = mediator.messageReceived
    if not os.environ.get("BENCH_BARE"):
        telemetry = telemetry_of(reactor)
        mediator.http = telemetry.http_client(http)
        callback = telemetry.callback("tasks", callback)
    parent = os.urandom(16)

    def some(count: int) -> None:
        for number in range(count):
            trace = (int.from_bytes(parent) ^ (number << 90) ^ number).to_bytes(16)
            headers = {"traceparent": f"00-{trace.hex()}-{'1' * 16}-01"}
            message = DeliveredMessage("c", number, False, "flow", "tasks.medium")
            message.body = b'{"url": "http://localhost:8000/tasks", "uuid": "u"}'
            message.encoded_properties = encode_properties(
                {"headers": headers, "message-id": "u"}
            )
            message.may_have_past = False
            assert callback(message).result == Done()

    some(2_000)
    own, every = time.thread_time(), time.process_time()
    some(TASKS)
    own, every = time.thread_time() - own, time.process_time() - every
    sys.stdout.write(json.dumps([own / TASKS * 1e6, every / TASKS * 1e6]))
    sys.stdout.flush()
    os._exit(0)  # whatever is left need not be exported


class Taking(BaseHTTPRequestHandler):
    """
    Takes all.
    """

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """
        Take it.
        """
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """
        Nothing is logged.
        """


def main() -> None:
    """
    Measure all.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="of each line")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        work()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    sys.stdout.write(f"{'µs per task':28}{'reactor':>9}{'all':>9}\n")
    best = {name: [1e9, 1e9] for name in CASES}
    environ = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    for _ in range(asked.runs):
        for name, variables in CASES.items():
            done = subprocess.run(
                [sys.executable, __file__, "--work"],
                env={**environ, **variables},
                stdout=subprocess.PIPE,
                check=True,
            )
            best[name] = list(map(min, best[name], json.loads(done.stdout)))
    for name, (own, every) in best.items():
        sys.stdout.write(f"{name:28}{own:9.1f}{every:9.1f}\n")


if __name__ == "__main__":
    main()
