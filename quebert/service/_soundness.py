"""
Whether settings can be used, as far as that is known before anything runs.

C{twistd} goes to the background before a service starts, and exits with 0 then.  So
whatever can be wrong without a broker is found here, before that.
"""

from __future__ import annotations

from collections.abc import Iterator

from quebert._tls import creator
from quebert.config import Settings
from quebert.errors import ConfigError
from quebert.metrics import ClusterMetrics
from quebert.service._mediators import mediator

__all__ = ["check_settings", "unusable_tls", "unusable_web"]


def check_settings(settings: Settings) -> None:
    """
    @raise ConfigError: no client or mediator can be made as C{settings} say.
    """
    for why in (*unusable_tls(settings), *unusable_web(settings)):
        raise ConfigError(why)
    for queue in settings.queues.values():
        mediator(queue, None, None)


def unusable_tls(settings: Settings) -> Iterator[str]:
    """
    What is wrong with the files of each table C{tls}.
    """
    tables = {"broker.tls": (settings.broker.tls, settings.broker.addresses[0].host)}
    for name, host in settings.hosts.items():
        tables[f'hosts."{name}".tls'] = (host.tls, "localhost")
    for key, (tls, server) in tables.items():
        try:
            if tls is not None:
                creator(tls, server)
        except ConfigError as e:
            yield f"{key} is wrong: {e}"


def unusable_web(settings: Settings) -> Iterator[str]:
    """
    What is missing for what a mediator is to show of itself.
    """
    if settings.web.listen is not None:
        try:
            ClusterMetrics().prepare()
        except ConfigError as e:
            yield f"web.listen cannot be used: {e}"
