"""
Reading a configuration file: from its text to L{Settings}, or to all that is wrong
with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from quebert.config import _kinds as kinds
from quebert.config._broker import (
    AmqpURL,
    Broker,
    default_amqp_url,
    has_password,
)
from quebert.config._cluster_web import cluster_web
from quebert.config._guard import guard
from quebert.config._host import hosts
from quebert.config._leases import leases
from quebert.config._made_queues import made_queues
from quebert.config._management import management_place, management_url
from quebert.config._oidc import oidc
from quebert.config._outside import Outside
from quebert.config._problems import Wrong
from quebert.config._queue import FOR_ALL, MOST, queue
from quebert.config._settings import (
    LOG_FORMATS,
    LOG_LEVELS,
    Events,
    Priorities,
    Service,
    Settings,
)
from quebert.config._table import Document, Table
from quebert.config._tls import tls_files
from quebert.config._web import web
from quebert.errors import ConfigError
from quebert.guard import Guard

__all__ = ["MOST_PROCESSES", "read"]

#: More would be a mistake: each process takes some 50 MB.
MOST_PROCESSES = 1000
#: Bytes of memory, of one process: more are a mistake.
MOST_MEMORY = 2**40

#: Records of attempts that may wait; each takes about 25 bytes.
MOST_EVENTS = 500_000

_NOWHERE = Broker((), "", "")  # where the broker is cannot be read


def read(
    path: str,
    environment: Mapping[str, str] = os.environ,
    find: Callable[[str], object] | None = None,
    *,
    broker: Broker | None = None,
) -> Settings:
    """
    Read a file, and the secrets that it names.

    @param broker: is used in place of the one in the file, whose URL is not looked for.
    @param find: called with the name of each hook; raises L{ConfigError} where
        there is no such function.
    @raise BadConfig: something is wrong; all of it is told.
    """
    document = Document(path)
    root = document.root()
    outside = Outside(environment, document.folder, find)
    table = root.table("broker")
    given, quorum_delays, management = _broker(
        table, outside, environment, known=broker is not None
    )
    broker = broker or given
    of_web = root.table("web")
    shown = web(of_web)
    leasing = leases(root.table("leases"), outside, given=root.has_table("leases"))
    cluster = cluster_web(of_web.table("cluster"), outside)
    issuer = oidc(root.table("oidc"), outside, given=root.has_table("oidc"))
    cluster = attrs.evolve(cluster, leases=leasing, oidc=issuer)
    own = [management_place(management)] if management else []
    if shown.listen is not None:
        own += shown.listen.places
    if "cluster" in of_web:
        own += cluster.places
    service, defaults = _service(root.table("service"))
    defaults["guard"] = guard(root.table("guard"), Guard(own=(*broker.places, *own)))
    defaults["leases"] = leasing
    priorities = _priorities(root.table("priorities"))
    events = _events(root.table("events"))
    tables = root.tables("queues")
    queues = {
        name: queue(name, table, defaults, priorities, outside)
        for name, table in tables.items()
    }
    for name, table in tables.items():
        if name.endswith(".dead") and (other := name[: -len(".dead")]) in tables:
            text = f"has the dead letters of {other}: they would be carried out again"
            document.wrong(table.path, text)
    made = made_queues(root.table("made_queues"), defaults, priorities, outside)
    limits = hosts(root.tables("hosts", ignore_case=True), outside)
    root.end()
    if not queues and not made.serve and not document.problems:
        root.wrong("queues", "is missing: a table for each queue, like [queues.tasks]")
    document.check()
    return Settings(
        broker=broker,
        quorum_delays=quorum_delays,
        management_url=management,
        service=service,
        queues=queues,
        hosts=limits,
        priorities=priorities,
        events=events,
        leases=leasing,
        oidc=issuer,
        web=shown,
        cluster_web=cluster,
        made_queues=made,
    )


# -- The broker


def _broker(
    table: Table, outside: Outside, environment: Mapping[str, str], *, known: bool
) -> tuple[Broker, bool | None, str | None]:
    """
    @param known: whether nobody asks where the broker is.
    """
    ways: dict[str, Callable[[Any], Any]] = {
        "url": _open_url,
        "url_env": outside.of_environment,
        "url_file": outside.of_file,
    }
    if known:
        table.know(*ways, "heartbeat", "management_url", "tls")
        return _NOWHERE, _quorum_delays(table), None
    given = [key for key in ways if key in table]
    urls = table.given(**ways)
    if len(given) > 1:
        table.wrong(given[1], f"cannot be given beside {given[0]}")
    heartbeat = table.get("heartbeat", _heartbeat, None)
    management = table.get("management_url", _management, None)
    tls = tls_files(table, outside)
    quorum_delays = _quorum_delays(table)
    if not given:
        urls["url"] = default_amqp_url(environment)
    broker = _NOWHERE
    for key, url in urls.items():
        source = f"{key} in [broker]"
        if key == "url_env" and (name := table.get(key, kinds.text, "")):
            source += f", {name}"
        if not isinstance(url, AmqpURL):
            url = AmqpURL(url, source)
        try:
            broker = Broker.from_url(url)
        except ConfigError as e:
            table.wrong(key, f"is wrong: {e}")
    if broker is not _NOWHERE and tls is not None:
        if broker.tls is None:
            table.wrong("tls", "needs a URL that begins with amqps://")
        broker = attrs.evolve(broker, tls=tls)
    if heartbeat is not None:
        broker = attrs.evolve(broker, heartbeat=heartbeat)
    return broker, quorum_delays, management


def _management(value: object) -> str:
    try:
        return management_url(value if isinstance(value, str) else "")
    except ConfigError as e:
        raise Wrong(str(e)) from None


def _quorum_delays(table: Table) -> bool | None:
    found = table.get("quorum_delays", _auto_or_flag, None)
    table.end()
    return found


def _auto_or_flag(value: object) -> bool | None:
    if value == "auto":
        return None
    try:
        return kinds.flag(value)
    except Wrong:
        text = f'must be "auto", true or false, not {kinds.shown(value)}'
        raise Wrong(text) from None


def _open_url(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong('must be a text, like "amqp://localhost/"')
    if has_password(value):
        raise Wrong(
            "holds a password, which anybody can read here: give the whole URL in an"
            " environment variable or a file, which url_env or url_file names"
        )
    return value


def _heartbeat(value: object) -> int | None:
    found = kinds.duration(0, 65_535)(value)
    if found != int(found):
        raise Wrong(f"must be whole seconds, not {kinds.shown(value)}")
    return int(found)


# -- What is left


def _service(table: Table) -> tuple[Service, dict[str, Any]]:
    """
    The processes, and the settings of all queues that have none of their own.
    """
    fields = table.given(
        processes=kinds.number(1, MOST_PROCESSES),
        grace=kinds.duration(),
        log_level=kinds.choice(*LOG_LEVELS),
        log_format=kinds.choice(*LOG_FORMATS),
        log_tasks=kinds.flag,
        max_memory=kinds.number(1, MOST_MEMORY),
    )
    defaults = table.given(**FOR_ALL)
    table.end()
    return Service(**fields), defaults


def _events(table: Table) -> Events:
    fields = table.given(
        publish=kinds.flag,
        interval=kinds.duration(0.05, 60),
        most=kinds.number(1, MOST_EVENTS),
    )
    table.end()
    return Events(**fields)


def _priorities(table: Table) -> Priorities:
    fields = table.given(
        concurrency=kinds.number(1, 65_535), ageing=kinds.duration(0.001)
    )
    weights = table.table("weights")
    given = weights.given(**dict.fromkeys(weights, kinds.number(1, MOST)))
    table.end()
    if list(weights):  # queues may name those, too, of which something is wrong
        fields["weights"] = dict.fromkeys(weights, 1) | given
    elif "weights" in table:
        table.wrong("weights", "must name a class at least, like { high = 6, low = 1 }")
    return Priorities(**fields)
