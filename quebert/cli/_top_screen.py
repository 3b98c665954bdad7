"""
C{quebert top}: from a view to the lines of a terminal, of any size.  Pure, but for the
time zone.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from quebert._text import printable
from quebert.cli._amounts import UNKNOWN, amount, duration, rate, sparkline
from quebert.cli._moments import moment
from quebert.cli._top_columns import LONG_NAME, LONG_SPARK, NAME, fitting, padded
from quebert.cli._top_keys import Selection, shown
from quebert.operations import Live, LiveHost, LiveMediator, LiveQueue

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["HELP", "Screen"]

#: The keys.
HELP = (
    ("j, k, arrows", "select the next, the previous queue; g, G the first, the last"),
    ("p", "pause the selected queue, or have it go on; asks first"),
    ("/", "show only queues with a text in their names; Esc shows all"),
    ("?", "this help"),
    ("q, Ctrl-C", "quit"),
)
_LEGEND = (
    "ready: tasks that wait for a mediator. delay: that wait for their time. run: that"
    " mediators have. retry: that wait to be tried again. dead: that were given up."
    " in, out: tasks a second. p50, p99: seconds that half, and 99 of 100 of the"
    " requests of the last minute took at most. old: for how long the first one waits,"
    " at most. cons: consumers. ? is unknown."
)
_KEYS = "keys: q quit  j/k select  p pause/resume  / filter  ? help"
# Lines of other things than queues.
_SOME = 6


class Screen:
    """
    Draws.

    @param where: the broker, for the first line.
    @param colours: whether there are any.
    @param ascii_only: whether the terminal shows no other characters.
    """

    def __init__(
        self, where: str, *, colours: bool = True, ascii_only: bool = False
    ) -> None:
        self._where = printable(where)
        self._colours = colours
        self._ascii_only = ascii_only

    def lines(
        self, view: Live, selection: Selection, message: str, size: tuple[int, int]
    ) -> list[str]:
        """
        What the terminal is to show.

        @param message: for the last line.
        @param size: columns and rows.
        """
        columns, rows = max(20, size[0]), max(4, size[1])
        if selection.helping:
            body = [*self._help(columns)]
        else:
            body = [*self._body(view, selection, columns, rows - 2)]
        body = body[: rows - 2]
        body += [self._text()] * (rows - 2 - len(body))
        head = self._head(view, columns)
        foot = self._foot(view, selection, message)
        return self._rendered([head, *body, foot], columns)

    # -- Parts

    def _head(self, view: Live, columns: int) -> Text:
        clock = time.strftime("%H:%M:%S", time.localtime(view.at))
        lost = sum(each.lost for each in view.mediators)
        there = _counted(len(view.mediators) - lost, "mediator")
        told = f"{_counted(len(view.queues), 'queue')}  {there}  {clock}"
        room = columns - len(told) - 2
        where = f"quebert top  {self._where}"
        return self._text(f"{where[:room]:{max(0, room)}}  {told}", "reverse")

    def _foot(self, view: Live, selection: Selection, message: str) -> Text:
        if selection.asked is not None:
            word = "Pause" if selection.asked.pause else "Resume"
            return self._text(f"{word} {selection.asked.queue}? y/n", "bold yellow")
        if selection.typing:
            return self._text(f"/{selection.filter}_", "bold")
        if message:
            return self._text(message, "bold")
        if view.problems:
            more = f" (and {len(view.problems) - 1} more)" * (len(view.problems) > 1)
            return self._text(view.problems[0] + more, "red")
        shown = f"  (/{selection.filter})" if selection.filter else ""
        return self._text(_KEYS + shown, "dim")

    def _help(self, columns: int) -> Iterator[Text]:
        yield self._text()
        for keys, what in HELP:
            yield self._text(f"  {keys:14} {what}")
        yield self._text()
        words, line = _LEGEND.split(), " "
        for word in words:
            if len(line) + len(word) + 1 > columns - 2:
                yield self._text(line)
                line = " "
            line += f" {word}"
        yield self._text(line)

    def _body(
        self, view: Live, selection: Selection, columns: int, rows: int
    ) -> Iterator[Text]:
        details = [*self._details(view, selection, columns)]
        hosts = [*self._hosts(view.hosts, columns)]
        mediators = [*self._mediators(view.mediators, columns)]
        others = [*details]
        for part in (hosts, mediators):
            if part and rows - len(others) - len(part) > 6:
                others += [self._text(), *part]
        queues = shown(view, selection)
        room = max(1, rows - len(others) - 1)
        names = [each.name for each in queues]
        place = names.index(selection.queue) if selection.queue in names else 0
        first = max(0, min(place - room // 2, len(queues) - room))
        yield from self._queues(queues[first : first + room], place - first, columns)
        if not queues:
            yield self._text("no queue", "dim")
        yield from others

    def _queues(
        self, queues: Sequence[LiveQueue], place: int, columns: int
    ) -> Iterator[Text]:
        kept, name, spark = fitting([each.name for each in queues], columns)
        heads = "".join(f" {each.head:>{each.width}}" for each in kept)
        yield self._text(f"{'queue':{name}}{heads}{' out' if spark else ''}", "bold")
        for number, queue in enumerate(queues):
            line = self._text(padded(queue.name, name))
            for each in kept:
                text, style = each.cell(queue)
                line.append(f" {text:>{each.width}}", style or None)
            if spark:
                bars = sparkline(queue.series_out, spark, ascii_only=self._ascii_only)
                line.append(f" {bars}", "green")
            if number == place:
                line.stylize("reverse")
            yield line

    def _details(
        self, view: Live, selection: Selection, columns: int
    ) -> Iterator[Text]:
        queues = shown(view, selection)
        if not queues:
            return
        chosen = [each for each in queues if each.name == selection.queue]
        queue = (chosen or queues)[0]
        yield self._text()
        room = max(1, min(LONG_SPARK, columns - 30))
        for word, series, mean in (
            ("in", queue.series_in, queue.rate_in),
            ("out", queue.series_out, queue.rate_out),
        ):
            bars = sparkline(series, room, ascii_only=self._ascii_only)
            line = self._text(f"{word:4}")
            line.append(bars, "green")
            line.append(f" {rate(mean)}/s, {amount(max(series, default=0))} at most")
            yield line
        if queue.consumers is not None:
            yield self._text(_counted(queue.consumers, "consumer"))
        if queue.paused:
            by = f" by {queue.paused_by}" if queue.paused_by else ""
            since = moment(queue.paused_since)
            yield self._text(f"paused{by}{since and f' since {since}'}", "yellow")
        for origin in queue.breakers:
            yield self._text(f"{origin} is left alone by its circuit breaker", "red")
        for each in queue.problems:
            yield self._text(each, "red")

    def _hosts(self, hosts: Sequence[LiveHost], columns: int) -> Iterator[Text]:
        if not hosts:
            return
        first = sorted(
            hosts, key=lambda each: (each.breaker in ("", "closed"), -each.in_flight)
        )
        name = max(NAME, min(LONG_NAME, columns - 42))
        head = f"{'host':{name}} {'flight':>6} {'limit':>6} {'rate/s':>6}  breaker"
        yield self._text(head, "bold")
        for each in first[:_SOME]:
            limit = UNKNOWN if each.limit is None else amount(each.limit)
            line = self._text(
                f"{padded(each.origin, name)} {amount(each.in_flight):>6}"
                f" {'' if each.limit is None else limit:>6}"
                f" {'' if each.rate is None else amount(each.rate):>6}  "
            )
            until = each.open_until
            open_for = "" if until is None else f" until {moment(until)[11:]}"
            is_open = each.breaker == "open"
            told = each.breaker + open_for if is_open else each.breaker
            line.append(told, "red" if is_open else None)
            yield line
        yield from self._more(len(hosts))

    def _mediators(
        self, mediators: Sequence[LiveMediator], columns: int
    ) -> Iterator[Text]:
        if not mediators:
            return
        first = sorted(mediators, key=lambda each: (not each.lost, each.name))
        name = max(NAME, min(LONG_NAME, columns - 46))
        head = f"{'mediator':{name}} {'cpu':>5} {'memory':>6} {'lag':>5} {'flight':>6}"
        yield self._text(f"{head}  up", "bold")
        for each in first[:_SOME]:
            cpu = UNKNOWN if each.cpu is None else f"{each.cpu:.0%}"
            flight = sum(watch.in_flight for watch in each.queues.values())
            line = self._text(
                f"{padded(f'{each.host} {each.pid}', name)} {cpu:>5}"
                f" {amount(each.memory):>6} {duration(each.lag):>5}"
                f" {amount(flight):>6}  "
            )
            if each.lost:
                line.append("lost", "red")
            else:
                line.append(duration(each.at - each.started))
            yield line
        yield from self._more(len(mediators))

    def _more(self, count: int) -> Iterable[Text]:
        if count > _SOME:
            yield self._text(f"and {count - _SOME} more", "dim")

    # -- Writing

    def _text(self, text: str = "", style: str = "") -> Text:
        from rich.text import Text

        return Text(printable(text), style, no_wrap=True, overflow="crop", end="")

    def _rendered(self, texts: Iterable[Text], columns: int) -> list[str]:
        from rich.console import Console

        console = Console(
            file=io.StringIO(),
            width=columns,
            force_terminal=self._colours,
            color_system="standard" if self._colours else None,
            legacy_windows=False,
            highlight=False,
            _environ={},
        )
        found = []
        for each in texts:
            each.truncate(columns, overflow="crop")
            with console.capture() as capture:
                console.print(each, end="", crop=True)
            found.append(capture.get())
        return found


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
