"""
The web server: composes the API, the page and the streams over a cluster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import TimeoutError, maybeDeferred
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

from quebert._listening import listen
from quebert.config import OIDC
from quebert.created_tasks import CreatedTasks
from quebert.leases import Leases
from quebert.limits import Rate
from quebert.signatures import LeaseIDs
from quebert.web._access_rules import AccessRules
from quebert.web._api import API, Handlers
from quebert.web._assets import Assets
from quebert.web._audit import Audit
from quebert.web._background import Background
from quebert.web._boundaries import Cluster, Controls, OtherAPI, ServerReport
from quebert.web._changes import ChangeHandlers
from quebert.web._creating import CreatingHandlers
from quebert.web._exchange import APIRequest
from quebert.web._hub import EventHub
from quebert.web._leasing import LeaseHandlers
from quebert.web._request_rates import RequestRates
from quebert.web._resource import WebResource
from quebert.web._site import WebSite
from quebert.web._snapshots import Snapshots
from quebert.web._tasks import TaskHandlers
from quebert.web._tokens import Grant, Tokens
from quebert.web._views import ClusterView

__all__ = ["WebServer"]

# Seconds in which answers must be on their way when the server stops.
_SENDING = 1.0


class WebServer:
    """
    Serves the API, the page and the events of a cluster.

    @param tokens: those that are known, until L{WebServer.use} gives others.
    @param hosts: names by which this machine may read without a token.
    @param open_reading: whether it may do so at all.
    @param others: APIs beside our own, by the first word of their paths.
    @param leases: those of executors; C{None} for none.
    @param lease_ids: tells which ids of leases are true.
    @param rate_limit: requests of each token, and of each address without one; C{None}
        for no limit.
    @param oidc: the issuer of ID tokens; C{None} for none.
    @param now: gives the time of day.
    """

    def __init__(
        self,
        reactor: Any,
        cluster: Cluster,
        controls: Controls,
        created: CreatedTasks,
        exposition: ServerReport,
        *,
        tokens: Tokens | None = None,
        hosts: Iterable[str] = (),
        open_reading: bool = True,
        leases: Leases | None = None,
        lease_ids: LeaseIDs | None = None,
        rate_limit: Rate | None = None,
        audit: Audit | None = None,
        assets: Assets | None = None,
        others: Mapping[str, OtherAPI] | None = None,
        oidc: OIDC | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._reactor = reactor
        self._cluster = cluster
        self._audit = audit or Audit()
        self._admission = AccessRules(tokens or Tokens(), open_reading, hosts)
        snapshots = Snapshots(reactor, self._look, now)
        self._hub = EventHub(reactor, snapshots)
        self._background = Background(reactor, self._hub.changed)
        self._api = API(
            reactor,
            cluster,
            Handlers(
                tasks=TaskHandlers(cluster, created),
                creating=CreatingHandlers(reactor, created, now),
                leasing=LeaseHandlers(leases, lease_ids),
                changes=ChangeHandlers(
                    controls, created, self._background, self._audit
                ),
            ),
            snapshots,
            exposition,
            lambda: self._admission,
            RequestRates(rate_limit, reactor.seconds),
            others,
            oidc,
        )
        self._resource = WebResource(
            reactor, self._api, assets or Assets(), self._hub, now=now
        )
        self._sites: list[WebSite] = []
        self._ports: list[Any] = []
        cluster.watch(self._hub)

    async def _look(self) -> ClusterView:
        """
        The overview, with the problems of the server itself.
        """
        view = await self._cluster.overview()
        if not self._audit.problem:
            return view
        return attrs.evolve(view, problems=(*view.problems, self._audit.problem))

    def listen(
        self,
        port: int,
        interface: str,
        tls: IOpenSSLContextFactory | None = None,
    ) -> int:
        """
        Listen, and give the number of the port.

        @raise twisted.internet.error.CannotListenError: it cannot.
        """
        site = WebSite(self._resource, self._reactor)
        factory: Any = site
        if tls is not None:
            factory = TLSMemoryBIOFactory(tls, isClient=False, wrappedFactory=site)
        listening = listen(self._reactor, port, factory, interface)
        self._sites.append(site)
        self._ports.append(listening)
        number: int = listening.getHost().port
        return number

    def admit(self, request: APIRequest) -> Grant:
        """
        The rights of a request over something else than HTTP, by the rules in force.
        To be called in any thread.

        @raise APIProblem: it has no rights, or is one too many.
        """
        return self._api.admit(request)

    def use(self, tokens: Tokens) -> None:
        """
        Know these tokens alone from now on.
        """
        self._admission = attrs.evolve(self._admission, tokens=tokens)
        self._resource.close_streams()

    async def stop(self) -> None:
        """
        Listen no more, stop what goes on in the background, and close all connections.
        """
        ports, self._ports = self._ports, []
        for port in ports:
            await maybeDeferred(port.stopListening)
        await self._background.stop()
        self._resource.stop()
        self._hub.stop()
        for site in self._sites:
            try:
                await site.close().addTimeout(_SENDING, self._reactor)
            except TimeoutError:
                pass
