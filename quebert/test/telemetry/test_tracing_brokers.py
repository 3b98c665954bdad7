"""
One trace for a task, as a collector sees it: programs and mediators as processes of
their own, on both brokers.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from pytest_twisted import ensureDeferred

from quebert.amqp import TxAMQPClient
from quebert.test.conftest import AnyBroker, Names
from quebert.test.support import Executor, Program, until
from quebert.test.telemetry.collector import CollectedSpan, Collector, tree
from quebert.test.telemetry.recording import PARENT, SPAN, TRACE
from quebert.test.test_documents import ROOT, needs_checkout
from quebert.test.test_processes import mediator
from quebert.testing import free_port

#: What docs/tracing.rst shows.
PICTURE = """\
publish flow:tasks.medium                  by shop
  process flow:tasks.medium:tasks          attempt 1: retry, error 500
    POST                                   answered 500
  process tasks                            attempt 2: retry, error 404
    POST                                   answered 404, sent 1 time before
  process tasks                            attempt 3: done
    POST                                   answered 200, sent 2 times before
""".splitlines()

RUN = "from quebert.__main__ import main; main()"


@pytest.fixture
def collector() -> Iterator[Collector]:
    """
    A collector.
    """
    with Collector() as made:
        yield made


class Traced:
    """
    A mediator with a policy, and programs that add tasks to its queue.
    """

    def __init__(
        self,
        start: Callable[..., Program],
        broker: AnyBroker,
        folder: Path,
        names: Names,
        executor: Executor,
        collector: Collector,
    ) -> None:
        self._start = start
        self._broker = broker
        self._names = names
        self._environment = {
            "QUEBERT_AMQP_URL": broker.url,
            "OTEL_SERVICE_NAME": "shop",
            **collector.environment,
        }
        self._file = folder / "quebert.toml"
        # Whatever is tried again goes over the delay ladder.
        self._file.write_text(
            f'service.default_url = "{executor.url}"\n'
            f'[queues."{names.queue}"]\n'
            f'exchange = "{names.exchange}"\nkey = "{names.key}"\n'
            'mediator = "policy"\nhold_up_to = 0\n'
            "retry = { max_attempts = 3, min_backoff = 0.2, max_backoff = 0.2 }\n"
        )

    async def mediator(self, *options: str, **more: str) -> Program:
        """
        A mediator that consumes.
        """
        environment = {**self._environment, "OTEL_SERVICE_NAME": "", **more}
        program = mediator(
            self._start,
            self._broker,
            f"--config={self._file}",
            *options,
            **environment,
        )
        await program.said("Watching")
        return program

    async def quebert(self, *arguments: str, **more: str) -> Program:
        """
        A C{quebert} command that has succeeded.
        """
        program = self._start("-c", RUN, *arguments, **{**self._environment, **more})
        assert await program.ended() == 0, program.output
        return program

    async def add(self, *arguments: str, **more: str) -> Program:
        """
        Add a task by C{quebert add}.
        """
        exchange, key = self._names.exchange, self._names.key.replace("#", "medium")
        to = f"--exchange={exchange}", f"--key={key}"
        return await self.quebert("add", "/x", *to, *arguments, **more)

    async def redrive(self) -> Program:
        """
        Redrive what is dead.
        """
        return await self.quebert("dead", "redrive", self._names.queue)

    async def python(self, code: str, **more: str) -> Program:
        """
        A program of Python that has succeeded.
        """
        exchange, kind = self._names.exchange, self._names.key.partition(".")[0]
        said = f"exchange, kind = {exchange!r}, {kind!r}\n" + code
        program = self._start("-c", said, **{**self._environment, **more})
        assert await program.ended() == 0, program.output
        return program


@pytest.fixture
def traced_on(
    start: Callable[..., Program],
    tmp_path: Path,
    names: Names,
    executor: Executor,
    collector: Collector,
) -> Callable[[AnyBroker], Traced]:
    """
    Makes what is traced, on a broker.
    """
    return lambda broker: Traced(start, broker, tmp_path, names, executor, collector)


@pytest.fixture
def traced(traced_on: Callable[[AnyBroker], Traced], broker: AnyBroker) -> Traced:
    """
    What is traced.
    """
    return traced_on(broker)


def told_of(span: CollectedSpan) -> str:
    """
    A span in a few words, as docs/tracing.rst has them.
    """
    told = span.attributes
    match span.kind:
        case "producer":
            return f"by {span.service}"
        case "consumer":
            outcome = told["quebert.task.outcome"]
            error = f", error {told['error.type']}" if "error.type" in told else ""
            return f"attempt {told['quebert.task.attempt']}: {outcome}{error}"
        case _:
            again = told.get("http.request.resend_count")
            times = "time" if again == 1 else "times"
            before = f", sent {again} {times} before" if again else ""
            return f"answered {told['http.response.status_code']}{before}"


def answering(executor: Executor, *statuses: int) -> None:
    """
    Have the executor answer so, one after the other.
    """
    remaining = iter(statuses)
    executor.answer = lambda task: next(remaining)


async def collected(collector: Collector, count: int) -> list[CollectedSpan]:
    """
    All spans, once there are so many.
    """
    await until(lambda: len(collector.spans) >= count, shown=lambda: collector.spans)
    assert len(collector.spans) == count, tree(collector.spans)
    return collector.spans


@needs_checkout
def test_document() -> None:
    """
    The picture of a trace in the documentation is that of L{test_three_attempts}.
    """
    shown = "".join(f"    {line}\n" for line in PICTURE)
    assert shown in (ROOT / "docs/tracing.rst").read_text("utf-8")


@ensureDeferred
async def test_three_attempts(
    traced_on: Callable[[AnyBroker], Traced],
    either: AnyBroker,
    executor: Executor,
    collector: Collector,
    names: Names,
) -> None:
    """
    A task with three attempts is one trace, and the executor gets its part of it.
    """
    traced = traced_on(either)
    answering(executor, 500, 404, 200)
    running = await traced.mediator()
    await traced.add("--uuid=u-1")
    spans = await collected(collector, 7)
    key = names.key.replace("#", "medium")
    publish = f"{names.exchange}:{key}"
    as_documented = [
        attrs.evolve(
            each,
            name=each.name.replace(names.queue, "tasks").replace(
                publish, "flow:tasks.medium"
            ),
        )
        for each in spans
    ]
    assert tree(as_documented, told_of) == PICTURE
    [sent] = (each for each in spans if each.kind == "producer")
    processed = [each for each in spans if each.kind == "consumer"]
    requested = [each for each in spans if each.kind == "client"]
    assert {each.trace for each in spans} == {sent.trace}
    assert (sent.parent, sent.service) == ("", "shop")
    assert {each.service for each in processed + requested} == {"quebert"}
    assert {each.attributes["messaging.message.id"] for each in processed} == {"u-1"}
    assert [each.links for each in processed] == [(sent.id,)] * 3
    told = [
        (
            each.attributes["quebert.task.attempt"],
            each.attributes["quebert.task.outcome"],
            each.attributes.get("error.type"),
            each.is_error,
        )
        for each in processed
    ]
    assert told == [
        (1, "retry", "500", True),
        (2, "retry", "404", True),
        (3, "done", None, False),
    ]
    again = [each.attributes.get("http.request.resend_count") for each in requested]
    assert again == [None, 1, 2]
    assert [each["traceparent"][:-3] for each in executor.headers] == [
        f"00-{each.trace}-{each.id}" for each in requested
    ]
    wanted = {
        "http.client.request.duration": 3,
        "messaging.client.sent.messages": 1,
        "messaging.client.operation.duration": 1,
        "messaging.client.consumed.messages": 3,
        "messaging.process.duration": 3,
    }

    def counts() -> dict[str, int]:
        return {name: sum(collector.points(name).values()) for name in wanted}

    await until(lambda: counts() == wanted, shown=counts)
    running.signal(signal.SIGTERM)
    assert await running.ended() == 0, running.output
    assert "Telemetry is on: traces and metrics." in running.output


@ensureDeferred
async def test_buried_and_redriven(
    traced_on: Callable[[AnyBroker], Traced],
    either: AnyBroker,
    executor: Executor,
    collector: Collector,
) -> None:
    """
    A task that was buried goes on with its trace when it is redriven, and the trace of
    a task that nobody has traced begins with its first attempt.
    """
    traced = traced_on(either)
    answering(executor, 500, 500, 500, 200)
    await traced.mediator()
    await traced.add(OTEL_SDK_DISABLED="true")
    spans = await collected(collector, 6)
    assert [each.attributes.get("quebert.task.outcome") for each in spans[::2]] == [
        "retry",
        "retry",
        "buried",
    ]
    while "redriven 1 of 1" not in (await traced.redrive()).output:
        pass  # it is on its way there
    spans = await collected(collector, 8)
    assert {each.trace for each in spans} == {spans[0].trace}
    first = spans[0].id
    assert [each.parent for each in spans[::2]] == ["", first, first, first]
    assert "http.request.resend_count" not in spans[7].attributes  # it begins anew


#: Programs that add two tasks, one each of two ways.
PROGRAMS = {
    "blocking": """
