"""
C{quebert top}: from its options to a live view, and the ways to show it.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

import click
from twisted.internet.defer import CancelledError, Deferred

from quebert import operations
from quebert.cli._amounts import UNKNOWN, amount, duration, rate
from quebert.cli._full_screen import FullScreen, is_full, size
from quebert.cli._looking import looked_at, looking_options
from quebert.cli._operating import run_operation, whoami
from quebert.cli._running import one_line
from quebert.cli._terminal import echo, echo_object, json_option, wants_colour
from quebert.cli._top_keys import Keyboard, Keys, PauseWish, QuitWish
from quebert.cli._top_screen import Screen
from quebert.errors import BrokerError, QuebertError
from quebert.operations import BrokerAccess, Live, LiveQueue

__all__ = ["top"]

_NO_RICH = (
    "quebert top draws with rich, which is not installed: pip install"
    " 'quebert-mediator[top]'; or give --plain for lines"
)


@click.command()
@looking_options
@click.option(
    "--plain",
    is_flag=True,
    help="Write a line for each queue each second; so it does where there is no"
    " terminal.",
)
@json_option
def top(
    *,
    queues: tuple[str, ...],
    config: str | None,
    amqp_url: str | None,
    management_url: str | None,
    plain: bool,
    as_json: bool,
) -> None:
    """
    Show queues, hosts and mediators live, until q or Ctrl-C.

    All queues of which mediators tell, or those that are named, or those of FILE. On
    a terminal, ? explains the keys.
    """
    seen = looked_at(queues, config, amqp_url, management_url, as_json)
    draws = is_full() and not plain and not as_json
    if draws and importlib.util.find_spec("rich") is None:
        raise click.ClickException(_NO_RICH)

    async def work(broker: BrokerAccess) -> None:
        if draws:
            await _Top(broker, _screen(broker)).run(seen.queues)
        else:
            writer = _write_objects if as_json else _write_lines
            await _written(broker, seen.queues, writer)

    with suppress(KeyboardInterrupt):  # that is how it ends
        run_operation(amqp_url, work, seen.broker, seen.management_url)


def _screen(broker: BrokerAccess) -> Screen:
    found = broker.broker
    vhost = "" if found.vhost == "/" else f"/{found.vhost}"
    first = found.addresses[0]
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    return Screen(
        f"{first.host}:{first.port}{vhost}",
        colours=wants_colour(),
        ascii_only=encoding != "utf8",
    )


# -- On a terminal


class _Top:
    """
    What the user sees and does.
    """

    def __init__(self, broker: BrokerAccess, screen: Screen) -> None:
        self._broker = broker
        self._screen = screen
        self._keyboard = Keyboard()
        self._keys = Keys()
        self._view = Live(at=time.time())
        self._message = "connecting ..."
        self._said_at = 0.0
        self._terminal = FullScreen(broker.reactor, self._pressed, self._redraw)
        self._has_quit = False
        self._failed: BaseException | None = None
        self._running: Deferred[None] | None = None

    async def run(self, queues: Iterable[str]) -> None:
        """
        Look on, until the user ends it.
        """
        with self._terminal.taken():
            self._draw()
            self._running = Deferred.fromCoroutine(self._look(tuple(queues)))
            try:
                await self._running
            except CancelledError:
                if self._failed is not None:
                    raise self._failed from None
                if not self._has_quit:
                    raise

    async def _look(self, queues: tuple[str, ...]) -> None:
        async with operations.live(self._broker, queues) as view:
            self._say("")
            while True:
                try:
                    self._view = await view()
                    self._forget_message()
                except BrokerError as e:  # it may come back
                    self._say(str(e))
                self._draw()

    def _end(self, failed: BaseException | None = None) -> None:
        self._failed = failed
        self._has_quit = True
        if self._running is not None:
            self._running.cancel()

    def _draw(self) -> None:
        lines = self._screen.lines(
            self._view, self._keys.selection, self._message, size()
        )
        self._terminal.draw(lines)

    def _redraw(self) -> None:
        try:
            self._draw()
        except Exception as e:  # of the reactor's call, which would log it
            self._end(e)

    def _say(self, message: str) -> None:
        self._message = one_line(message)
        self._said_at = self._broker.reactor.seconds()

    def _forget_message(self) -> None:
        if self._broker.reactor.seconds() - self._said_at > 4:
            self._message = ""

    def _pressed(self, sent: bytes) -> None:
        if not sent:  # the terminal has gone
            self._end()
            return
        for key in self._keyboard.keys(sent):
            wish = self._keys.press(key, self._view)
            if isinstance(wish, QuitWish):
                self._end()
                return
            if isinstance(wish, PauseWish):
                Deferred.fromCoroutine(self._change(wish))
        self._redraw()

    async def _change(self, wish: PauseWish) -> None:
        word = "paused" if wish.pause else "resumed"
        try:
            if wish.pause:
                self._say(f"{wish.queue} is being paused ...")
                now = await operations.pause(
                    self._broker, wish.queue, missing_ok=False, by=whoami()
                )
            else:
                now = await operations.resume(self._broker, wish.queue)
            self._say("; ".join((f"{wish.queue} is {word}", *now.problems)))
        except QuebertError as e:
            self._say(f"{wish.queue} is not {word}: {e}")
        self._redraw()


# -- In lines


class _Write(Protocol):
    """
    Writes one view, or why there is none.
    """

    def __call__(self, view: Live | None, why: str) -> object: ...


async def _written(broker: BrokerAccess, queues: Iterable[str], write: _Write) -> None:
    async with operations.live(broker, tuple(queues)) as view:
        while True:
            try:
                write(await view(), "")
            except BrokerError as e:
                write(None, str(e))


def _write_objects(view: Live | None, why: str) -> None:
    echo_object({"at": time.time(), "error": why} if view is None else view.plain)


def _write_lines(view: Live | None, why: str) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if view is None:
        echo(f"{now} Error: {why}")
        return
    for queue in view.queues:
        echo(f"{now} {queue.name} {_line(queue)}")
    for each in view.problems:
        echo(f"{now} Error: {each}")


_FORMS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "ready": ("ready", amount),
    "delayed": ("delayed", amount),
    "running": ("running", amount),
    "retrying": ("retrying", amount),
    "dead": ("dead", amount),
    "in/s": ("rate_in", rate),
    "out/s": ("rate_out", rate),
    "p50": ("p50", duration),
    "p99": ("p99", duration),
    "oldest": ("oldest", duration),
    "consumers": ("consumers", amount),
}


def _line(queue: LiveQueue) -> str:
    told = {key: form(getattr(queue, name)) for key, (name, form) in _FORMS.items()}
    paused = {True: "yes", False: "no", None: UNKNOWN}[queue.paused]
    told |= {"paused": paused, "breakers": ",".join(queue.breakers) or "-"}
    return " ".join(f"{key}={value}" for key, value in told.items())
