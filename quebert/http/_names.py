"""
Looking up the names of hosts: one look-up of a name at a time, with a time limit, and
so many of all names.

A literal address needs none.  An answer is kept for some seconds, since many tasks
in a row have the same host; that there is none is kept for a second.

The system's resolver blocks whoever asks it, for half a minute and more where a name
server does not answer, and nothing can end that.  So each look-up has a thread of its
own: those of the reactor stay free for others.  L{MOST_THREADS} look-ups run at once.
Names that were slow last get a few of the threads, names that are not known most of
them, and names that were found promptly all.  So whoever makes up slow names does not
keep those waiting that are in use.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from threading import Thread
from typing import Any

import attrs
from twisted.internet._resolver import GAIResolver
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IDelayedCall, IResolutionReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from quebert._reentrancy import NonReentrant
from quebert._waiters import Waiters
from quebert.guard import Address, parsed

__all__ = ["KEPT", "MOST_ADDRESSES", "MOST_NAMES", "MOST_THREADS", "Names"]

#: Seconds that the addresses of a name are kept.
KEPT = 5.0
#: Seconds that a look-up which found nothing is kept.
_KEPT_NONE = 1.0
#: Names that are kept.
MOST_NAMES = 1_000
#: Addresses of one name that are heeded: whoever chooses the name chooses them.
MOST_ADDRESSES = 16
#: Look-ups that run at once.
MOST_THREADS = 64
#: Names that wait for one at most, of each of the three kinds.
MOST_WAITING = 1_000
# Seconds within which a look-up is prompt.
_PROMPT = 1.0
# What a look-up was like last, and of how many threads one more may take one.
_WAS_PROMPT, _UNKNOWN, _WAS_SLOW = range(3)
_THREADS = (MOST_THREADS, MOST_THREADS * 3 // 4, MOST_THREADS // 4)

Addresses = tuple[Address, ...]
Ended = Callable[[Addresses], object]


class Names:
    """
    The addresses of names, as the system's resolver has them, or another one that the
    reactor was given.

    @param reactor: if it has another resolver than Twisted's own, that is asked; it
        keeps the time.
    @param timeout: seconds that a look-up may take, with the wait for a thread.
    @param kept: seconds that its result is kept.
    """

    def __init__(self, reactor: Any, timeout: float, kept: float = KEPT) -> None:
        self._reactor = reactor
        self._timeout = timeout
        self._kept = kept
        self._known: dict[str, tuple[float, Addresses, str]] = {}
        self._waiting: dict[str, Waiters[Addresses]] = {}
        self._late: dict[str, IDelayedCall] = {}
        # Names that wait for a thread, and the numbers of threads, by what they were.
        self._lines: tuple[dict[str, None], ...] = ({}, {}, {})
        self._threads = [0, 0, 0]
        self._asking: set[str] = set()
        self._start_next = NonReentrant(self._start_all)  # one may end at once
        self._was: tuple[dict[str, None], dict[str, None]] = ({}, {})

    def addresses(self, host: str) -> Deferred[Addresses]:
        """
        The addresses of C{host}, without repetition, in the order of the resolver.

        @return: fails with C{DNSLookupError} where there is none, or none in time, or
            too many names wait.
        """
        literal = parsed(host)
        if literal is not None:
            return succeed((literal,))
        until, addresses, why = self._known.get(host, (0.0, (), ""))
        if self._reactor.seconds() < until:
            return _result(addresses, why)
        try:
            host.encode("idna")
        except UnicodeError:  # the resolver's thread would fail, and tell nobody
            return _result((), _not_found(host))
        if host in self._waiting:
            return self._waiting[host].wait()
        if len(self._lines[self._kind_of(host)]) >= MOST_WAITING:
            text = (
                f"{host!r} is not looked up: {MOST_WAITING} names wait for that already"
            )
            return _result((), text)
        answer = self._waiting.setdefault(host, Waiters()).wait()
        self._look_up(host)
        return answer

    def _look_up(self, host: str) -> None:
        self._late[host] = self._reactor.callLater(self._timeout, self._is_late, host)
        if host not in self._asking:  # else its thread has not ended yet
            self._lines[self._kind_of(host)][host] = None
            self._start_next()

    def _kind_of(self, host: str) -> int:
        if host in self._was[0]:
            return _WAS_PROMPT
        return _WAS_SLOW if host in self._was[1] else _UNKNOWN

    def _start_all(self) -> None:
        """
        Begin as many look-ups as may be.
        """
        while (found := self._next()) is not None:
            self._start(*found)

    def _next(self) -> tuple[str, int] | None:
        """
        A name that may be looked up now, and of which kind it is.
        """
        for kind, line in enumerate(self._lines):
            if line and sum(self._threads[kind:]) < _THREADS[kind]:
                host = next(iter(line))
                del line[host]
                return host, kind
        return None

    def _start(self, host: str, kind: int) -> None:
        began = self._reactor.seconds()
        self._threads[kind] += 1
        self._asking.add(host)

        def ended(addresses: Addresses) -> None:
            self._threads[kind] -= 1
            self._asking.discard(host)
            seconds = self._reactor.seconds() - began
            self._remember(host, addresses, seconds < _PROMPT)
            if host in self._late:
                self._late[host].cancel()
                self._found(host, addresses, _not_found(host))
            self._start_next()

        resolver = self._reactor.nameResolver
        if isinstance(resolver, GAIResolver):
            _ask_system(self._reactor, host, ended)
        else:
            receiver: Any = _AddressReceiver(ended)
            resolver.resolveHostName(receiver, host)

    def _remember(self, host: str, addresses: Addresses, prompt: bool) -> None:
        for names in self._was:
            names.pop(host, None)
        if prompt and not addresses:
            return
        names = self._was[0] if prompt else self._was[1]
        if len(names) >= MOST_NAMES:
            del names[next(iter(names))]
        names[host] = None

    def _is_late(self, host: str) -> None:
        for line in self._lines:
            line.pop(host, None)
        if host in self._asking:
            self._remember(host, (), prompt=False)
        self._found(host, (), f"{host!r} was not looked up within {self._timeout:g} s")

    def _found(self, host: str, addresses: Addresses, why: str) -> None:
        del self._late[host]
        kept = self._kept if addresses else min(self._kept, _KEPT_NONE)
        self._known.pop(host, None)
        if len(self._known) >= MOST_NAMES:
            del self._known[next(iter(self._known))]  # the oldest
        self._known[host] = (self._reactor.seconds() + kept, addresses, why)
        result = addresses or Failure(DNSLookupError(why))
        self._waiting.pop(host).fire(result)


def _result(addresses: Addresses, why: str) -> Deferred[Addresses]:
    return succeed(addresses) if addresses else fail(DNSLookupError(why))


def _not_found(host: str) -> str:
    return f"Couldn't find the hostname '{host}'"


def _ask_system(reactor: Any, host: str, ended: Ended) -> None:
    """
    Ask the system's resolver, in a thread that does not keep the process from ending.
    """

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except Exception:  # whatever it is, the look-up has ended
            found = []
        texts = (str(address[0]) for *_, address in found)
        reactor.callFromThread(ended, _heeded(texts))

    try:
        Thread(target=ask, name=f"look-up of {host}", daemon=True).start()
    except RuntimeError:  # the system has no more threads
        reactor.callLater(0, ended, ())


def _heeded(texts: Any) -> Addresses:
    """
    Those that are addresses: any other text would be looked up again when it is
    dialled.
    """
    found: dict[Address, None] = {}
    for text in texts:
        address = parsed(text)
        if address is not None and len(found) < MOST_ADDRESSES:
            found[address] = None
    return tuple(found)


@implementer(IResolutionReceiver)
@attrs.define(eq=False)
class _AddressReceiver:
    """
    Collects the addresses that a resolver finds.

    @ivar _ended: called with them.
    """

    _ended: Ended
    _found: list[str] = attrs.field(factory=list)

    def resolutionBegan(self, resolution: Any) -> None:
        """
        There is nothing yet.
        """

    def addressResolved(self, address: Any) -> None:
        """
        Note an address.
        """
        self._found.append(address.host)

    def resolutionComplete(self) -> None:
        """
        That were all.
        """
        self._ended(_heeded(self._found))
