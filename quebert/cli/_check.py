"""
C{quebert check}: whether a configuration file is right.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterator
from typing import TYPE_CHECKING, Any

import click
from twisted.logger import LogLevel

from quebert._twistd import find_hook
from quebert._url import origin_of
from quebert.cli._running import log_problems, one_line, run
from quebert.cli._terminal import echo, echo_object, json_option
from quebert.config import BadConfig, MadeQueues, QueueSettings, Settings, read
from quebert.errors import BrokerRefused, QuebertError

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["check"]

# By the value of quorum_delays.
_DELAYS = {
    None: "quorum queues if RabbitMQ has them (3.10 and newer)",
    True: "quorum queues, as configured",
    False: "classic queues, as configured: RabbitMQ may lose some when it stops",
}

# Seconds in which there must be a connection.
_PATIENCE = 10.0


@click.command()
@click.argument("file", type=click.Path())
@click.option(
    "--connect",
    is_flag=True,
    help="Ask the broker, too, whether each queue can be watched as configured.",
)
@json_option
def check(*, file: str, connect: bool, as_json: bool) -> None:
    """
    Check a configuration FILE, and do nothing else.

    Tells all that is wrong, a line each, and exits with 1. Hooks are imported, and
    secrets and certificates looked for, but no broker is asked without --connect,
    which changes nothing there, either.
    """
    report = _Remarks(as_json)
    _check(file, connect, report)
    if as_json:
        echo_object(
            {
                "file": file,
                "fine": not report.problems,
                "problems": report.problems,
                "notes": report.notes,
            }
        )
    if report.problems:
        raise SystemExit(1)


class _Remarks:
    """
    What is wrong, and what else there is to say: lines that are written at once, or
    kept for JSON.
    """

    def __init__(self, silent: bool) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []
        self._silent = silent

    def wrong(self, text: str) -> None:
        """
        Something is wrong.
        """
        self.problems.append(text)
        if not self._silent:
            echo(one_line(text), err=True)

    def note(self, text: str) -> None:
        """
        Something is good to know.
        """
        self.notes.append(text)
        if not self._silent:
            echo(one_line(text))


def _check(file: str, connect: bool, report: _Remarks) -> None:
    from quebert.service import unusable_tls, unusable_web

    try:
        settings = read(file, find=find_hook)
    except BadConfig as e:
        for each in e.problems:
            report.wrong(str(each))
        return
    for why in (*unusable_tls(settings), *unusable_web(settings)):
        report.wrong(f"{file}: {why}")
    if report.problems:
        return
    count = len(settings.queues)
    listed = f": {', '.join(settings.queues)}" if count else ""
    report.note(f"fine: {count} queue{'s' * (count != 1)}{listed}")
    if settings.made_queues.serve:
        report.note(_made(settings.made_queues))
    report.note(f"delayed tasks wait in {_DELAYS[settings.quorum_delays]}")
    queues = settings.queues.values()
    if names := [each.name for each in queues if each.guard.private == "allow"]:
        report.note(_advice(names, count))
    if names := [each.name for each in queues if each.mediator != "policy"]:
        report.note(_endless(names, count))
    for queue in queues:
        if text := _unlimited(queue, settings.hosts):
            report.note(text)
        if queue.hang_after == 0 or queue.effective_prefetch == 1:
            report.note(_may_stop(queue))
        if queue.sign is not None and _is_open(queue.sign.file):
            report.note(_open_file(queue.name, queue.sign.file))
        for risk in _risks(queue):
            report.note(risk)
    if connect:
        _look_whether_watchable(settings, report)


def _made(made: MadeQueues) -> str:
    """
    Which queues are served that are not in the file.
    """
    text = f"and queues that were made with quebert queues make: {' '.join(made.serve)}"
    if made.each is not None and made.each.guard.private == "allow":
        text += "; their tasks may reach private addresses (each.guard.private)"
    return text


def _tasks_of(names: list[str], count: int) -> str:
    """
    "tasks", with the names of their queues unless these are all that there are.

    @param count: how many queues there are.
    """
    return "tasks" if len(names) == count else f"tasks of {', '.join(names)}"


def _advice(names: list[str], count: int) -> str:
    """
    When private addresses should be refused to the tasks of these queues.
    """
    return (
        f"{_tasks_of(names, count)} may reach private addresses: set guard.private to "
        '"refuse" if you do not trust all who can add tasks'
    )


def _endless(names: list[str], count: int) -> str:
    """
    What the mediators of these queues do, which no policy limits.
    """
    return (
        f"{_tasks_of(names, count)} are tried for ever. Only with mediator ="
        ' "policy" do Retry-After, GiveUp, Discard, and the field retry of a task count'
    )


def _unlimited(queue: QueueSettings, hosts: Container[str]) -> str:
    """
    That the host of the C{default_url} of a queue has no limits, if C{hosts} has it for
    the ports 80 and 443 alone, and the URL has another port; else empty.
    """
    host = origin_of(queue.default_url).partition("://")[2]
    name = host.rpartition(":")[0]
    if name not in hosts or host in hosts:
        return ""
    return (
        f'[hosts."{name}"] is for the ports 80 and 443: it does not limit the host of'
        f' default_url of {queue.name}, which is "{host}"'
    )


def _may_stop(queue: QueueSettings) -> str:
    key = "concurrency" if queue.concurrency == 1 else "prefetch"
    why = "hang_after is 0" if queue.hang_after == 0 else f"{key} is 1"
    return f"one host that hangs stops all tasks of {queue.name}, since {why}"


def _is_open(path: str) -> bool:
    """
    Whether every user of this machine may read a file.
    """
    try:
        return bool(os.stat(path).st_mode & stat.S_IROTH)
    except OSError:  # it was there a moment ago
        return False


def _open_file(queue: str, path: str) -> str:
    return (
        f"every user of this machine may read the signing secrets of {queue}: chmod"
        f" o-r {path}"
    )


def _risks(queue: QueueSettings) -> Iterator[str]:
    from quebert.amqp.queues import risk_of

    for kind, name in (("queue", queue.name), ("exchange", queue.exchange)):
        if risk := risk_of(name):
            yield f"give {kind} {name} a shorter name: {risk}"


def _look_whether_watchable(settings: Settings, report: _Remarks) -> None:
    """
    Tell of each queue whether it can be watched.
    """
    log_problems(level=LogLevel.critical)
    try:
        run(lambda reactor: _connect(reactor, settings, report))
    except QuebertError as e:
        report.wrong(f"no queue can be watched: {e}")


async def _connect(reactor: Any, settings: Settings, report: _Remarks) -> None:
    from quebert.amqp import TxAMQPClient

    client = TxAMQPClient.of_broker(settings.broker, reactor=reactor)
    try:
        # A connection for each queue, if need be: RabbitMQ closes it where it fails.
        for queue in settings.queues.values():
            await _look(await client.connected(_PATIENCE), queue, report)
    finally:
        await client.stop(0)


async def _look(wire: Wire, queue: QueueSettings, report: _Remarks) -> None:
    """
    Tell whether a queue can be watched.

    @raise BrokerError: the connection is lost.
    """
    from quebert.amqp.queues import check_watchable

    arguments = queue.declared_arguments
    try:
        exists = await check_watchable(
            wire, queue.name, arguments, queue.exchange, queue.exchange_type
        )
    except BrokerRefused as e:
        what = f"queue {queue.name} cannot be watched as configured"
        if not e.final:
            what = f"RabbitMQ does not tell whether queue {queue.name} can be watched"
        report.wrong(f"{what}: {e}")
        return
    text = "can be watched" if exists else "is not there yet: a mediator declares it"
    report.note(f"queue {queue.name} {text}")
