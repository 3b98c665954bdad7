"""
Clients that have not logged in: how many of them there may be, and how fast they may
guess passwords.  Pure; time is an argument.

Both tables are bounded, since anybody who reaches the port can fill them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

import attrs

__all__ = [
    "FREE_GUESSES",
    "LONGEST_WAIT",
    "MOST_STRANGERS",
    "MOST_WAITING",
    "Guesses",
    "Strangers",
]

#: Connections that may be open without a log-in, if the process may have so many
#: files open.
MOST_STRANGERS = 500
#: Wrong passwords after which each further one waits.
FREE_GUESSES = 5
#: Seconds that a password waits at most: less than clients, and the broker, give a
#: log-in.
LONGEST_WAIT = 5.0
#: Passwords that wait at a time.
MOST_WAITING = 8

# Seconds of the first wait; each is twice as long as the one before.
_FIRST_WAIT = 0.1
# Seconds without a wrong password, after which those before are forgotten.
_FORGOTTEN = 600.0
# Who is remembered; beyond, those are forgotten who have not guessed for longest.
_MOST_GUESSERS = 10_000

Client = TypeVar("Client", bound=Hashable)


class Strangers(Generic[Client]):
    """
    Clients that have not logged in.

    @ivar most: how many there may be.
    """

    def __init__(self, most: int = MOST_STRANGERS) -> None:
        self.most = most
        self._networks: dict[Client, str] = {}
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._networks)

    def add(self, client: Client, network: str) -> Client | None:
        """
        Another has connected.

        @return: the client that has to go, where there are too many: the oldest one of
            the network that has most.
        """
        self._networks[client] = network
        self._counts[network] += 1
        if len(self._networks) <= self.most:
            return None
        crowded = max(self._counts, key=self._counts.__getitem__)
        found = next(c for c, place in self._networks.items() if place == crowded)
        self.discard(found)
        return found

    def discard(self, client: Client) -> None:
        """
        A client has logged in, or is gone.
        """
        network = self._networks.pop(client, None)
        if network is not None:
            self._counts[network] -= 1
            if not self._counts[network]:
                del self._counts[network]


@attrs.define
class _Guesser:
    """
    @ivar failures: wrong passwords so far.
    @ivar last: when the last one came, in seconds.
    @ivar waiting: passwords that wait.
    """

    failures: int = 0
    last: float = 0.0
    waiting: int = 0


class Guesses:
    """
    Wrong passwords, by who has given them: a network and the name of a user.

    A right password waits as long as a wrong one.  Otherwise nobody who guesses would
    wait: a password that is not accepted at once would be a wrong one.
    """

    def __init__(self) -> None:
        self._guessers: dict[tuple[str, str], _Guesser] = {}

    def __len__(self) -> int:
        return len(self._guessers)

    def begin(self, who: tuple[str, str], now: float) -> float | None:
        """
        Somebody gives a password.

        @return: seconds that it has to wait; C{None} where too many wait already.
            L{end} must follow if they are not 0.
        """
        guesser = self._guessers.get(who)
        if guesser is None or guesser.failures < FREE_GUESSES:
            return 0.0
        if now - guesser.last > _FORGOTTEN and not guesser.waiting:
            del self._guessers[who]
            return 0.0
        if guesser.waiting >= MOST_WAITING:
            return None
        guesser.waiting += 1
        doublings = min(guesser.failures - FREE_GUESSES, 30)
        return min(_FIRST_WAIT * 2.0**doublings, LONGEST_WAIT)

    def end(self, who: tuple[str, str]) -> None:
        """
        A password waits no longer.
        """
        guesser = self._guessers.get(who)
        if guesser is not None and guesser.waiting:
            guesser.waiting -= 1

    def failed(self, who: tuple[str, str], now: float) -> None:
        """
        A password was wrong.
        """
        guesser = self._guessers.pop(who, None) or _Guesser()
        guesser.failures += 1
        guesser.last = now
        self._guessers[who] = guesser  # at the end: the first one is forgotten first
        if len(self._guessers) > _MOST_GUESSERS:
            del self._guessers[next(iter(self._guessers))]
