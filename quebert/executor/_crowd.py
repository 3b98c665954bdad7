"""
Who is connected, and who has to go if there are too many.  Pure.

A connection is at work while a body comes, a function has the request, or an answer
leaves; else it waits for its client.  A client can wait for ever at no cost, so where
there are too many connections one that waits is closed for a new one.  If none waits,
the new one is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Crowd"]

Client = TypeVar("Client", bound=Hashable)


class Crowd(Generic[Client]):
    """
    The connections of an executor.

    @param most: connections in all.
    @param most_of_one: connections of one network.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._networks: dict[Client, str] = {}
        self._counts: Counter[str] = Counter()
        # The one that has waited for longest first.
        self._waiting: dict[Client, None] = {}

    def add(self, client: Client, network: str) -> Client | None:
        """
        Another has connected, and waits.

        @return: the one that has to go, if there are too many: of this network, or of
            the one that has most, and C{client} itself if no other waits.
        """
        self._networks[client] = network
        self._counts[network] += 1
        self._waiting[client] = None
        if self.has_too_many(network):
            return self._longest(network)
        if len(self._networks) <= self._most:
            return None
        crowded = max(self._counts, key=self._counts.__getitem__)
        return self._longest(crowded) or self._longest(None)

    def has_too_many(self, network: str) -> bool:
        """
        Whether a network has more than its part.
        """
        return self._counts[network] > self._most_of_one

    def _longest(self, network: str | None) -> Client | None:
        for client in self._waiting:
            if network in (None, self._networks[client]):
                return client
        return None

    def waits(self, client: Client) -> None:
        """
        It waits from now on, unless it has gone.
        """
        self.works(client)
        if client in self._networks:
            self._waiting[client] = None

    def works(self, client: Client) -> None:
        """
        It waits no more.
        """
        self._waiting.pop(client, None)

    def remove(self, client: Client) -> None:
        """
        It is gone, or about to go.
        """
        self.works(client)
        network = self._networks.pop(client, None)
        if network is not None:
            self._counts[network] -= 1
            if not self._counts[network]:
                del self._counts[network]
