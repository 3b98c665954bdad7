"""
The commands for a person with a job to do: C{quebert dead}, C{pause}, C{resume},
C{purge} and C{status}.  From options to what is asked for, and from what came of it
to words.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel

from quebert import operations
from quebert.amqp.coordination import AGAIN
from quebert.amqp.delays import arrivals_of
from quebert.amqp.queues import dead_letters_of
from quebert.cli._dead import Listing, whole
from quebert.cli._running import log_problems, one_line, run
from quebert.cli._terminal import confirm, echo
from quebert.config import EMPTY_AMQP_URL, default_amqp_url
from quebert.errors import ConfigError, QuebertError
from quebert.operations import BrokerAccess, Match, Progress, Status

__all__ = ["COMMANDS"]

T = TypeVar("T")
Work = Callable[[BrokerAccess], Coroutine[Deferred[Any], Any, T]]

_queue = click.argument("queue")
_amqp_url = click.option(
    "--amqp-url",
    metavar="URL",
    help="Where the broker is; by default $QUEBERT_AMQP_URL, or guest at localhost.",
)
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


def _parse(
    context: click.Context, option: click.Parameter, texts: Iterable[str]
) -> list[Match]:
    try:
        return [Match.parse(text) for text in texts]
    except ConfigError as e:
        raise click.UsageError(f"--match {e}") from None


_matches = click.option(
    "--match",
    "matches",
    metavar="FIELD=TEXT",
    multiple=True,
    callback=_parse,
    help="Only dead letters that match. If given several times, all must match. FIELD"
    " is kind, reason, status, answer, attempts, uuid or url. = compares the whole"
    " text, where * stands for anything; ~ looks for a part; != and !~ negate.",
)


# -- The dead


@click.group()
def dead() -> None:
    """
    What was given up: list, show, redrive or discard it.

    QUEUE is the queue that it was in; it is in QUEUE.dead now.
    """


@dead.command("list")
@_queue
@_matches
@click.option(
    "--first",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="How many of them are shown.",
)
@_amqp_url
def list_(
    *, queue: str, matches: list[Match], first: int, amqp_url: str | None
) -> None:
    """
    Count what is dead of QUEUE by kind and reason, and show the first ones.
    """
    listing = Listing(first)
    progress = _run(
        amqp_url,
        lambda broker: operations.browse(broker, queue, matches, listing.add),
    )
    if not listing.kinds and not progress.others:
        echo(f"nothing {_that(matches)}is dead in {dead_letters_of(queue)}")
    for line in listing.lines() if listing.kinds else ():
        echo(line)
    _tell_unseen(progress)
    if progress.others:
        raise click.ClickException(operations.held_by_others(dead_letters_of(queue)))


@dead.command()
@_queue
@_matches
@click.option(
    "--secrets",
    is_flag=True,
    help="Show Authorization and the like, and passwords in URLs, too.",
)
@_amqp_url
def show(
    *, queue: str, matches: list[Match], secrets: bool, amqp_url: str | None
) -> None:
    """
    Show the first that is dead of QUEUE, and matches, whole.
    """
    progress = Progress()
    letter = _run(
        amqp_url, lambda broker: operations.find(broker, queue, matches, progress)
    )
    if letter is None and progress.others:
        raise click.ClickException(operations.held_by_others(dead_letters_of(queue)))
    if letter is None:
        raise click.ClickException(
            f"nothing {_that(matches)}is dead in {dead_letters_of(queue)}"
        )
    for line in whole(letter, secrets):
        echo(line)


@dead.command()
@_queue
@_matches
@_amqp_url
def redrive(*, queue: str, matches: list[Match], amqp_url: str | None) -> None:
    """
    Put what is dead of QUEUE, and matches, back into it, to begin anew.

    It takes what is there when it begins. It may be ended at any time, and run
    again for the rest.
    """
    with _counting("redriven", queue) as progress:
        _run(
            amqp_url,
            lambda broker: operations.redrive(broker, queue, matches, progress),
        )


@dead.command()
@_queue
@_matches
@_yes
@_amqp_url
def discard(
    *, queue: str, matches: list[Match], yes: bool, amqp_url: str | None
) -> None:
    """
    Drop what is dead of QUEUE, and matches, for ever.
    """
    dead, declined = dead_letters_of(queue), False

    def sure(count: int) -> bool:
        nonlocal declined
        declined = not _confirmed(f"Discard {count} of {dead} for ever?")
        return not declined

    with _counting("discarded", queue) as progress:
        ask = None if yes else sure
        _run(
            amqp_url,
            lambda broker: operations.discard(broker, queue, matches, progress, ask),
        )
        if declined:
            raise click.Abort
    if progress.missing:
        echo(f"{progress.missing} more are not there any more")


def _that(matches: list[Match]) -> str:
    return "that matches " if matches else ""


class _Bar:
    """
    A progress bar, where somebody sees it.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._bar: Any = None

    def __call__(self, progress: Progress) -> None:
        """
        One more.
        """
        if self._bar is None and sys.stderr.isatty():
            self._bar = click.progressbar(
                length=progress.total,
                label=self._label,
                file=sys.stderr,
                update_min_steps=max(1, progress.total // 200),
            )
            self._bar.render_progress()
        if self._bar is not None:
            self._bar.update(1)

    def end(self) -> None:
        """
        No more.
        """
        if self._bar is not None:
            self._bar.render_finish()


@contextmanager
def _counting(what: str, queue: str) -> Iterator[Progress]:
    """
    Tell how far it came, however it ends.
    """
    bar = _Bar(what)
    progress = Progress(watch=bar)
    try:
        yield progress
    finally:
        bar.end()
        if progress.ended or progress.seen:
            echo(f"{what} {progress.done} of {progress.total}")
        if progress.seen and not progress.ended:
            echo(f"the others are in {dead_letters_of(queue)}: run it again", err=True)
        if progress.others:
            echo(operations.held_by_others(dead_letters_of(queue)), err=True)
        _tell_unseen(progress)


def _tell_unseen(progress: Progress) -> None:
    unseen = progress.total - progress.seen
    if progress.ended and unseen > 0:
        why = "too many before them stay there, or somebody else has taken them"
        echo(f"{unseen} more were not looked at: {why}")


# -- The living


@click.command()
@_queue
@_amqp_url
def pause(*, queue: str, amqp_url: str | None) -> None:
    """
    Have nothing more of QUEUE begun, by any mediator, until it is resumed.

    What runs may finish. Tasks can be added all the while, and wait.
    """
    now = _run(amqp_url, lambda broker: operations.pause(broker, queue))
    if now.paused is False:
        raise click.ClickException(f"somebody has resumed {queue} meanwhile")
    echo(f"paused, {_waiting(queue, now)}")
    problems = [*now.problems]
    if now.consumers:
        problems.append(
            f"{now.consumers} consumers of {queue} have not stopped yet; mediators that"
            f" may not be told stop within {AGAIN:.0f} seconds, and those that are no"
            " mediators of quebert will not stop"
        )
    _tell_problems(problems)


@click.command()
@_queue
@_amqp_url
def resume(*, queue: str, amqp_url: str | None) -> None:
    """
    Have QUEUE go on after a pause.
    """
    before = _run(amqp_url, lambda broker: operations.resume(broker, queue))
    word = "was not paused" if before.paused is False else "resumed"
    echo(f"{word}, {_waiting(queue, before)}")
    _tell_problems(before.problems)


@click.command()
@_queue
@_yes
@_amqp_url
def purge(*, queue: str, yes: bool, amqp_url: str | None) -> None:
    """
    Drop what waits in QUEUE, for ever.

    Not what runs, nor what waits elsewhere for its time. It asks first, and then drops
    as many tasks as it has said, the oldest ones, one by one; with --yes it drops all
    that wait, at once.
    """

    def sure(now: Status) -> bool:
        return _confirmed(f"{_waiting(queue, now)}: drop it for ever?")

    bar = _Bar("purged")
    progress = Progress(watch=bar)
    ask = None if yes else sure
    try:
        purged = _run(
            amqp_url, lambda broker: operations.purge(broker, queue, progress, ask)
        )
        if not purged:
            raise click.Abort
    finally:
        bar.end()
        if progress.ended or progress.done:
            echo(f"purged {progress.done} of {queue}")


@click.command()
@_queue
@_amqp_url
def status(*, queue: str, amqp_url: str | None) -> None:
    """
    Show the state of QUEUE: messages, consumers, pause and dead letters.
    """
    now = _run(amqp_url, lambda broker: operations.status(broker, queue))
    missing = now.ready is None and now.consumers is not None
    nothing = not (now.dead or now.paused or now.arrived or now.problems)
    if missing and nothing:
        _tell_unclaimed(now)
        raise click.ClickException(f"there is no queue {queue}")
    echo(f"waiting    {_known(0 if missing else now.ready)}")
    echo(f"consumers  {_known(now.consumers)}")
    echo(f"paused     {_known(now.paused)}")
    echo(f"dead       {_known(now.dead)}")
    if now.arrived:
        why = "the queue takes none for now" if now.consumers else "nobody consumes"
        where = f"due, in {arrivals_of(queue)}: {why}"
        echo(f"arrived    {now.arrived} ({where})")
    _tell_unclaimed(now)
    _tell_problems(now.problems)


def _tell_unclaimed(now: Status) -> None:
    if now.unclaimed:
        where = "due, of all queues that were not there then; see quebert doctor"
        echo(f"unclaimed  {now.unclaimed} ({where})")


def _known(value: int | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "unknown" if value is None else str(value)


def _waiting(queue: str, now: Status) -> str:
    if now.consumers is None:
        return f"an unknown number waiting in {queue}"
    if now.ready is None:
        return f"there is no queue {queue} yet"
    return f"{now.ready} waiting in {queue}"


def _tell_problems(problems: Sequence[str]) -> None:
    if problems:
        raise click.ClickException(one_line("; ".join(problems)))


#: All of them.
COMMANDS: list[click.Command] = [dead, pause, resume, purge, status]


# -- Running


def _confirmed(question: str) -> bool:
    """
    Ask, while the reactor stands still: Ctrl-C is for the question.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return confirm(question)
    except click.Abort:
        return False
    finally:
        signal.signal(signal.SIGINT, before)


def _run(amqp_url: str | None, work: Work[T]) -> T:
    if amqp_url == "":
        raise click.UsageError(EMPTY_AMQP_URL)
    url = amqp_url or default_amqp_url()
    log_problems(level=LogLevel.critical)
    try:
        return run(lambda reactor: work(BrokerAccess(reactor, url)))
    except QuebertError as e:
        raise click.ClickException(one_line(str(e))) from None
