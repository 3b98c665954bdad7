"""
All origins that are asked for something, each within its limits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Protocol, runtime_checkable

from quebert.limits._origin import Origin, OriginLimits, OriginStatus

__all__ = ["Admission", "FreeingAdmission", "Origins", "WhenFree"]

#: Has a function called once when a request to an origin has ended, see
#: L{FreeingAdmission.when_free}.
WhenFree = Callable[[Callable[[], bool]], None]

# How many are looked at for each new one.
_LOOKED_AT = 4


class Admission(Protocol):
    """
    The admission control of requests: tells whether the origin of one may have it now.
    """

    def admit(self, origin: str, now: float) -> float:
        """
        Let a request go to C{origin}, such as C{"https://example.com:8443"}; L{ended}
        must be called once it has ended.

        @return: 0; or else for how many seconds to wait before asking again.
        """

    def ended(
        self, origin: str, now: float, status: int | None, seconds: float
    ) -> None:
        """
        A request that was let go has ended.

        @param status: C{None} where there was no answer, 0 where we did not wait for
            one.
        @param seconds: from L{admit} on, the wait for a connection included.
        """


@runtime_checkable
class FreeingAdmission(Admission, Protocol):
    """
    An L{Admission} that also tells when a request may be made, so that nobody has to
    ask again and again.
    """

    def when_free(self, origin: str) -> WhenFree | None:
        """
        Called after a request to C{origin} was not admitted.

        @return: what takes a function, and calls it once when another request to
            C{origin} has ended, and one more may run.  The function returns whether it
            makes a request.  C{None} if that is not what the request has to wait for.
        """


class Origins:
    """
    An L{Admission} with limits for each origin.

    @param limits: for each.
    @param hosts: for some, by their origin, C{"https://example.com:8443"}, or their
        host and port, C{"example.com:8443"}; instead of C{limits}.
    @param idle: seconds after which an origin that nobody asked for is forgotten.
    @param most: of how many origins is known how they are doing.
    @param told: called with an origin and its status when its breaker opens, and when
        it has closed again.
    """

    def __init__(
        self,
        limits: OriginLimits | None = None,
        hosts: Mapping[str, OriginLimits] | None = None,
        *,
        idle: float = 600.0,
        most: int = 10_000,
        told: Callable[[str, OriginStatus], object] = lambda origin, status: None,
    ) -> None:
        self._limits = limits or OriginLimits()
        self._hosts = {host.lower(): each for host, each in (hosts or {}).items()}
        self._idle = idle
        self._most = most
        self._told = told
        self._known: OrderedDict[str, Origin] = OrderedDict()  # the last used is last

    def admit(self, origin: str, now: float) -> float:
        """
        See L{Admission.admit}.
        """
        known = self._known.get(origin)
        if known is None:
            self._forget(now)
            known = self._known[origin] = Origin(self._limits_of(origin))
        else:
            self._known.move_to_end(origin)
        known.used = now
        return known.admit(now)

    def ended(
        self, origin: str, now: float, status: int | None, seconds: float
    ) -> None:
        """
        See L{Admission.ended}.
        """
        known = self._known.get(origin)
        if known is None or not known.in_flight:
            return
        if known.ended(now, status, seconds):
            self._told(origin, known.status)
        if known.waiting:  # seldom
            known.tell_free()

    def when_free(self, origin: str) -> WhenFree | None:
        """
        See L{FreeingAdmission.when_free}.
        """
        known = self._known.get(origin)
        return known.call_when_free if known is not None and known.is_full else None

    def snapshot(self, most: int | None = None) -> dict[str, OriginStatus]:
        """
        How each origin that is known is doing.

        @param most: how many are told, those that were used last; C{None} for all.
        """
        start = 0 if most is None else max(0, len(self._known) - most)
        last = islice(self._known.items(), start, None)
        return {origin: known.status for origin, known in last}

    def _limits_of(self, origin: str) -> OriginLimits:
        whole = origin.lower()
        host = whole.partition("://")[2]
        return self._hosts.get(whole) or self._hosts.get(host) or self._limits

    def _forget(self, now: float) -> None:
        """
        Before there is one more, look at those that were not used for longest.
        What is in flight is never forgotten, and whose breaker is not closed only
        where there are too many.
        """
        for origin, known in list(islice(self._known.items(), _LOOKED_AT)):
            full = len(self._known) >= self._most
            if not full and 0 <= now - known.used < self._idle:
                return
            if known.in_flight or not (full or known.is_well):
                self._known.move_to_end(origin)
            else:
                del self._known[origin]
