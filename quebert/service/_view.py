"""
What a process shows of itself over HTTP: its metrics, and whether it is well.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError

from quebert._listening import listen
from quebert._log import Logger
from quebert._text import what_is_wrong
from quebert.config import Listen
from quebert.errors import ConfigError
from quebert.metrics import ClusterMetrics, Readiness, ViewAnswer, ViewSite

__all__ = ["View"]

_JSON = "application/json"


class View:
    """
    Serves C{/metrics}, C{/healthz} and C{/readyz}, wherever it is told to.

    @param metrics: to be shown.
    @param readiness: tells whether all is consumed that should be.
    @param alive: tells whether this process does anything at all.
    @param reactor: listens.
    @ivar port_number: where it listens; 0 for nowhere.
    """

    log = Logger()

    def __init__(
        self,
        metrics: ClusterMetrics,
        readiness: Callable[[], Readiness],
        alive: Callable[[], bool],
        reactor: Any,
    ) -> None:
        self._metrics = metrics
        metrics.ready = lambda: readiness().ready
        self._readiness = readiness
        self._alive = alive
        self._reactor = reactor
        self._wanted: Listen | None = None
        self._listening: Any = None
        self._site: ViewSite | None = None
        self._changing: Deferred[Any] = succeed(None)

    @property
    def port_number(self) -> int:
        """
        Where it listens; 0 for nowhere.
        """
        return 0 if self._listening is None else int(self._listening.getHost().port)

    def start(self, wanted: Listen | None) -> None:
        """
        Listen.

        @param wanted: where; C{None} for nowhere.
        @raise ConfigError: that cannot be, or C{prometheus-client} is missing.
        """
        if wanted is not None:
            self._metrics.prepare()
        self._wanted = wanted
        self._listen()

    def _listen(self) -> None:
        wanted = self._wanted
        if wanted is None:
            return
        routes = {
            "/metrics": self._show_metrics,
            "/healthz": self._show_health,
            "/readyz": self._show_readiness,
        }
        site = ViewSite(routes, self._reactor, private=wanted.is_private)
        try:
            self._listening = listen(self._reactor, wanted.port, site, wanted.address)
        except CannotListenError as e:
            why = what_is_wrong(e.socketError)
            raise ConfigError(f"web.listen: cannot listen on {wanted}: {why}") from None
        self._site = site
        self.log.info("Metrics and health are at http://{place}/.", place=wanted)

    def change(self, wanted: Listen | None) -> None:
        """
        Listen elsewhere from now on.

        @raise ConfigError: C{prometheus-client} is missing.
        """
        if wanted == self._wanted and (wanted is None or self._listening is not None):
            return
        if wanted is not None:
            self._metrics.prepare()
        self._wanted = wanted
        self._changing.addCallback(lambda _: Deferred.fromCoroutine(self._move()))
        self._changing.addErrback(
            lambda f: self.log.failure("Metrics and health are not shown.", f)
        )

    async def _move(self) -> None:
        await self._close()
        try:
            self._listen()
        except ConfigError as e:
            self.log.error("Metrics and health are not shown: {error}", error=e)

    async def _close(self) -> None:
        listening, self._listening = self._listening, None
        site, self._site = self._site, None
        if listening is not None:
            await maybeDeferred(listening.stopListening)
        if site is not None:
            site.close()

    def stop(self) -> Deferred[None]:
        """
        Listen no more.
        """
        self._wanted = None
        return self._changing.addCallback(
            lambda _: Deferred.fromCoroutine(self._close())
        )

    # -- The answers

    def _show_metrics(self, accept: str) -> ViewAnswer:
        content_type, body = self._metrics.exposition(accept)
        return ViewAnswer(body, content_type)

    def _show_health(self, _: str) -> ViewAnswer:
        alive = self._alive()
        body = json.dumps({"alive": alive}).encode() + b"\n"
        return ViewAnswer(body, _JSON, _status(ok=alive))

    def _show_readiness(self, _: str) -> ViewAnswer:
        readiness = self._readiness()
        return ViewAnswer(readiness.document(), _JSON, _status(ok=readiness.ready))


def _status(*, ok: bool) -> HTTPStatus:
    return HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE
