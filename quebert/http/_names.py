"""
Looking up the names of hosts: one look-up of a name at a time, with a time limit.

A literal address needs none.  An answer is kept for some seconds, since many tasks
in a row have the same host; that there is none is kept for a second.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IDelayedCall, IResolutionReceiver
from zope.interface import implementer

from quebert.guard import Address, parsed

__all__ = ["KEPT", "MOST_ADDRESSES", "MOST_NAMES", "Names"]

#: Seconds that the addresses of a name are kept.
KEPT = 5.0
#: Seconds that a look-up which found nothing is kept.
_KEPT_NONE = 1.0
#: Names that are kept.
MOST_NAMES = 1_000
#: Addresses of one name that are heeded: whoever chooses the name chooses them.
MOST_ADDRESSES = 16

Addresses = tuple[Address, ...]


class Names:
    """
    The addresses of names, as the reactor's resolver has them.

    @param reactor: its C{nameResolver} is asked; it keeps the time.
    @param timeout: seconds that a look-up may take.
    @param kept: seconds that its result is kept.
    """

    def __init__(self, reactor: Any, timeout: float, kept: float = KEPT) -> None:
        self._reactor = reactor
        self._timeout = timeout
        self._kept = kept
        self._known: dict[str, tuple[float, Addresses]] = {}
        self._waiting: dict[str, list[Deferred[Addresses]]] = defaultdict(list)

    def addresses(self, host: str) -> Deferred[Addresses]:
        """
        The addresses of C{host}, without repetition, the preferred one first.

        @return: fails with L{DNSLookupError} where there is none, or none in time.
        """
        literal = parsed(host)
        if literal is not None:
            return succeed((literal,))
        until, addresses = self._known.get(host, (0.0, ()))
        if self._reactor.seconds() < until:
            return _result(host, addresses)
        try:
            host.encode("idna")
        except UnicodeError:  # the resolver's thread would fail, and tell nobody
            return _result(host, ())
        answer: Deferred[Addresses] = Deferred()
        waiting = self._waiting[host]
        waiting.append(answer)
        if len(waiting) == 1:
            self._look_up(host)
        return answer

    def _look_up(self, host: str) -> None:
        def ended(addresses: Addresses) -> None:
            if late.active():
                late.cancel()
                self._found(host, addresses)

        late: IDelayedCall = self._reactor.callLater(self._timeout, self._found, host)
        receiver: Any = _Receiver(ended)
        self._reactor.nameResolver.resolveHostName(receiver, host)

    def _found(self, host: str, addresses: Addresses = ()) -> None:
        kept = self._kept if addresses else min(self._kept, _KEPT_NONE)
        self._known.pop(host, None)
        if len(self._known) >= MOST_NAMES:
            del self._known[next(iter(self._known))]  # the oldest
        self._known[host] = (self._reactor.seconds() + kept, addresses)
        for each in self._waiting.pop(host):
            if not each.called:
                _result(host, addresses).chainDeferred(each)


def _result(host: str, addresses: Addresses) -> Deferred[Addresses]:
    if addresses:
        return succeed(addresses)
    return fail(DNSLookupError(f"Couldn't find the hostname '{host}'"))


@implementer(IResolutionReceiver)
@attrs.define(eq=False)
class _Receiver:
    """
    Collects the addresses that a resolver finds.

    @param ended: called with them.
    """

    _ended: Any
    _found: dict[Address, None] = attrs.field(factory=dict)

    def resolutionBegan(self, resolution: Any) -> None:
        """
        There is nothing yet.
        """

    def addressResolved(self, address: Any) -> None:
        """
        Note an address; any other text would be looked up again when it is dialled.
        """
        found = parsed(address.host)
        if found is not None and len(self._found) < MOST_ADDRESSES:
            self._found[found] = None

    def resolutionComplete(self) -> None:
        """
        That were all.
        """
        self._ended(tuple(self._found))
