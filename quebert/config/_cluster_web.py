"""
The table C{[web.cluster]}: what C{quebert web} serves of a whole cluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar
from urllib.parse import urlsplit

import attrs

from quebert.config import _kinds as kinds
from quebert.config._broker import TLS
from quebert.config._cloud_tasks import CloudTasksAPI, cloud_tasks_api
from quebert.config._leases import LeaseSettings
from quebert.config._oidc import OIDC
from quebert.config._outside import Outside
from quebert.config._problems import Wrong
from quebert.config._table import Table
from quebert.config._tls import tls_files
from quebert.config._web import Listen, listen
from quebert.errors import ConfigError
from quebert.functions.admission import host_name
from quebert.guard import Place
from quebert.limits import Rate

__all__ = ["ClusterWeb", "cluster_web"]

#: Where it listens unless told otherwise.
LISTEN = Listen("127.0.0.1", 8080)
#: Where it keeps the history.
HISTORY = ".quebert/history.sqlite"
#: Where it keeps the tasks that are created over HTTP.
TASKS = ".quebert/tasks.sqlite"
# Bytes.
_LEAST_SIZE, _MOST_SIZE = 10**7, 2**50


@attrs.frozen(kw_only=True)
class ClusterWeb:
    """
    What C{quebert web} does.

    @ivar listen: where.
    @ivar tokens: the file with the tokens; C{None} for no token.
    @ivar history: the path of a file, or the URL of a PostgreSQL.
    @ivar history_age: seconds for which attempts are kept.
    @ivar history_size: bytes that they take at most, about.
    @ivar tasks: the database of the tasks that are created over HTTP: the path of a
        file, or the URL of a PostgreSQL.
    @ivar audit: the file of the audit log; C{None} for the log alone.
    @ivar hosts: names by which this machine may read without a token.
    @ivar open_reading: whether it may do so at all.
    @ivar queues: to look at, beside those of which mediators tell.
    @ivar rate_limit: requests of each token, and of each address without one; C{None}
        for no limit.
    @ivar leases: the leases that executors ask for; C{None} for none.
    @ivar oidc: the issuer of ID tokens, whose public keys it tells; C{None} for none.
    @ivar tls: its certificate and key; C{None} for HTTP.
    @ivar cloud_tasks: its Cloud Tasks API; C{None} for none.
    """

    #: The fewest seconds of C{history_age}.
    LEAST_AGE: ClassVar[float] = 60.0

    listen: Listen = LISTEN
    tokens: str | None = None
    history: str = attrs.field(default=HISTORY, repr=False)
    history_age: float = 7 * 86400.0
    history_size: int = 10 * 1024**3
    tasks: str = attrs.field(default=TASKS, repr=False)
    audit: str | None = None
    hosts: tuple[str, ...] = ()
    open_reading: bool = True
    queues: tuple[str, ...] = ()
    rate_limit: Rate | None = None
    leases: LeaseSettings | None = None
    oidc: OIDC | None = None
    tls: TLS | None = None
    cloud_tasks: CloudTasksAPI | None = None

    @property
    def places(self) -> tuple[Place, ...]:
        """
        What leads to it from this machine, as a guard has it.
        """
        grpc = None if self.cloud_tasks is None else self.cloud_tasks.grpc
        return (*self.listen.places, *(() if grpc is None else grpc.places))


def cluster_web(table: Table, outside: Outside) -> ClusterWeb:
    """
    What the table says.
    """
    fields = table.given(
        listen=listen,
        tokens=outside.path,
        history_age=kinds.duration(ClusterWeb.LEAST_AGE),
        history_size=kinds.number(_LEAST_SIZE, _MOST_SIZE),
        audit=outside.path,
        hosts=kinds.array(_host),
        open_reading=kinds.flag,
        queues=kinds.array(_queue),
        rate_limit=kinds.rate,
    )
    for name in ("history", "tasks"):
        for each in _databases(table, outside, name):
            fields[name] = each
    tls = tls_files(table, outside)
    if tls is not None and tls.certfile is None:
        table.wrong("tls", "needs a certfile")
        tls = None
    if "cloud_tasks" in table:
        fields["cloud_tasks"] = cloud_tasks_api(table.table("cloud_tasks"))
    table.know("cloud_tasks")
    table.end()
    return ClusterWeb(tls=tls, **fields)


def _databases(table: Table, outside: Outside, name: str) -> Iterable[str]:
    """
    Where a database is, if the table says so.
    """
    env, file = f"{name}_env", f"{name}_file"
    found = table.given(
        **{
            name: lambda value: _database(value, outside, name),
            env: outside.of_environment,
            file: outside.of_file,
        }
    )
    if len(found) > 1:
        table.wrong(name, f"is there twice: give {name}, {env} or {file}")
    return found.values()


def _database(value: object, outside: Outside, name: str) -> str:
    text = kinds.text(value)
    if "://" not in text:
        return outside.path(text)
    if _password(text):
        raise Wrong(
            "holds a password, which anybody can read here: give the whole URL in an"
            f" environment variable or a file, which {name}_env or {name}_file names"
        )
    return text


def _password(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError as e:
        raise Wrong(f"is no URL: {e}") from None


def _host(value: object) -> str:
    try:
        return host_name(kinds.text(value))
    except ConfigError as e:
        raise Wrong(f"is wrong: {e}") from None


def _queue(value: object) -> str:
    return kinds.text(kinds.name(value))