from quebert.producer import add_task, add_tasks
options = {"exchange": exchange}
add_task("/x", kind=kind, **options)
add_tasks([{"url": "/x", "kind": kind}, {"url": 7}], print, **options)
""",
    "asyncio": """
import asyncio
from quebert.producer.aio import add_task, add_tasks
options = {"exchange": exchange}
async def main():
    await add_task("/x", kind=kind, **options)
    await add_tasks([{"url": "/x", "kind": kind}], print, **options)
asyncio.run(main())
""",
    "twisted": """
import os
from twisted.internet.task import react
from twisted.internet.defer import ensureDeferred
from quebert.amqp import TxAMQPClient
from quebert.producer import Producer
async def main(reactor):
    client = TxAMQPClient.from_url(os.environ["QUEBERT_AMQP_URL"], reactor=reactor)
    producer = Producer(client, exchange)
    await producer.add_task("/x", kind=kind)
    await producer.add_tasks([{"url": "/x", "kind": kind}], print)
    await client.stop(0)
react(lambda reactor: ensureDeferred(main(reactor)))
""",
}

#: The same within a span of the program, which has set the SDK up itself.
_OWN_SDK = """
import atexit
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
provider = TracerProvider(resource=Resource({"service.name": "own"}))
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
page = trace.get_tracer("shop").start_as_current_span("page")
page.__enter__()
atexit.register(page.__exit__, None, None, None)
"""


@pytest.mark.parametrize("program", PROGRAMS)
@ensureDeferred
async def test_producers(
    traced: Traced,
    names: Names,
    collector: Collector,
    program: str,
) -> None:
    """
    Each way to add tasks is traced, below the span of the program that is current.
    """
    await traced.mediator()
    await traced.python(_OWN_SDK + PROGRAMS[program])
    spans = await collected(collector, 7)
    publish = f"{names.exchange}:{names.key.replace('#', 'medium')}"
    task = [
        f"  publish {publish}",
        f"    process {publish}:{names.queue}",
        "      POST",
    ]
    assert tree(spans) == ["page", *task, *task]
    assert {each.service for each in spans if each.kind == "producer"} == {"own"}


#: A program whose child adds a task, too; each ends by itself.
_FORKED = """
import os
from quebert.producer import add_task
add_task("/x", kind=kind, exchange=exchange)
if os.fork():
    assert os.wait()[1] == 0
