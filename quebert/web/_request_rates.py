"""
How many requests a second a token may make, and an address without one.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from ipaddress import ip_address
from threading import Lock

from quebert.limits import Rate, TokenBucket
from quebert.web._exchange import APIProblem, Caller
from quebert.web._problems import RATE_LIMIT

__all__ = ["RequestRates"]

#: Tokens and addresses that are remembered, those that have asked last.
MOST = 10_000


class RequestRates:
    """
    Counts the requests of each token, and of each address; in any thread.

    @param rate: of each of them; C{None} for no limit.
    @param now: gives seconds of any clock.
    """

    def __init__(self, rate: Rate | None, now: Callable[[], float]) -> None:
        self._rate = rate
        self._now = now
        self._buckets: OrderedDict[tuple[bool, str], TokenBucket] = OrderedDict()
        self._lock = Lock()

    def count(self, caller: Caller) -> None:
        """
        Count a request.

        @raise APIProblem: it is one too many.
        """
        if self._rate is None:
            return
        with self._lock:
            wait = self._bucket(caller, self._rate).take(self._now())
        if wait:
            text = f"more than {self._rate} requests come from {_shown(caller)}"
            later = ("Retry-After", str(math.ceil(wait)))
            status = HTTPStatus.TOO_MANY_REQUESTS
            raise APIProblem(status, text, later, kind=RATE_LIMIT)

    def _bucket(self, caller: Caller, rate: Rate) -> TokenBucket:
        key = (True, caller.name) if caller.name else (False, _place(caller.address))
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket.of(rate, None)
            if len(self._buckets) > MOST:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket


def _shown(caller: Caller) -> str:
    return f"the token {caller.name}" if caller.name else "this address"


def _place(address: str) -> str:
    """
    What stands for an address: of version 6, a client has 2**64 (RFC 6177).
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return address if found.version == 4 else str(int(found) >> 64)
