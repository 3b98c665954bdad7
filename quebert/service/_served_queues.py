"""
The queues of the settings, and with them those that were made over the API: what is
watched is always both.

A reload of the file and a change over the API each take one turn of the reactor, in
which the watches are told all that is wanted from then on.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred

from quebert._log import Logger
from quebert.amqp.coordination import QUEUES, KnownQueues
from quebert.amqp.queues import DEAD_LETTERS
from quebert.config import QueueSettings, Settings, serves, settings_of_made
from quebert.errors import ConfigError, QuebertError
from quebert.metrics import QueueHealth
from quebert.operations import MadeQueueReader
from quebert.service._request_targets import request_target_of
from quebert.service._watches import Watches

__all__ = ["ServedQueues"]


class ServedQueues:
    """
    @param watches: watch what is wanted.
    @param reactor: keeps time.
    """

    log = Logger()

    def __init__(self, watches: Watches, reactor: Any) -> None:
        self._watches = watches
        self._settings: Settings | None = None
        self._known = KnownQueues()
        self._unserved: dict[str, str] = {}  # why
        self._is_waiting = False  # for the first look over a client
        self._reader = MadeQueueReader(lambda: reactor, self._serves, self._found)

    async def start(self, settings: Settings) -> None:
        """
        Begin; returns once each queue of the settings is watched, or could not be.
        Those that were made over the API follow as soon as they are known.

        @raise QuebertError: no queue of the settings can be watched.
        """
        self._settings = settings
        starting = Deferred.fromCoroutine(self._watches.start(settings))
        self._follow(settings)
        await starting

    def change(self, settings: Settings) -> None:
        """
        Have it be as C{settings} say from now on.

        @raise QuebertError: they cannot be used; nothing has changed.
        """
        before, known = self._settings, self._known
        if before is not None and before.broker != settings.broker:
            known = KnownQueues()  # it may have others
        self._watches.change(self._both(settings, known))
        self._settings, self._known = settings, known
        self._follow(settings)

    def health(self) -> dict[str, QueueHealth]:
        """
        How each queue is watched; and, until it is known which queues were made over
        the API, that of their register.
        """
        found = self._watches.health()
        client = self._watches.client
        if client is not None and self._is_waiting:
            found[QUEUES] = QueueHealth(
                consuming=False,
                paused=False,
                connected=client.is_connected,
                problem="it is not known which queues were made over the API",
            )
        return found

    async def stop(self, grace: float) -> None:
        """
        Consume no more, let running requests finish, give the rest back.
        """
        self._reader.follow(None)
        await self._watches.stop(grace)

    def _follow(self, settings: Settings) -> None:
        client = self._watches.client if settings.made_queues.serve else None
        self._is_waiting = client is not None and (
            self._is_waiting or client is not self._reader.client
        )
        self._reader.follow(client)

    def _serves(self, name: str) -> bool:
        return self._settings is not None and serves(self._settings.made_queues, name)

    def _found(self, known: KnownQueues) -> None:
        """
        These are the queues that were made over the API.
        """
        assert self._settings is not None
        try:
            self._watches.change(self._both(self._settings, known))
        except QuebertError as e:
            self.log.error(
                "The queues that were made over the API are served as before: {why}",
                why=e,
            )
            return
        self._known, self._is_waiting = known, False

    def _both(self, settings: Settings, known: KnownQueues) -> Settings:
        client = self._watches.client
        made: dict[str, QueueSettings] = {}
        own = {each.name for each in settings.queues.values()} | {*settings.queues}
        unserved: dict[str, str] = {}
        for name, each in known.definitions.items():
            gone = client is not None and each.is_gone(client.now())
            if gone or not serves(settings.made_queues, name):
                continue
            if name in own:
                unserved[name] = "is in the file, too: it is served as the file says"
                continue
            if name.endswith(DEAD_LETTERS):
                unserved[name] = "is not served: it is a name of dead letters"
                continue
            queue = settings_of_made(settings.made_queues, each)
            try:
                request_target_of(queue.http_target)
            except ConfigError as e:
                unserved[name] = f"is not served: {e}"
            else:
                made[name] = queue
        self._tell_unserved(unserved)
        return attrs.evolve(settings, queues={**settings.queues, **made})

    def _tell_unserved(self, unserved: dict[str, str]) -> None:
        for name, why in sorted(unserved.items()):
            if self._unserved.get(name) != why:
                self.log.warn(
                    "Queue {queue!r} was made over the API, and {why}",
                    queue=name,
                    why=why,
                )
        self._unserved = unserved
