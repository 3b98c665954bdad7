"""
C{quebert queues}: the commands for queues that stand in RabbitMQ, and not in a file,
from options to what is asked for, and from what came of it to words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import click

from quebert import operations
from quebert.cli._columns import columns
from quebert.cli._operating import (
    amqp_url_option,
    confirmed,
    needs_yes,
    queue_argument,
    run_operation,
    tell_problems,
    yes_option,
)
from quebert.cli._terminal import Groups, echo, echo_object, json_option
from quebert.config import DELETED_FOR, QueueDefinition, definition_to_plain
from quebert.config import seconds as seconds_of
from quebert.errors import ConfigError
from quebert.limits import Rate
from quebert.operations import QueueChange
from quebert.policy import RetryPolicy

__all__ = ["queues"]

_WORDS = {
    operations.QUEUE_MADE: "queue {} is made",
    operations.QUEUE_CHANGED: "queue {} is changed",
    operations.QUEUE_DELETED: "queue {} is deleted",
    operations.QUEUE_EXISTS: "there is a queue {} already",
    operations.QUEUE_EXISTED: "queue {} was deleted less than"
    f" {DELETED_FOR / 86_400:.0f} days ago: mediators still drop its tasks",
    operations.QUEUE_OUTDATED: "somebody else has changed queue {} meanwhile",
    operations.QUEUE_UNKNOWN: "there is no queue {} that was made with"
    " quebert queues make",
}
_RETRY = tuple(field.name for field in attrs.fields(RetryPolicy))


def _rate(_: click.Context, option: click.Parameter, text: str | None) -> Any:
    if text is None or text == "none":
        return text
    try:
        return Rate.parse(text).per_second
    except ConfigError as e:
        raise click.UsageError(f"--rate {e}") from None


def _duration(_: click.Context, option: click.Parameter, text: str | None) -> Any:
    try:
        return None if text is None else seconds_of(text)
    except ConfigError as e:
        raise click.UsageError(f"{option.opts[0]} {e}") from None


def _number(_: click.Context, option: click.Parameter, text: str | None) -> Any:
    if text is None or text == "none":
        return text
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    raise click.UsageError(f"{option.opts[0]} {text} must be a number, or none")


_OPTIONS: list[Callable[..., Any]] = [
    click.option(
        "--rate",
        callback=_rate,
        help="How many tasks begin in a time, in all mediators together, such as 500/s"
        " or 30/m; none for no limit.",
    ),
    click.option(
        "--burst",
        metavar="NUMBER",
        callback=_number,
        help="How many may begin at once.",
    ),
    click.option(
        "--concurrency",
        metavar="NUMBER",
        callback=_number,
        help="How many may be at work at once, in all mediators together; none for no"
        " limit.",
    ),
    click.option("--max-attempts", type=int, help="-1 for no limit."),
    click.option(
        "--max-retry-duration",
        callback=_duration,
        help="A time such as 90s or 2h; 0 for no limit.",
    ),
    click.option("--min-backoff", callback=_duration, help="Before the first retry."),
    click.option("--max-backoff", callback=_duration, help="Before any retry."),
    click.option("--max-doublings", type=int, help="How often the wait doubles."),
]


def _options(command: Any) -> Any:
    for each in reversed(_OPTIONS):
        command = each(command)
    return command


def _changed(definition: QueueDefinition, options: dict[str, Any]) -> QueueDefinition:
    """
    A definition with what the command line says.
    """
    given = {name: value for name, value in options.items() if value is not None}
    retry = {name: given.pop(name) for name in _RETRY if name in given}
    fields: dict[str, Any] = {
        name: None if value == "none" else value for name, value in given.items()
    }
    try:
        policy = attrs.evolve(definition.retry, **retry)
        return attrs.evolve(definition, retry=policy, **fields)
    except ConfigError as e:
        raise click.UsageError(str(e)) from None


@click.group(cls=Groups)
def queues() -> None:
    """
    Queues that stand in RabbitMQ: make, change, delete or list them.

    Mediators whose file has [made_queues] with serve = ["*"] serve them, and so does
    quebert dev.
    """


@queues.command()
@queue_argument
@click.option(
    "--type",
    "queue_type",
    type=click.Choice(["classic", "quorum"]),
    help="By default what RabbitMQ makes.",
)
@_options
@amqp_url_option
@json_option
def make(*, queue: str, amqp_url: str | None, as_json: bool, **options: Any) -> None:
    """
    Make QUEUE; ends once it takes tasks.
    """
    definition = _changed(_named(queue), options)
    _tell(
        run_operation(
            amqp_url, lambda broker: operations.make_queue(broker, definition)
        ),
        queue,
        as_json,
    )


@queues.command()
@queue_argument
@_options
@amqp_url_option
@json_option
def change(*, queue: str, amqp_url: str | None, as_json: bool, **options: Any) -> None:
    """
    Change QUEUE; what no option names stays as it is.
    """
    if all(value is None for value in options.values()):
        raise click.UsageError("give an option: it says what is to change")

    async def changing(broker: operations.BrokerAccess) -> QueueChange:
        known = await operations.made_queues(broker)
        before = known.of(queue)
        if before is None or before.is_deleted:
            return QueueChange(operations.QUEUE_UNKNOWN, before)
        after = _changed(before, options)
        return await operations.change_queue(broker, after, expected=before.version)

    _tell(run_operation(amqp_url, changing), queue, as_json)


@queues.command()
@queue_argument
@yes_option
@amqp_url_option
@json_option
def delete(*, queue: str, yes: bool, amqp_url: str | None, as_json: bool) -> None:
    """
    Delete QUEUE with its tasks, for ever.

    Mediators drop its tasks for seven days, those that wait for their time meanwhile,
    too. Then the name is free.
    """
    needs_yes(yes, as_json)
    if not yes and not confirmed(f"delete {queue} with its tasks, for ever?"):
        raise click.Abort
    _tell(
        run_operation(amqp_url, lambda broker: operations.delete_queue(broker, queue)),
        queue,
        as_json,
    )


@queues.command("list")
@amqp_url_option
@json_option
def list_(*, amqp_url: str | None, as_json: bool) -> None:
    """
    Show all queues that were made so, and those that were deleted in the last days.
    """
    known = run_operation(amqp_url, operations.made_queues)
    found = [known.definitions[name] for name in sorted(known.definitions)]
    if as_json:
        plain = [definition_to_plain(each) for each in found]
        echo_object({"queues": plain, "unreadable": dict(known.unreadable)})
    elif not found and not known.unreadable:
        echo("no queue was made with quebert queues make")
    else:
        for line in columns([_row(each) for each in found]) if found else ():
            echo(line)
    tell_problems(
        [f"{name} cannot be read: {why}" for name, why in known.unreadable.items()]
    )


def _named(queue: str) -> QueueDefinition:
    try:
        return QueueDefinition(name=queue)
    except ConfigError as e:
        raise click.UsageError(str(e)) from None


def _tell(changed: QueueChange, queue: str, as_json: bool) -> None:
    words = _WORDS[changed.result].format(queue)
    if changed.result == operations.QUEUE_EXISTS and changed.queue is None:
        words += ", with tasks or consumers, that was not made with quebert queues make"
    if as_json:
        definition = changed.queue
        plain = None if definition is None else definition_to_plain(definition)
        problems = [*changed.problems]
        echo_object({"result": changed.result, "queue": plain, "problems": problems})
    if not changed.is_done:
        raise click.ClickException(words)
    if not as_json:
        echo(words)
    tell_problems(changed.problems)


def _row(definition: QueueDefinition) -> tuple[str, ...]:
    if definition.is_deleted:
        return definition.name, "deleted", "", ""
    rate = "any rate" if definition.rate is None else str(Rate(definition.rate))
    most = definition.concurrency
    at_once = "any number at once" if most is None else f"{most} at once"
    attempts = definition.retry.max_attempts
    tries = "any number of attempts" if attempts == -1 else f"{attempts} attempts"
    return definition.name, rate, at_once, tries
