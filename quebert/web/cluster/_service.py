"""
C{quebert web}: composes all of it for one broker and one history.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import attrs
from OpenSSL.SSL import Context
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IOpenSSLContextFactory
from zope.interface import implementer

from quebert._log import Logger
from quebert._text import what_is_wrong
from quebert._tls import server_context
from quebert.config import TLS, ClusterWeb, Listen
from quebert.errors import ConfigError, PortTaken, QuebertError
from quebert.history import HistoryLedger, Retention, open_ledger
from quebert.metrics import ClusterMetrics
from quebert.operations import BrokerAccess
from quebert.web import Audit, Tokens, WebServer
from quebert.web._exchange import APIRequest
from quebert.web._tokens import Grant
from quebert.web.cluster._cloud_tasks import CloudTasksFaces
from quebert.web.cluster._cluster import RealCluster
from quebert.web.cluster._controls import LifeNotes, RealControls
from quebert.web.cluster._created import CreatedTaskKeeper
from quebert.web.cluster._dead_letters import DeadLetterBook
from quebert.web.cluster._history_feeder import HistoryFeeder
from quebert.web.cluster._leases import LeaseKeeper
from quebert.web.cluster._live_cluster import LiveCluster
from quebert.web.cluster._report import ClusterReport
from quebert.web.cluster._single_tasks import SingleTasks
from quebert.web.cluster._unread_leases import UnreadLeases

__all__ = ["WebService", "access_warnings"]


class WebService:
    """
    Serves a cluster over HTTP.

    @param queues: names of queues to show, beside those that mediators watch.
    @param tokens: known tokens, beside those of the file of C{asked}.
    @ivar port: where it listens, once it does.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        broker: BrokerAccess,
        asked: ClusterWeb,
        queues: Sequence[str] = (),
        tokens: Tokens | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.port = asked.listen.port
        self._reactor = reactor
        self._broker = broker
        self._asked = asked
        self._queues = tuple(dict.fromkeys((*queues, *asked.queues)))
        self._own = tokens or Tokens()
        self._now = now
        self._tls: _RenewedTLS | None = None
        self._ledger: HistoryLedger | None = None
        self._created: CreatedTaskKeeper | None = None
        self._cloud_tasks: CloudTasksFaces | None = None
        self._leases: LeaseKeeper | UnreadLeases | None = None
        self._live: LiveCluster | None = None
        self._history_feeder: HistoryFeeder | None = None
        self._server: WebServer | None = None

    @property
    def url(self) -> str:
        """
        Where the page is, by a name by which users of this machine may read it.
        """
        place = str(attrs.evolve(self._asked.listen, port=self.port))
        if ip_address(self._asked.listen.address).is_unspecified:
            place = f"localhost:{self.port}"
        return f"{'http' if self._asked.tls is None else 'https'}://{place}/"

    def listen_at(self, listen: Listen) -> None:
        """
        Listen there when it starts.
        """
        self._asked = attrs.evolve(self._asked, listen=listen)

    async def start(self) -> None:
        """
        Begin; returns once it listens, whether the broker is there or not.

        @raise ConfigError: the files or the port cannot be used.
        @raise HistoryRefused: the history cannot be kept where it should.
        """
        asked = self._asked
        tokens = self._read_tokens()
        audit = Audit(asked.audit)
        if asked.tls is not None:
            self._tls = _RenewedTLS(asked.tls)
        retention = Retention(age=asked.history_age, size=asked.history_size)
        for place in (asked.history, asked.tasks):
            _make_folder(place)
        ledger = await open_ledger(asked.history, retention, reactor=self._reactor)
        self._ledger = ledger
        try:
            opening = CreatedTaskKeeper.open(self._broker, asked.tasks, self._now)
            self._created = await opening
            self._serve(ledger, self._created, tokens, audit)
        except BaseException:
            await self.stop()
            raise
        for text in access_warnings(asked):
            self.log.warn("{text}", text=text)

    def _serve(
        self,
        ledger: HistoryLedger,
        created: CreatedTaskKeeper,
        tokens: Tokens,
        audit: Audit,
    ) -> None:
        broker, asked, now = self._broker, self._asked, self._now
        metrics = ClusterMetrics()
        live = LiveCluster(broker, self._queues, metrics, now)
        feeder = HistoryFeeder(broker, ledger)
        live.watch(feeder)
        letters, notes = DeadLetterBook(broker), LifeNotes(ledger, now)
        tasks = SingleTasks(broker, live, ledger, notes.write, now)
        cloud_tasks = self._cloud_tasks_faces(created, audit, ledger)
        keeper = self._lease_keeper(created)
        leases: LeaseKeeper | UnreadLeases = keeper or UnreadLeases(broker)
        self._leases = leases
        self._server = WebServer(
            self._reactor,
            RealCluster(
                live, feeder, ledger, letters, tasks.why, now, (created, leases)
            ),
            RealControls(broker, letters, tasks, notes),
            created.tasks,
            ClusterReport(metrics, live, feeder),
            tokens=tokens,
            hosts=asked.hosts,
            open_reading=asked.open_reading,
            leases=None if keeper is None else keeper.leases,
            lease_ids=None if asked.leases is None else asked.leases.ids,
            rate_limit=asked.rate_limit,
            audit=audit,
            others={} if cloud_tasks is None else {"v2": cloud_tasks.rest},
            oidc=asked.oidc,
            now=now,
        )
        listen = asked.listen
        try:
            self.port = self._server.listen(listen.port, listen.address, self._tls)
        except CannotListenError as e:
            why = what_is_wrong(e.socketError)
            raise PortTaken(f"cannot listen on {listen}: {why}") from None
        if cloud_tasks is not None:
            cloud_tasks.start()
        live.start()
        feeder.start()
        if keeper is None:
            leases.start()
            created.start()
        else:
            created.start(keeper.start)
        self._live, self._history_feeder = live, feeder

    def _lease_keeper(self, created: CreatedTaskKeeper) -> LeaseKeeper | None:
        asked, rows = self._asked.leases, created.lease_rows
        if asked is None or rows is None:
            return None
        return LeaseKeeper(
            self._broker,
            rows,
            created.published,
            asked.ids,
            self._now,
            created.tasks.leads,
        )

    def _cloud_tasks_faces(
        self, created: CreatedTaskKeeper, audit: Audit, ledger: HistoryLedger
    ) -> CloudTasksFaces | None:
        asked = self._asked.cloud_tasks
        if asked is None:
            return None
        self._cloud_tasks = CloudTasksFaces(
            self._broker,
            created.tasks,
            asked,
            self._now,
            self._admit,
            audit,
            self._asked.tls,
            ledger,
        )
        return self._cloud_tasks

    def _admit(self, request: APIRequest) -> Grant:
        assert self._server is not None  # it is asked for once that listens
        return self._server.admit(request)

    def _read_tokens(self) -> Tokens:
        if self._asked.tokens is None:
            return self._own
        try:
            return self._own.and_those_of(Tokens.read(self._asked.tokens))
        except ConfigError as e:
            raise ConfigError(f"the tokens: {e}") from None

    def reload(self) -> None:
        """
        Read the tokens and the certificate again; go on with the old ones where that
        cannot be.
        """
        if self._server is None:
            return
        try:
            tokens = self._read_tokens()
            if self._tls is not None:
                self._tls.renew()
            if self._cloud_tasks is not None:
                self._cloud_tasks.renew()
        except QuebertError as e:
            self.log.error("Not reloaded: {why}", why=e)
        else:
            self._server.use(tokens)
            self.log.info("Reloaded; tokens: {count}.", count=len(tokens))

    async def stop(self) -> None:
        """
        End.  Attempts that are not in the history yet wait in its queue.
        """
        if self._server is not None:
            await self._server.stop()
        if self._cloud_tasks is not None:
            await self._cloud_tasks.stop()
        if self._live is not None:
            await self._live.stop()
        if self._history_feeder is not None:
            await self._history_feeder.stop()
        if self._leases is not None:
            await self._leases.stop()
        if self._created is not None:
            await self._created.stop()
        if self._ledger is not None:
            await self._ledger.close()
        self._server = self._live = self._history_feeder = self._ledger = None
        self._created = self._cloud_tasks = self._leases = None