else:
    add_task("/x", kind=kind, exchange=exchange)
"""


@pytest.mark.any_broker
@ensureDeferred
async def test_forked(
    traced: Traced,
    collector: Collector,
) -> None:
    """
    A child process of a program exports its own spans.
    """
    await traced.mediator()
    await traced.python(_FORKED)
    spans = await collected(collector, 6)
    sent = [each for each in spans if each.kind == "producer"]
    assert len({each.trace for each in sent}) == 2


@pytest.mark.any_broker
@ensureDeferred
async def test_workers(
    traced: Traced, executor: Executor, collector: Collector
) -> None:
    """
    Each process of a mediator exports what it has done, also where it ends at once.
    """
    slow = {"OTEL_BSP_SCHEDULE_DELAY": "600000", "OTEL_METRICS_EXPORTER": "none"}
    running = await traced.mediator("--processes=2", **slow)
    await until(lambda: running.output.count("Telemetry is on: traces.") == 2)
    await traced.add(OTEL_SDK_DISABLED="true")
    await until(lambda: executor.tasks)
    running.signal(signal.SIGTERM)
    assert await running.ended() == 0, running.output
    assert [span.kind for span in await collected(collector, 2)] == [
        "consumer",
        "client",
    ]


@pytest.mark.any_broker
@pytest.mark.parametrize("collector_is", ["down", "hanging", "failing", "slow"])
@ensureDeferred
async def test_no_collector(
    traced: Traced,
    executor: Executor,
    collector: Collector,
    collector_is: str,
) -> None:
    """
    Whatever the collector does, tasks are done; the log tells in a few lines, and
    programs end.
    """
    more = {"OTEL_BSP_MAX_QUEUE_SIZE": "16", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8"}
    match collector_is:
        case "down":
            more["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"
        case "hanging" | "slow":
            collector.go_on.clear()
        case "failing":
            collector.status = 400
    running = await traced.mediator(**more)
    await traced.python(
        """
