"""
What the commands for a person with a job to do share: their options, a question, and
how an operation is run.
"""

from __future__ import annotations

import getpass
import re
import signal
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import click
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel

from quebert.cli._running import log_problems, one_line, run
from quebert.cli._terminal import confirm, echo
from quebert.config import EMPTY_AMQP_URL, Broker, chosen_amqp_url
from quebert.errors import QuebertError
from quebert.operations import BrokerAccess

__all__ = [
    "amqp_url_option",
    "confirmed",
    "needs_yes",
    "queue_argument",
    "run_operation",
    "tell_of_beginning",
    "tell_problems",
    "whoami",
    "yes_option",
]

# Of a uuid as quebert add makes it.
_BEGINNING = re.compile(r"[0-9a-f]{4,8}|[0-9a-f]{8}-[0-9a-f-]{1,26}", re.ASCII)

T = TypeVar("T")
Work = Callable[[BrokerAccess], Coroutine[Deferred[Any], Any, T]]

queue_argument = click.argument("queue")
amqp_url_option = click.option(
    "--amqp-url",
    metavar="URL",
    help="Where the broker is; by default $QUEBERT_AMQP_URL, or guest at localhost.",
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def confirmed(question: str) -> bool:
    """
    Ask, while the reactor stands still: Ctrl-C is for the question, and SIGTERM ends
    all at once.
    """
    interrupted = signal.signal(signal.SIGINT, signal.default_int_handler)
    terminated = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        return confirm(question)
    except click.Abort:
        return False
    finally:
        signal.signal(signal.SIGINT, interrupted)
        signal.signal(signal.SIGTERM, terminated)


def needs_yes(yes: bool, as_json: bool) -> None:
    """
    Ask no program: it must have said that it is sure.
    """
    if as_json and not yes:
        raise click.UsageError("--json asks nothing: give --yes, too")


def run_operation(
    amqp_url: str | None,
    work: Work[T],
    configured: Broker | None = None,
    management_url: str | None = None,
) -> T:
    """
    Run an operation on the broker at a URL, or else on a configured one, or else where
    it is by default; tell of its failure in one line.
    """
    if amqp_url == "":
        raise click.UsageError(EMPTY_AMQP_URL)
    url = chosen_amqp_url(amqp_url)
    other = None if amqp_url else configured
    log_problems(level=LogLevel.critical)
    try:
        return run(
            lambda reactor: work(BrokerAccess(reactor, url, management_url, other))
        )
    except QuebertError as e:
        raise click.ClickException(one_line(str(e))) from None


def tell_problems(problems: Sequence[str]) -> None:
    """
    End with status 1 if there are any.
    """
    if problems:
        raise click.ClickException(one_line("; ".join(problems)))


def tell_of_beginning(uuid: str) -> None:
    """
    If a uuid that was not found may be the beginning of one, as C{quebert dev} shows
    them, tell so.
    """
    if _BEGINNING.fullmatch(uuid):
        text = f"{uuid} may be the beginning of a uuid: give the whole one, which the"
        echo(f"{text} page finds by its beginning", err=True)


def whoami() -> str:
    """
    Who gives the command, for others to see: C{"user@host"}.
    """
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # of a container, which has no name
        user = "somebody"
    return f"{user}@{socket.gethostname()}"
