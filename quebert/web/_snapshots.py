"""
The overview, which is made once for all requests of a second, and which is always
there: also while the broker does not answer.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, TimeoutError

from quebert._log import Logger
from quebert._waiters import Once
from quebert.errors import QuebertError
from quebert.web._views import ClusterView

__all__ = ["FRESH", "Snapshots"]

#: Seconds for which one is told again.
FRESH = 0.9
#: Seconds in which there is one.
PATIENCE = 5.0


class Snapshots:
    """
    Makes them.

    @param look: makes one.
    @param now: gives the time of day.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        look: Callable[[], Awaitable[ClusterView]],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._reactor = reactor
        self._look = look
        self._now = now
        self._last = ClusterView(at=now(), problems=("nothing is known yet",))
        self._made_at = float("-inf")
        self._once = Once(self._make, again=True)

    async def get(self) -> ClusterView:
        """
        The overview, at most L{FRESH} seconds old unless it has problems.
        """
        if self._reactor.seconds() - self._made_at >= FRESH:
            await self._once()
        return self._last

    async def _make(self) -> None:
        looking = Deferred.fromCoroutine(_awaited(self._look()))
        try:
            self._last = await looking.addTimeout(PATIENCE, self._reactor)
        except TimeoutError:
            self._fail(f"no answer for {PATIENCE:g} s: what is shown is old")
        except QuebertError as e:
            self._fail(str(e))
        except Exception as e:
            self.log.failure("The overview cannot be made.")
            self._fail(f"the overview cannot be made: {type(e).__name__}")
        self._made_at = self._reactor.seconds()

    def _fail(self, why: str) -> None:
        self._last = attrs.evolve(self._last, problems=(why,))


async def _awaited(given: Awaitable[ClusterView]) -> ClusterView:
    return await given
