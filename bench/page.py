"""
What a race has found, for people: a table in the terminal, and C{RESULTS.rst}
with its chart.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from chart import Bar, chart
from results import Results, Row, rows
from rich.table import Table

_DOC = Path(__file__).parent
CHART = _DOC / "results.svg"
PAGE = _DOC / "RESULTS.rst"
RAW = _DOC / "results.json"
_CHART_TITLE = "Microseconds of CPU a task"


def _given(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.1f}"


#: What a table shows: a heading, in two lines, and how a row fills it.
COLUMNS: dict[str, Callable[[Row], str]] = {
    "CPU µs\na task": lambda row: f"{row.cpu:,.0f}",
    "tasks/s": lambda row: f"{row.rate:,.0f}",
    "\N{MULTIPLICATION SIGN}\nquebert": lambda row: _given(row.times),
    "p50\nms": lambda row: _given(row.p50),
    "p99\nms": lambda row: _given(row.p99),
    "memory\nMB": lambda row: f"{row.memory:.0f}",
    "broker\nµs": lambda row: f"{row.broker:.0f}",
    "web\nµs": lambda row: f"{row.web:.0f}",
    "busy\n%": lambda row: f"{row.busy * 100:.0f}",
}

_PAGE = """\
Results
=======

.. Written by bench/race.py --write; do not edit.

What does it cost to take a task from RabbitMQ, POST it to a web server, and
acknowledge it once the answer is a 2xx? Here quebert and {others} other
dispatchers do just that, each in one worker process, with at most
{concurrency} tasks at once.

.. image:: results.svg
   :alt: {alt}

{table}

How to read it
--------------

CPU µs a task
    Microseconds of CPU time, user and kernel, that the dispatcher's processes
    need for a task, median of {rounds}, whose range is below. Less is
    better; of all figures this depends least on what else the machine does.
tasks/s
    Tasks a second when its queue is never empty, median. Dispatcher, broker and
    web server share {cores} cores, so this is not its CPU's reciprocal.
\N{MULTIPLICATION SIGN} quebert
    Its CPU time in terms of quebert's.
p50 ms, p99 ms
    Milliseconds from the publication of a task until its request has arrived,
    for half and for 99 in 100 of the tasks, at {rate:g} tasks a second.
memory MB
    Of all its processes at the end of the measured interval, the pages that
    they share counted once (PSS).
broker µs, web µs
    CPU time a task of RabbitMQ and of the web server, in the same interval: a
    dispatcher makes work for them, too.
busy %
    The dispatcher's CPU time in terms of the time that passed. Near 100 it was
    itself what limited the rate; a good deal less, and it waited for the others,
    for a core or for answers.

How it is measured
------------------

* RabbitMQ and the web server are started for the race, on the loopback. nginx
  has one worker, and answers any POST at once with 200 and ``{{"ok":true}}``.
* {warmup:,} tasks of warm-up and {tasks:,} that count are in a durable classic
  queue, persistent, before the dispatcher is started. Each becomes a POST of
  80 to 180 bytes of JSON: the task's URL and its parameters. Every dispatcher
  gets its tasks as its own producer makes them: one is made so, and published
  again and again with new identifiers.
* CPU is read from outside, from the kernel's scheduler (``schedstat``, in
  nanoseconds), summed over all threads of the process and its descendants, when
  the web server has counted {warmup:,} requests and again when it has counted
  {total:,}: starting up is no part of it.
* A round counts only if the web server has seen as many requests as there were
  tasks, and if the queue is empty after the dispatcher has ended: nothing lost,
  nothing requested twice, all acknowledged. Else the race ends with an error.
* They take turns ({rounds} of them all), so that whatever changes on the
  machine changes for all.
* For the latency a process of its own publishes {rate:g} tasks a second, at
  steady times, for {seconds:g} seconds after {lead:g} of warm-up; each says when it
  was published. ``bench/server.py`` receives them, and notes when. Turns of
  each dispatcher: {turns}; the figures are their medians.

What is not measured: retries, executors that are slow or fail, TLS, many queues,
large tasks, and more than one worker process. Celery, Dramatiq, Taskiq and
FastStream run any Python function; here that function makes a request, because
that is what is compared.

How each is set up
------------------

No results are kept, logs are at the level of warnings, and no task writes a
line to them. All programs are in ``bench/peers/``.

{setups}

