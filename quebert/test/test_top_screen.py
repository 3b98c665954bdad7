"""
Tests for L{quebert.cli._top_screen}: what C{quebert top} shows.
"""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from twisted.trial.unittest import SynchronousTestCase

from quebert.cli._top_keys import PauseWish, Selection
from quebert.cli._top_screen import Screen
from quebert.events import WatchState
from quebert.operations import Live, LiveHost, LiveMediator, LiveQueue

MAIL = LiveQueue(
    name="mail",
    exists=True,
    ready=12_345,
    delayed=4,
    running=100,
    retrying=2,
    dead=3,
    consumers=2,
    paused=True,
    paused_by="ada@laptop",
    paused_since=1e9,
    rate_in=120.4,
    rate_out=99.3,
    oldest=4.2,
    p50=0.012,
    p99=1.3,
    series_in=tuple(map(float, range(60))),
    series_out=tuple(map(float, range(60))),
    breakers=("https://x.example",),
)
HOST = LiveHost(
    origin="https://x.example", breaker="open", open_until=2e9, limit=8.0, in_flight=3
)
MEDIATOR = LiveMediator(
    name="m1",
    host="web1",
    pid=1234,
    version="1",
    started=1e9,
    at=1e9 + 7200,
    cpu=0.43,
    memory=123_456_789,
    queues={"mail": WatchState(consuming=True, in_flight=9)},
)
NOTHING = Selection()
VIEW = Live(at=1e9, queues=(MAIL,), hosts=(HOST,), mediators=(MEDIATOR,))


class ScreenTests(SynchronousTestCase):
    """
    The lines of a terminal.
    """

    def lines(
        self,
        view: Live = VIEW,
        selection: Selection = NOTHING,
        message: str = "",
        size: tuple[int, int] = (80, 24),
        **how: Any,
    ) -> list[str]:
        """
        What it shows, without colours.
        """
        screen = Screen("rabbit:5672", **{"colours": False, **how})
        return screen.lines(view, selection, message, size)

    def test_80_columns(self) -> None:
        """
        All that matters fits into 80 columns and 24 rows.
        """
        lines = self.lines()
        self.assertEqual(len(lines), 24)
        heads = "queue ready delay run retry dead in/s out/s p50 p99 old state"
        self.assertEqual(lines[1].split(), heads.split())
        cells = "mail 12.3k 4 100 2 3 120 99 12ms 1.3s 4.2s paused"
        self.assertEqual(lines[2].split(), cells.split())
        text = "\n".join(lines)
        self.assertIn("1 queue  1 mediator", lines[0])
        for part in (
            "2 consumers",
            "paused by ada@laptop since 2001-09-0",
            "https://x.example is left alone by its circuit breaker",
            "▇▇█",
            "web1 1234",
            "43%   123M    0s      9  2h",
            "open until",
        ):
            self.assertIn(part, text)
        self.assertIn("q quit", lines[-1])

    def test_wide(self) -> None:
        """
        With more columns there are sparklines in the table, too.
        """
        lines = self.lines(size=(160, 40))
        self.assertTrue(lines[1].endswith("state out"), lines[1])
        self.assertTrue(lines[2].endswith("█"), lines[2])

    def test_last_line(self) -> None:
        """
        It asks, or takes a filter, or tells a message, or a problem; else the keys.
        """
        asked = Selection(asked=PauseWish("mail", True))
        self.assertEqual(self.lines(selection=asked)[-1].rstrip(), "Pause mail? y/n")
        typing = Selection(typing=True, filter="ma")
        self.assertEqual(self.lines(selection=typing)[-1].rstrip(), "/ma_")
        self.assertEqual(self.lines(message="so")[-1].rstrip(), "so")
        view = attrs.evolve(VIEW, problems=("bad", "worse"))
        self.assertEqual(self.lines(view)[-1].rstrip(), "bad (and 1 more)")
        self.assertIn("(/ma)", self.lines(selection=Selection(filter="ma"))[-1])

    def test_help(self) -> None:
        """
        The keys and the columns are explained.
        """
        text = "\n".join(self.lines(selection=Selection(helping=True)))
        self.assertIn("pause the selected queue", text)
        self.assertIn("p50, p99", text)

    def test_scrolls(self) -> None:
        """
        The selected queue is shown, however many there are.
        """
        names = [f"queue{number:03}" for number in range(200)]
        queues = tuple(LiveQueue(name=each) for each in names)
        view = Live(at=0.0, queues=queues)
        for name in ("queue000", "queue100", "queue199"):
            text = "\n".join(self.lines(view, Selection(queue=name)))
            self.assertIn(name, text)

    def test_unknown(self) -> None:
        """
        What nobody tells is a question mark; where there is nothing, it says so.
        """
        view = Live(at=0.0, queues=(LiveQueue(name="a"),))
        self.assertEqual(self.lines(view)[2].split()[:11], ["a", *"??????????"])
        self.assertIn("no queue", self.lines(Live(at=0.0))[2])

    def test_colours(self) -> None:
        """
        There are colours, where they are wanted; names cannot choose any.
        """
        self.assertIn("\x1b[", "".join(self.lines(colours=True)))
        evil = LiveQueue(name="\x1b[31m[bold]a\n", problems=("\x1b]0;x\x07",))
        text = "\n".join(self.lines(Live(at=0.0, queues=(evil,))))
        self.assertNotIn("\x1b", text)
        self.assertIn("?[31m[bold]a?", text)

    def test_lost(self) -> None:
        """
        A mediator that tells nothing is lost.
        """
        lost = attrs.evolve(MEDIATOR, lost=True)
        text = "\n".join(self.lines(attrs.evolve(VIEW, mediators=(lost,))))
        self.assertIn("0 mediators", text)
        self.assertIn("lost", text)

    def test_ascii(self) -> None:
        """
        A terminal without Unicode gets other bars.
        """
        self.assertTrue("".join(self.lines(ascii_only=True)).isascii())

    @settings(deadline=None, max_examples=30)
    @given(
        st.integers(1, 250),
        st.integers(1, 60),
        st.lists(st.text(min_size=1, max_size=80), max_size=9),
    )
    def test_any_size(self, columns: int, rows: int, names: list[str]) -> None:
        """
        No line is longer than the terminal, and there are no more than it has.
        """
        queues = tuple(attrs.evolve(MAIL, name=each) for each in names)
        view = attrs.evolve(VIEW, queues=queues, problems=("x" * 300,))
        lines = self.lines(view, size=(columns, rows))
        self.assertEqual(len(lines), max(4, rows))
        for each in lines:
            self.assertLessEqual(cell_len(each), max(20, columns), each)
