"""
C{quebert add}: from words to a task, or to a file of tasks.
"""

from __future__ import annotations

import json
import os
import uuid as uuids
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel

from quebert.bulk import FORMATS
from quebert.cli import _add_many, _add_one, _add_over_http
from quebert.cli._meant_url import check_url
from quebert.cli._operating import amqp_url_option
from quebert.cli._running import log_problems, one_line, run
from quebert.cli._terminal import echo
from quebert.client import APIAccess
from quebert.config import EMPTY_AMQP_URL, chosen_amqp_url, seconds
from quebert.errors import ConfigError, QuebertError
from quebert.task import BOUNDS, meant_by

__all__ = ["add"]

FILE = click.Path(dir_okay=False, path_type=Path)


class _AddCommand(click.Command):
    """
    Suggests what may be meant by an option that other task queues have.
    """

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """
        @raise click.UsageError: an option is not known; the text has the one that may
            be meant.
        """
        try:
            return super().parse_args(context, args)
        except click.NoSuchOption as e:
            meant = f"--{(meant_by(e.option_name.lstrip('-')) or '').replace('_', '-')}"
            if all(meant not in each.opts for each in self.params):
                raise
            text = f"{e.message} Did you mean {meant}?"
            raise click.UsageError(text, e.ctx) from None


def _time(value: object) -> float:
    """
    Seconds, from a text such as C{90}, C{90s}, C{5m}, C{2h} or C{1d}.

    @raise click.BadParameter: it is none.
    """
    try:
        return seconds(str(value))
    except ConfigError as e:
        raise click.BadParameter(f"it {e}") from None


@click.command(cls=_AddCommand)
@click.argument("url", required=False)
@click.argument("params", metavar="[PARAMS]", required=False)
@click.option(
    "--delay",
    type=_time,
    metavar="TIME",
    help="How long it waits: 90, 90s, 5m, 2h or 1d.",
)
@click.option(
    "--run-at", metavar="WHEN", help="When: a time such as 2027-01-31T20:15Z."
)
@click.option(
    "--ttl", type=_time, metavar="TIME", help="After how long it is not worth doing."
)
@click.option(
    "--timeout", type=_time, metavar="TIME", help="How long the request may take."
)
@click.option("--method", default="POST", show_default=True, help="Of the request.")
@click.option(
    "--header",
    "headers",
    metavar="NAME:VALUE",
    multiple=True,
    help="Of the request; repeatable.",
)
@click.option(
    "--payload",
    type=click.File("rb"),
    metavar="FILE|-",
    help="The body of the request, in place of the task: what is in this file.",
)
@click.option(
    "--retry",
    metavar="JSON",
    help="How this task is retried, such as '{\"max_attempts\": 3}'.",
)
@click.option("--uuid", help="Of the task; a random one by default.")
@click.option("--name", metavar="NAME", help="Unique in its queue; over the HTTP API.")
@click.option(
    "--queue",
    metavar="QUEUE",
    help="The queue itself; over the HTTP API.  [default: tasks]",
)
@click.option(
    "--extra",
    metavar="JSON",
    help="Fields of your own, as a JSON object: the executor gets to see them.",
)
@click.option(
    "--callback-url",
    metavar="URL",
    help="What is requested, by a task of its own, when the task has ended.",
)
@click.option(
    "--priority",
    metavar="high|medium|low",
    help="The end of the routing key.  [default: medium]",
)
@click.option("--key", help="The whole routing key.  [default: tasks.medium]")
@click.option(
    "--exchange", default="flow", show_default=True, help="Where it is published to."
)
@amqp_url_option
@click.option(
    "--wait",
    type=_time,
    metavar="TIME",
    default=0,
    help="How long to wait for a broker that is about to start.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--from",
    "source",
    metavar="FILE|-",
    help="Add the tasks of a file, or of standard input: a JSON object in each line, or"
    " CSV with a header, with url, params, delay... The options are for those that do"
    " not say it.",
)
@click.option(
    "--format",
    type=click.Choice(list(FORMATS)),
    help="Of that file, if its name does not end in .jsonl or .csv.",
)
@click.option(
    "--state",
    type=FILE,
    help="Keep in this file how far it has come. The same command goes on there, also"
    " after kill -9.",
)
@click.option(
    "--rejects",
    type=FILE,
    help="Where bad lines go to, with their numbers and reasons.  [default:"
    " FILE.rejects]",
)
def add(
    *,
    url: str | None,
    params: str | None,
    amqp_url: str | None,
    exchange: str,
    key: str | None,
    wait: float,
    as_json: bool,
    source: str | None,
    format: str | None,
    state: Path | None,
    rejects: Path | None,
    **options: Any,
) -> None:
    """
    Add a task: a request of URL, whole or partial, with PARAMS, which are JSON.

    Prints its uuid once the broker has confirmed it. With --from it adds many, and
    exits with 0 if all are there.

    Where the environment has QUEBERT_URL, one task is added over the HTTP API of
    quebert web at that URL, unless --amqp-url is given. QUEBERT_TOKEN_FILE names a file
    with the token, or QUEBERT_TOKEN is the token.
    """
    if amqp_url == "":
        raise click.UsageError(EMPTY_AMQP_URL)
    access = None if amqp_url is not None else _api()
    if key is not None and options["priority"] is not None:
        raise click.UsageError("give --key or --priority, not both")
    fields = _fields(url, params, options)
    where = chosen_amqp_url(amqp_url)
    log_problems(level=LogLevel.critical)
    if source is None:
        if url is None:
            raise click.UsageError("Missing argument 'URL'.")
        given = {"--format": format, "--state": state, "--rejects": rejects}
        for option, value in given.items():
            if value is not None:
                raise click.UsageError(f"{option} is for --from")
        if access is not None:
            _check_for_api()
            _one(fields, as_json, _add_over_http.add, access=access, wait=wait)
            return
        _check_for_amqp(fields)
        fields.setdefault("uuid", str(uuids.uuid4()))
        by = {"amqp_url": where, "exchange": exchange, "key": key, "wait": wait}
        _one(fields, as_json, _add_one.add, **by)
        return
    _check_for_amqp(fields)
    if access is not None and not os.environ.get("QUEBERT_AMQP_URL"):
        text = "--from adds over AMQP, not over QUEBERT_URL: give --amqp-url"
        raise click.UsageError(text)
    for name in ("uuid", "params"):
        if name in fields:
            raise click.UsageError(f"with --from, each line has {name} of its own")
    if rejects is not None and not rejects.parent.is_dir():
        raise click.UsageError(f"--rejects {rejects}: there is no such folder")
    stem = "quebert-add" if source == "-" else source
    many = _add_many.Many(
        where,
        wait,
        as_json,
        source,
        _add_many.format_of(source, format),
        rejects or Path(f"{stem}.rejects"),
        state,
        exchange,
        key,
        fields,
    )
    status = _add_many.add_many(many)
    if status:
        raise SystemExit(status)