CPU in all rounds
-----------------

Microseconds a task.

{ranges}

The machine
-----------

Measured on {date}.

{machine}

Versions
--------

{versions}

Run it again
------------

::

    make bench                              # all of it
    make bench ARGS=--write                 # and write this page
    make bench ARGS='--rounds 1 --tasks 5000 --only quebert,aio-pika'

``bench/results.json`` has the figures of all rounds; ``--from`` shows them, or
with ``--write`` makes this page from them, and measures nothing.
"""


def shown(results: Results) -> Table:
    """
    The table for a terminal.
    """
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    for heading in COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows(results):
        style = "bold" if row.name == "quebert" else None
        table.add_row(row.title, *(fill(row) for fill in COLUMNS.values()), style=style)
    return table


def write(results: Results) -> None:
    """
    Write the page, its chart, and the raw figures.
    """
    results.save(RAW)
    PAGE.write_text(page(results), encoding="utf-8")
    CHART.write_text(drawn(results), encoding="utf-8")


def drawn(results: Results) -> str:
    """
    The chart.
    """
    bars = [
        Bar(row.title, row.cpu, marked=row.name == "quebert") for row in rows(results)
    ]
    return chart(f"{_CHART_TITLE} (less is better)", bars)


def page(results: Results) -> str:
    """
    The page, as reStructuredText.
    """
    settings, there = results.settings, rows(results)
    return _PAGE.format(
        others=sum("quebert" not in row.title for row in there),
        alt=_alternative(there),
        table=_main_table(there),
        rounds=_rounds(settings.rounds),
        cores=results.machine["cores"],
        total=settings.warmup + settings.tasks,
        setups=_setups(results),
        ranges=_ranges(there),
        machine=_table(list(map(list, results.machine.items())), headed=False),
        versions=_versions(results),
        date=results.date,
        concurrency=settings.concurrency,
        rate=settings.rate,
        warmup=settings.warmup,
        tasks=settings.tasks,
        seconds=settings.seconds,
        lead=settings.lead,
        turns=settings.turns,
    )


def _alternative(there: list[Row]) -> str:
    """
    The chart in words, on one line.
    """
    said = "; ".join(f"{row.title} {row.cpu:,.0f}" for row in there)
    return f"{_CHART_TITLE}: {said}"


def _rounds(number: int) -> str:
    return "one round" if number == 1 else f"{number} rounds"


def _main_table(there: list[Row]) -> str:
    head = ["", *(heading.replace("\n", " ") for heading in COLUMNS)]
    return _table([head, *([row.title, *_filled(row)] for row in there)])


def _filled(row: Row) -> list[str]:
    return [fill(row) for fill in COLUMNS.values()]


def _ranges(there: list[Row]) -> str:
    head = ["", "lowest", "median", "highest"]
    lines = [
        [row.title, *(f"{x:,.0f}" for x in (row.lowest, row.cpu, row.highest))]
        for row in there
    ]
    return _table([head, *lines])


def _versions(results: Results) -> str:
    versions: dict[str, str] = {}
    for each in results.results:
        versions |= each.versions
    ordered = sorted(versions.items(), key=lambda item: item[0].lower())
    return _table([["package", "version"], *map(list, ordered)])


def _setups(results: Results) -> str:
    order = [row.name for row in rows(results)]
    ordered = sorted(results.results, key=lambda each: order.index(each.name))
    return "\n".join(f"{each.title}\n{_wrapped(each.setup)}" for each in ordered)


def _wrapped(text: str) -> str:
    lines, line = [], "   "
    for word in text.split():
        if len(line) + len(word) > 78:
            lines.append(line)
            line = "   "
        line += f" {word}"
    return "\n".join([*lines, line])


# -- Simple tables of reStructuredText


def _table(lines: list[list[str]], *, headed: bool = True) -> str:
    """
    One whose first column is of text, and the others too unless it is headed:
    then they are of figures.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    drawn = [_line(each, widths, "<>"[headed]) for each in lines]
    if headed:
        drawn.insert(1, rule)
    return "\n".join([rule, *drawn, rule])


def _line(cells: list[str], widths: list[int], side: str) -> str:
    sides = ["<", *side * (len(cells) - 1)]
    padded = [
        f"{cell:{side}{width}}"
        for cell, width, side in zip(cells, widths, sides, strict=True)
    ]
    return "  ".join(padded).rstrip()
