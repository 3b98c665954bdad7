"""
The broker: its virtual hosts, who may in, and what happens in which order in a
turn of the reactor.

In a turn everything that came is dealt with; at its end what others rely on is
committed, and only then is anything said.  So a confirmed message is safe.
"""

from __future__ import annotations

import hmac
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory

from quebert._listening import host_of
from quebert._log import Logger
from quebert._open_files import affordable
from quebert._repeated import RepeatedWarning
from quebert._turn import EndOfTurn
from quebert.broker.protocol import (
    MOST_STRANGERS,
    FrameConnection,
    Guesses,
    ServerConnection,
    Strangers,
)
from quebert.broker.state import (
    Journal,
    NoJournal,
    Records,
    Router,
    Timers,
    VirtualHost,
)
from quebert.broker.store import described
from quebert.clock import seconds_set
from quebert.errors import ReplyCode, StoreError

__all__ = ["BrokerFactory"]

#: Seconds after which changes are committed that no client waits for.  All others are
#: committed at the end of their turn.
LAZILY = 0.05
#: Seconds that clients have to agree when the broker stops.
STOP_TIMEOUT = 2.0

_GOODBYE = "broker forced connection closure with reason 'shutdown'"


class BrokerFactory(Factory):
    """
    An AMQP 0-9-1 broker, to be listened with.

    @param journal: what remembers for it; without one it lives in memory.
    @param records: what that remembered.
    @param vhosts: names of virtual hosts; the first is the default.
    @param users: passwords by user names.
    @ivar clock: the reactor, for all timers.
    @ivar connections: all connections, also those of clients that have not logged in,
        and those that are being closed.
    @ivar vhosts: the virtual hosts, by their names.
    @ivar default_vhost: that of clients that have not named one yet.
    @raise StoreError: the records make no sense, or cannot be read.
    @ivar failed: fires with the error if the journal fails; nothing is
        confirmed, nor said at all, any more.
    """

    noisy = False
    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        journal: Journal | None = None,
        records: Records | None = None,
        *,
        vhosts: Iterable[str] = ("/",),
        users: Mapping[str, str] | None = None,
    ) -> None:
        records = Records() if records is None else records
        self.clock = clock
        self.connections: set[ServerConnection] = set()
        self._strangers: Strangers[ServerConnection] = Strangers(
            affordable(MOST_STRANGERS)
        )
        self._guesses = Guesses()
        #: Warns of those who are not let in.
        self.refused = RepeatedWarning(
            self.log,
            lambda: clock,
            "A connection without a log-in is closed",
            "Connections log in again",
        )
        self.failed: Deferred[Exception] = Deferred()
        self._journal: Journal = NoJournal() if journal is None else journal
        self._users = {"guest": "guest"} if users is None else dict(users)
        self._ahead = 0.0
        self._timers = Timers(clock.seconds())
        self._timers.ahead = seconds_set(clock)
        self._ids = itertools.count(records.last_id + 1)
        self._router = Router(self._timers, self._journal, self._ids)
        self.vhosts: dict[str, VirtualHost] = {}
        for name in vhosts:
            self._vhost(name)
        self.default_vhost = next(iter(self.vhosts.values()))
        self._turn = EndOfTurn(clock, self._end_turn)
        self._speaking: dict[FrameConnection, None] = {}
        self._relied = False
        self._broken = False
        self._lazily: IDelayedCall | None = None
        self._patience: IDelayedCall | None = None
        self._stopping: Deferred[None] | None = None
        self._alarm: IDelayedCall | None = None
        try:
            self._restore(records)
        except StoreError:
            raise
        except Exception as e:  # any could come of what is damaged
            why = described(f"{type(e).__name__}: {e}")
            text = f"what was stored makes no sense any more: {why}"
            raise StoreError(text) from e

    def buildProtocol(self, address: Any) -> ServerConnection:
        """
        The server's side of a new connection.
        """
        connection = ServerConnection(self, host_of(address))
        connection.factory = self
        return connection

    # -- Who may in

    def connected(self, connection: ServerConnection) -> None:
        """
        Another client, that has not logged in.
        """
        self.connections.add(connection)
        one_too_many = self._strangers.add(connection, connection.network)
        if one_too_many is not None:
            self.refused.met(f"more than {self._strangers.most} have not logged in")
            transport: Any = one_too_many.transport
            transport.abortConnection()

    def begin_login(self, connection: ServerConnection, user: str) -> float | None:
        """
        Somebody gives a password.

        @return: seconds after which L{lets_in} may be asked; C{None} where the client
            is to be cut off.  L{end_wait} must follow if they are not 0.
        """
        wait = self._guesses.begin(self._who(connection, user), self.clock.seconds())
        if wait is None:
            self.refused.met(f"too many passwords from {connection.network}")
        return wait

    def end_wait(self, connection: ServerConnection, user: str) -> None:
        """
        The password waits no longer.
        """
        self._guesses.end(self._who(connection, user))

    def lets_in(self, connection: ServerConnection, user: str, password: str) -> bool:
        """
        Whether that is a user's password.
        """
        known = self._users.get(user)
        given = password.encode("utf-8", "surrogateescape")
        if known is not None and hmac.compare_digest(known.encode(), given):
            self._strangers.discard(connection)
            self.refused.succeeded()
            return True
        who = self._who(connection, user)
        self._guesses.failed(who, self.clock.seconds())
        name = f"user {user!r}" if who[1] else "an unknown user"
        self.refused.met(f"a wrong password for {name} from {connection.network}")
        return False

    def _who(self, connection: ServerConnection, user: str) -> tuple[str, str]:
        # All users that there are not are one, or each guess would be another's.
        return connection.network, user if user in self._users else ""

    # -- What there is

    def _vhost(self, name: str) -> VirtualHost:
        vhost = self.vhosts.get(name)
        if vhost is None:
            vhost = self.vhosts[name] = VirtualHost(
                name, self._timers, self._journal, self._router, self._ids
            )
        return vhost

    def _restore(self, records: Records) -> None:
        for exchange in records.exchanges:
            self._vhost(exchange.vhost).exchanges.restore(exchange)
        queues = {
            record.id: self._vhost(record.vhost).restore_queue(record)
            for record in records.queues
        }
        for binding in records.bindings:
            self._vhost(binding.vhost).restore_binding(binding)
        for entry in records.entries:
            self._router.restore(queues[entry.queue], entry)
        for queue in queues.values():
            self._router.expire(queue)
        self._turn.ask()

    def depths(self, vhost: str = "/") -> dict[str, int]:
        """
        How many messages each queue holds, ready or delivered.
        """
        queues = self.vhosts[vhost].queues
        return {n: len(q.ready) + q.unacked for n, q in sorted(queues.items())}

    # -- Time

    def advance(self, seconds: float) -> None:
        """
        Have C{seconds} pass at once, for messages and queues.
        """
        self._ahead += seconds
        self.begin_turn()

    def begin_turn(self) -> None:
        """
        Something came, or its time did: do first what is due before it.
        """
        self._turn.ask()
        self._timers.ahead = seconds_set(self.clock)
        try:
            self._timers.move_to(self.clock.seconds() + self._ahead)
        except StoreError as e:
            self.fail(e)

    def _set_alarm(self) -> None:
        time = self._timers.next
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        self._alarm = None
        if time is not None:
            wait = time - self._ahead - self.clock.seconds()
            self._alarm = self.clock.callLater(max(0.0, wait), self.begin_turn)

    # -- The end of a turn

    def rely(self) -> None:
        """
        What was done in this turn is to be safe before its end.
        """
        self._relied = True

    def ends_turn(self, connection: FrameConnection) -> None:
        """
        A connection has something to say at the end of this turn.
        """
        self._speaking[connection] = None
        self._turn.ask()

    def _end_turn(self) -> None:
        if self._broken:
            return
        if self._relied and not self._commit():
            return
        self._relied = False
        if not self._speak():
            return
        if self._journal.pending and self._lazily is None:
            self._lazily = self.clock.callLater(LAZILY, self._commit_lazily)
        self._set_alarm()

    def _speak(self) -> bool:
        """
        Have connections say what they have to say; whether the journal has not failed
        meanwhile, after which nothing is said.
        """
        while self._speaking:
            speaking, self._speaking = self._speaking, {}
            for connection in speaking:
                connection.finish_turn()
                if self._broken:
                    return False
        return True

    def _commit_lazily(self) -> None:
        self._lazily = None
        if not self._broken:
            self._commit()

    def _commit(self) -> bool:
        try:
            self._journal.commit()
        except StoreError as e:
            self.fail(e)
            return False
        return True

    def fail(self, error: StoreError) -> None:
        """
        What is durable cannot be read or written: nothing more is promised.
        """
        if self._broken:
            return
        self._broken = True
        self.log.error("The broker stops: {error}", error=error)
        self._cut()
        self.failed.callback(error)

    # -- The end

    def connection_lost(self, connection: ServerConnection) -> None:
        """
        One less.
        """
        self.connections.discard(connection)
        self._strangers.discard(connection)
        if self._stopping is not None and not self.connections:
            self._stopped()

    def stop(self, patience: float = STOP_TIMEOUT) -> Deferred[None]:
        """
        Close all connections and commit; fires when that is done, or fails with
        L{StoreError} if the journal cannot be let go.

        @param patience: seconds that clients have to agree.
        """
        if self._stopping is None:
            self._stopping = Deferred()
            for connection in list(self.connections):
                connection.shut(ReplyCode.CONNECTION_FORCED, _GOODBYE)
            self._patience = self.clock.callLater(patience, self._cut)
            if not self.connections:
                self._stopped()
        return self._stopping

    def _cut(self) -> None:
        for connection in list(self.connections):
            transport: Any = connection.transport
            transport.abortConnection()

    def _stopped(self) -> None:
        assert self._stopping is not None
        self._turn.cancel()
        self.refused.end()
        for call in (self._alarm, self._lazily, self._patience):
            if call is not None and call.active():
                call.cancel()
        if not self._broken:
            self._commit()
        self._broken = True  # nothing is done any more
        try:
            self._journal.close()
        except StoreError as e:
            self._stopping.errback(e)
        else:
            self._stopping.callback(None)