def _one(
    fields: dict[str, Any],
    as_json: bool,
    add: Callable[..., Coroutine[Deferred[Any], Any, str]],
    **by: Any,
) -> None:
    """
    Add a task.

    @param add: adds it, by C{by}.
    """
    try:
        check_url(fields["url"])
        check_url(fields.get("callback_url"), "callback_url")
        uuid = run(lambda reactor: add(reactor, **by, **fields))
    except QuebertError as e:
        raise click.ClickException(one_line(str(e))) from None
    echo(json.dumps({"uuid": uuid}) if as_json else uuid)


# -- Over AMQP, or over HTTP


def _api() -> APIAccess | None:
    """
    Where the HTTP API is; C{None} if the environment does not say.
    """
    try:
        return APIAccess.from_environment()
    except ConfigError as e:
        raise click.ClickException(one_line(str(e))) from None


def _check_for_amqp(fields: Mapping[str, Any]) -> None:
    for name, of in (("name", "names"), ("queue", "queues by their names")):
        if name in fields:
            text = f"--{name}: {of} need the HTTP API, and this task goes over AMQP:"
            raise click.UsageError(f"{text} set QUEBERT_URL to where quebert web is")


def _check_for_api() -> None:
    context = click.get_current_context()
    for name in ("priority", "key", "exchange"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            text = f"--{name} is for AMQP, and QUEBERT_URL is set: give --queue, or"
            raise click.UsageError(f"{text} --amqp-url")


# -- From texts to what they mean


def _fields(
    url: str | None, params: str | None, options: dict[str, Any]
) -> dict[str, Any]:
    """
    The keywords of C{add_task} that were given.
    """
    headers = options.pop("headers")
    for name in ("extra", "retry"):
        if options[name] is not None:
            options[name] = _object(f"--{name}", options[name])
    if options["payload"] is not None:
        options["payload"] = options["payload"].read(BOUNDS.body + 1)
    if params is not None:
        options["params"] = _json("PARAMS", params)
    found = {"url": url, "headers": _headers(headers) or None, **options}
    if found["method"] == "POST":
        del found["method"]
    return {name: value for name, value in found.items() if value is not None}


def _json(what: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as e:
        raise click.ClickException(
            f'{what} must be JSON, such as \'{{"name": "you"}}\': {e}'
        ) from None


def _object(what: str, text: str) -> dict[str, Any]:
    found = _json(what, text)
    if isinstance(found, dict):
        return found
    raise click.ClickException(f"{what} must be a JSON object, such as {{}}")


def _headers(texts: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, colon, value = (part.strip() for part in text.partition(":"))
        if not colon:
            raise click.UsageError(f"--header {text} must be name:value")
        if name.lower() in map(str.lower, found):
            raise click.UsageError(f"--header {name} is given twice")
        found[name] = value
    return found