from quebert.producer import add_task, add_tasks
add_tasks([{"url": "/x", "kind": kind}] * 200, lambda r: None, exchange=exchange)
""",
        **more,
    )
    await until(lambda: len(executor.tasks) == 200)
    await running.said("OpenTelemetry: ")
    if collector_is == "slow":
        collector.go_on.set()
    running.signal(signal.SIGTERM)
    assert await running.ended() == 0, running.output
    lines = running.output.splitlines()
    told = [line for line in lines if "OpenTelemetry: " in line]
    assert 0 < len(told) < 10, running.output
    assert "Traceback" not in running.output
    assert bool(collector.spans) is (collector_is == "slow")
    if collector_is == "hanging":
        assert "not all exported in time" in running.output


@ensureDeferred
async def test_hostile_headers(
    traced: Traced,
    client: TxAMQPClient,
    collector: Collector,
    names: Names,
) -> None:
    """
    Headers of messages that are no trace are ignored; a good one goes on.
    """
    await traced.mediator(OTEL_METRICS_EXPORTER="none")
    key = names.key.replace("#", "high")
    values: list[Any] = ["", "é" * 55, PARENT[:-1], b"\xff" * 9_000, 7, {"a": 1}]
    for value in [*values, PARENT]:
        headers = {"traceparent": value, "tracestate": value}
        properties = {"headers": headers, "delivery-mode": 2}
        await client.publish(names.exchange, key, b'{"url": "/x"}', properties)
    spans = await collected(collector, 14)
    processed = [each for each in spans if each.kind == "consumer"]
    roots = [each for each in processed if not each.parent]
    assert len({each.trace for each in roots}) == len(values) == len(roots)
    [good] = (each for each in processed if each.parent)
    assert (good.trace, good.parent) == (TRACE, SPAN)
    assert "/v1/metrics" not in collector.paths


@ensureDeferred
async def test_sampled_out(
    traced: Traced, executor: Executor, collector: Collector
) -> None:
    """
    A trace that the producer does not sample is sampled by nobody, in no attempt.
    """
    answering(executor, 500, 200, 200)
    running = await traced.mediator()
    await traced.add(OTEL_TRACES_SAMPLER="always_off")
    await until(lambda: len(executor.tasks) == 2)
    await traced.add()
    await collected(collector, 3)
    running.signal(signal.SIGTERM)
    await running.ended()
    spans = await collected(collector, 3)
    assert not any(
        int(each["traceparent"][-2:], 16) & 1 for each in executor.headers[:2]
    )
    assert len({each.trace for each in spans}) == 1
