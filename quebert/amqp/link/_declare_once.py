"""
Declares a name once for each connection, for any number of callers.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from quebert._waiters import Waiters
from quebert.errors import BrokerRefused

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["DeclareOnce"]


class DeclareOnce:
    """
    @param make: makes what belongs to a name.
    @param again: seconds after which the broker is asked again for what it has
        refused; until then, the refusal stands for all who ask.
    """

    def __init__(
        self,
        make: Callable[[Wire, str], Coroutine[Any, Any, None]],
        again: float = 0.0,
    ) -> None:
        self._make = make
        self._again = again
        self._waiters: dict[tuple[Wire, str], Waiters[None]] = {}
        self._made: WeakKeyDictionary[Wire, dict[str, None]] = WeakKeyDictionary()
        self._refused: dict[str, tuple[BrokerRefused, float]] = {}  # and until when

    async def made(self, wire: Wire, name: str) -> None:
        """
        Returns when it is made; fails as making it did, for all who wait.
        """
        if name not in self._made.get(wire, ()):
            if name in self._refused:
                refusal, until = self._refused[name]
                if wire.clock.seconds() < until:
                    raise refusal.with_traceback(None)
            await self._wait(wire, name)

    def _wait(self, wire: Wire, name: str) -> Deferred[None]:
        if (wire, name) in self._waiters:
            return self._waiters[wire, name].wait()
        waiter = self._waiters.setdefault((wire, name), Waiters()).wait()
        making = Deferred.fromCoroutine(self._begin(wire, name))
        making.addBoth(self._tell, wire, name)
        return waiter

    async def _begin(self, wire: Wire, name: str) -> None:
        await self._make(wire, name)
        self._made.setdefault(wire, {})[name] = None

    def _tell(self, result: Any, wire: Wire, name: str) -> None:
        self._refused.pop(name, None)
        refused = isinstance(result, Failure) and result.check(BrokerRefused)
        if refused and self._again:
            until = wire.clock.seconds() + self._again
            self._refused[name] = (result.value, until)
        self._waiters.pop((wire, name)).fire(result)

    def forget(self) -> None:
        """
        Something of it may be missing: make it again when it is asked for.
        """
        self._made.clear()