def access_warnings(asked: ClusterWeb) -> Iterator[str]:
    """
    Warnings of a place to listen that lets nobody on other machines in, or shows their
    tokens to the network.
    """
    grpc = None if asked.cloud_tasks is None else asked.cloud_tasks.grpc
    for listen in filter(None, (asked.listen, grpc)):
        if listen.is_private:
            continue
        if asked.tokens is None:
            yield (
                f"Other machines can connect to {listen}, but may read nothing: there"
                " is no file of tokens. quebert token makes one; --tokens names it."
            )
        elif asked.tls is None:
            yield (
                f"Other machines send their tokens to {listen} unencrypted: give a"
                " certificate by --certfile, or listen on 127.0.0.1 behind a proxy that"
                " has one."
            )


def _make_folder(database: str) -> None:
    if "://" in database:
        return
    folder = Path(database).parent
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700, parents=True)
            if folder.name.startswith("."):
                (folder / ".gitignore").write_text("*\n")
    except OSError as e:
        raise ConfigError(f"the folder {folder}: {what_is_wrong(e)}") from None


@implementer(IOpenSSLContextFactory)
class _RenewedTLS:
    """
    The certificate and the key, which can be read again.
    """

    def __init__(self, tls: TLS) -> None:
        self._tls = tls
        self.renew()

    def renew(self) -> None:
        """
        Read them.

        @raise ConfigError: they cannot be used.
        """
        assert self._tls.certfile is not None
        self._options = server_context(self._tls.certfile, self._tls.keyfile)

    def getContext(self) -> Context:
        """
        The context of a new connection.
        """
        context: Context = self._options.getContext()
        return context
