"""
The interface of the durable store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from quebert.broker.state._entry import Entry, PublishedMessage
from quebert.broker.state._exchange import Binding, Exchange
from quebert.broker.state._queue import Queue

__all__ = ["Journal", "NoJournal"]


class Journal(Protocol):
    """
    Remembers what is durable.  Nothing that it is told is safe before L{commit}.

    @ivar keeps_messages: whether L{read} gives what L{put} was told.
    """

    keeps_messages: bool

    @property
    def pending(self) -> bool:
        """
        Whether there is anything to commit.
        """

    def exchange_declared(self, vhost: str, exchange: Exchange) -> None:
        """
        There is a durable exchange.
        """

    def exchange_deleted(self, vhost: str, exchange: Exchange) -> None:
        """
        The exchange is gone.
        """

    def queue_declared(self, queue: Queue) -> None:
        """
        There is a durable queue.
        """

    def queue_deleted(self, queue: Queue) -> None:
        """
        The queue is gone, with all that was in it.
        """

    def bound(self, vhost: str, binding: Binding) -> None:
        """
        There is a binding between two that are durable.
        """

    def unbound(self, vhost: str, binding: Binding) -> None:
        """
        The binding is gone.
        """

    def put(
        self,
        queue: Queue,
        entry: Entry,
        message: PublishedMessage,
        expires: float | None,
    ) -> None:
        """
        A persistent message is in a durable queue.

        @param expires: when, by the time of day.
        """

    def removed(self, entry: Entry) -> None:
        """
        The message is out of its queue.
        """

    def delivered(self, queue: Queue) -> None:
        """
        C{queue.delivered} has become greater.
        """

    def counted(self, entry: Entry) -> None:
        """
        C{entry.counts} have changed.
        """

    def read(self, ids: Iterable[int]) -> Mapping[int, PublishedMessage]:
        """
        The messages of entries, committed or not.
        """

    def commit(self) -> None:
        """
        Make safe all that was told.

        @raise StoreError: it cannot be.
        """

    def close(self) -> None:
        """
        Commit, and let go.
        """


class NoJournal:
    """
    Remembers nothing: the broker lives in memory alone.

    @ivar keeps_messages: it does not.
    @ivar pending: there is nothing to commit, ever.
    """

    keeps_messages = False
    pending = False

    def _nothing(self, *about: object) -> None:
        pass

    exchange_declared = exchange_deleted = _nothing
    queue_declared = queue_deleted = bound = unbound = _nothing
    put = removed = delivered = counted = _nothing

    def read(self, ids: Iterable[int]) -> Mapping[int, PublishedMessage]:
        """
        Nothing is kept here only.
        """
        raise AssertionError("it holds nothing")

    def commit(self) -> None:
        """
        There is nothing to do.
        """

    close = commit
