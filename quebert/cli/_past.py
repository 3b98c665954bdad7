"""
Where the commands get the history of a task from: its database, or C{quebert web}.
Either gives what the API gives at C{/v1/tasks/UUID}.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import attrs
import click
from twisted.internet.defer import Deferred, TimeoutError

from quebert.config import Settings
from quebert.errors import ConfigError, ExecutorError, QuebertError
from quebert.events import AttemptRecord
from quebert.http import Agent, HostTLS, Limits

__all__ = ["Past", "attempts_in", "past_of", "past_options", "tolerant"]

#: Gives the life of a task; C{None} where the history knows no such task.
Past = Callable[[Any, str], Awaitable[Mapping[str, Any] | None]]

#: Where C{quebert dev} and C{quebert web} keep it unless told otherwise.
DEFAULT = ".quebert/history.sqlite"
#: The environment variable with the token for C{quebert web}.
VARIABLE = "QUEBERT_WEB_TOKEN"
# Seconds that an answer may take, and bytes that it may have.
_PATIENCE = 30.0
_MOST_BYTES = 64 * 2**20
_LONGEST = 200
_FIELDS = {each.name: each for each in attrs.fields(AttemptRecord)}


def past_options(command: Any) -> Any:
    """
    The options that say where the history is.
    """
    for option in (
        click.option(
            "--web",
            metavar="URL",
            help="A quebert web that has the history. Where it wants a token, the"
            f" environment variable {VARIABLE} has it.",
        ),
        click.option(
            "--history",
            "database",
            metavar="URL",
            help="The database of the history: the path of a file, or the URL of a"
            f" PostgreSQL. By default as FILE says, or {DEFAULT}, if it is there.",
        ),
    ):
        command = option(command)
    return command


def past_of(
    database: str | None, web: str | None, settings: Settings | None = None
) -> Past | None:
    """
    Where the history is by these options, or by the file; C{None} where there is none.

    @raise click.UsageError: they exclude each other.
    @raise ConfigError: there is no such file, or no such URL.
    """
    if database is not None and web is not None:
        raise click.UsageError("give --history or --web, not both")
    if web is not None:
        return _over_http(web)
    if database is None:
        database = DEFAULT if settings is None else settings.cluster_web.history
        if "://" not in database and not Path(database).exists():
            return None
    return _of_database(database)


def _of_database(url: str) -> Past:
    if "://" not in url and not Path(url).is_file():  # it would be begun
        raise ConfigError(f"there is no history {url}")

    async def past(reactor: Any, uuid: str) -> Mapping[str, Any] | None:
        from quebert.history import open_ledger

        ledger = await open_ledger(url, reactor=reactor)
        try:
            if ledger.problem:
                raise ConfigError(f"the history cannot be read: {ledger.problem}")
            found = await ledger.task(uuid)
        finally:
            await ledger.close()
        if found is None:
            return None
        told = attrs.asdict(found)
        return {**told.pop("summary"), **told}

    return past


def _over_http(web: str) -> Past:
    parts = urlsplit(web)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"--web {web!r:.100} must be like http://localhost:8080")
    base = web.rstrip("/")

    async def past(reactor: Any, uuid: str) -> Mapping[str, Any] | None:
        limits = Limits(connections=1, per_origin=1, body=_MOST_BYTES, idle=0)
        agent = Agent(reactor, policy=HostTLS(), limits=limits)
        fields = []
        if token := os.environ.get(VARIABLE):
            fields.append(("Authorization", f"Bearer {token}"))
        path = f"/v1/tasks/{quote(uuid, safe='')}"
        asking = Deferred.fromCoroutine(_ask(agent, f"{base}{path}", fields))
        try:
            code, body = await asking.addTimeout(_PATIENCE, reactor)
        except TimeoutError:
            raise ConfigError(f"{base} does not answer in {_PATIENCE:g} s") from None
        except ExecutorError as e:
            raise ConfigError(f"{base} does not answer: {e}") from None
        return _read(base, code, body)

    return past


async def _ask(agent: Agent, url: str, fields: list[tuple[str, str]]) -> Any:
    response = await agent.send("GET", url, fields)
    return response.code, await response.content()


def _read(base: str, code: int, body: bytes) -> Mapping[str, Any] | None:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    if code == 200 and isinstance(told, dict):
        return told
    detail = str(told.get("detail", "")) if isinstance(told, dict) else ""
    if code == 404 and isinstance(told, dict):
        return None
    if code in (401, 403):
        raise ConfigError(
            f"{base} refuses it with {code}: set {VARIABLE} to a token that may read"
        )
    raise ConfigError(f"{base} answers {code}: {detail[:_LONGEST]}".rstrip(": "))


def attempts_in(life: Mapping[str, Any] | None) -> list[AttemptRecord]:
    """
    The attempts in the life of a task, as far as they can be read.
    """
    found = []
    given = life.get("attempts") if life is not None else None
    for each in given if isinstance(given, (list, tuple)) else ():
        if not isinstance(each, Mapping):
            continue
        fields = {k: v for k, v in each.items() if k in _FIELDS}
        try:
            found.append(AttemptRecord(**fields))
        except TypeError:  # one of a version that tells something else
            continue
    return found


async def tolerant(past: Past, reactor: Any, uuid: str) -> tuple[Any, str]:
    """
    The life of a task, and why it is not known, if it cannot be asked for.
    """
    try:
        return await past(reactor, uuid), ""
    except QuebertError as e:
        return None, f"the history cannot be asked: {e}"
