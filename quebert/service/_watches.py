"""
The watches that settings ask for, and their change from one to the next without a
task lost: what is new starts first, then what was there stops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    gatherResults,
)
from twisted.python.failure import Failure

from quebert._log import Logger
from quebert._reactor import given_or_global
from quebert._repeated import RepeatedWarning
from quebert._text import one_line
from quebert.amqp import PriorityGroup, TxAMQPClient, Watcher
from quebert.boundaries import HTTPClient
from quebert.config import OIDC, Host, Priorities, QueueSettings, Settings
from quebert.errors import QuebertError
from quebert.http import Agent, Dispatcher, HostTLS
from quebert.limits import Admission
from quebert.mediator import Mediator
from quebert.metrics import QueueHealth
from quebert.policy import exponential
from quebert.service._mediators import mediates_alike, mediator
from quebert.service._request_targets import request_target_of
from quebert.service._task_log import log_done
from quebert.service._watch_events import WatchEvents, Watching
from quebert.service._watched_queue import WatchedQueue
from quebert.service._ways import (
    admission_of,
    client_of,
    connections_of,
    group_of,
    id_tokens_for,
    id_tokens_of,
    tls_of,
    way_of,
)
from quebert.signatures import IDTokens
from quebert.task_events import TaskObserver, told_to
from quebert.telemetry.mediating import OFF, Telemetry

__all__ = ["LONGEST_WATCH_WAIT", "Watches"]

#: Seconds after which a queue that could not be watched is tried again, at most.
LONGEST_WATCH_WAIT = 60.0
# Characters of why a queue cannot be watched.
_PROBLEM = 300


class Watches:
    """
    @param reactor: the global one by default.
    @param make_client: called with settings and the reactor.
    @param http: makes the requests of all mediators.
    @param observe: gives a further observer of the tasks of a queue.
    @param events: publishes what happens; C{None} for nothing.
    @param telemetry: follows tasks through the mediators.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any = None,
        *,
        make_client: Callable[[Settings, Any], TxAMQPClient] = client_of,
        http: HTTPClient | None = None,
        observe: Callable[[QueueSettings], TaskObserver] | None = None,
        events: WatchEvents | None = None,
        telemetry: Telemetry = OFF,
    ) -> None:
        self._reactor = given_or_global(reactor)
        self._make_client = make_client
        self._observe = observe
        self._events = events
        self._telemetry = telemetry
        self._tls = HostTLS()
        self._http = http or Dispatcher(Agent(self._reactor, policy=self._tls))
        self._clients: dict[Any, TxAMQPClient] = {}
        self._client: TxAMQPClient | None = None
        self._watched: dict[str, WatchedQueue] = {}
        self._ending: set[Deferred[Any]] = set()
        self._grace = 0.0
        self._hosts: Mapping[str, Host] = {}
        self._priorities: Priorities | None = None
        self._group = PriorityGroup()
        self._admission: Admission | None = None
        self._oidc: OIDC | None = None
        self._id_tokens: IDTokens | None = None

    @property
    def client(self) -> TxAMQPClient | None:
        """
        The client of the present settings; C{None} before there are any.
        """
        return self._client

    async def start(self, settings: Settings) -> None:
        """
        Begin; returns once each watch consumes, or could not.  Those that could not try
        again as soon as one consumes, whatever the others wait for.

        @raise QuebertError: none of them can.
        """
        self.change(settings)
        beginning: dict[Deferred[None], WatchedQueue] = {}
        for each in self._watched.values():
            if each.watcher is None:
                each.begun = Deferred()
                beginning[each.begun] = each
        if not beginning:
            return
        first: Any = await DeferredList(beginning, fireOnOneCallback=True)
        if isinstance(first, list):  # all have failed
            for begun in beginning:
                begun.addErrback(lambda _: None)
            first[0][1].raiseException()
        for begun, watched in beginning.items():
            begun.addErrback(partial(self._could_not, watched))
        await DeferredList(beginning)

    def change(self, settings: Settings) -> None:
        """
        Have it be as C{settings} say from now on; what takes time goes on by
        itself, and is told in the log.

        @raise QuebertError: they cannot be used; nothing has changed.
        """
        client = self._client_for(settings)
        mediators = {
            name: self._mediator_for(name, queue)
            for name, queue in settings.queues.items()
        }
        targets = {
            name: request_target_of(queue.http_target)
            for name, queue in settings.queues.items()
        }
        admission = self._admission_for(settings)
        self._client, self._grace = client, settings.service.grace
        if isinstance(self._http, Dispatcher) and settings.hosts != self._hosts:
            self._tls.hosts, self._tls.others = tls_of(settings.hosts)
            self._http.change_limits(*connections_of(settings.hosts))
        self._hosts, self._admission = settings.hosts, admission
        if settings.oidc != self._oidc:
            self._oidc, self._id_tokens = settings.oidc, id_tokens_of(settings)
        if settings.priorities != self._priorities:
            self._priorities = settings.priorities
            self._group = group_of(settings.priorities)
        self._clients[_kind_of_client(settings)] = client
        for name in self._watched.keys() - settings.queues.keys():
            self._remove(self._watched.pop(name))
        for name, queue in settings.queues.items():
            watched = self._watched.get(name)
            if watched is None:
                watched = WatchedQueue(
                    queue, mediators[name], self._warning(queue.name)
                )
                self._watched[name] = watched
            watched.queue, watched.mediator = queue, mediators[name]
            watched.mediator.admission = admission
            watched.mediator.drop_before = queue.drop_before
            watched.mediator.target = targets[name]
            id_tokens = id_tokens_for(self._id_tokens, settings, queue.name)
            watched.mediator.id_tokens = id_tokens
            watched.mediator.observer = self._observer(queue, settings)
            if self._events is not None:
                recorder = self._events.recorder_of(queue, settings)
                watched.mediator.recorder = recorder
            self._see_to(watched, client, way_of(queue, settings, self._group))
        self._drop_clients()
        if self._events is not None:
            self._events.change(settings, client, admission, self.watching)
            client.questions.name = self._events.name

    def watching(self) -> list[Watching]:
        """
        What is watched, or to be watched, and by which watcher.
        """
        return [
            (each.queue, each.watcher, *each.before) for each in self._watched.values()
        ]

    def _observer(
        self, queue: QueueSettings, settings: Settings
    ) -> TaskObserver | None:
        observers: list[TaskObserver] = []
        if settings.service.log_tasks:
            observers.append(log_done)
        if self._observe is not None:
            observers.append(self._observe(queue))
        return told_to(observers)

    def _client_for(self, settings: Settings) -> TxAMQPClient:
        known = self._clients.get(_kind_of_client(settings))
        return known or self._make_client(settings, self._reactor)

    def _admission_for(self, settings: Settings) -> Admission | None:
        """
        The admission control of hosts: the present one as long as C{[hosts]} does not
        change, since another one does not know how they are doing.
        """
        same = settings.hosts == self._hosts
        return self._admission if same else admission_of(settings.hosts)

    def _mediator_for(self, name: str, queue: QueueSettings) -> Mediator:
        watched = self._watched.get(name)
        if watched is not None and mediates_alike(watched.queue, queue):
            return watched.mediator
        made = mediator(queue, self._http, self._reactor)
        made.http = self._telemetry.http_client(made.http)
        return made

    def health(self) -> dict[str, QueueHealth]:
        """
        How each queue is watched.
        """
        return {name: each.health() for name, each in self._watched.items()}

    # -- One queue

    def _see_to(
        self, watched: WatchedQueue, client: TxAMQPClient, way: dict[str, Any]
    ) -> None:
        """
        Have it watched the way that is wanted, unless it is.
        """
        wanted = (client, way)
        if watched.starting is not None and watched.starting_way == wanted:
            return
        watched.supersede(client)
        if watched.way == wanted:
            return
        callback = self._telemetry.callback(watched.queue.name, watched.received)
        starting = client.watch(callback=callback, **way)
        watched.starting, watched.starting_way = starting, wanted
        starting.addCallbacks(
            self._began,
            self._cannot,
            callbackArgs=(watched, wanted, starting),
            errbackArgs=(watched, starting),
        )

    def _began(
        self, watcher: Watcher, watched: WatchedQueue, way: Any, starting: Deferred[Any]
    ) -> None:
        if watched.starting is not starting:
            self._end(watcher)
            return
        old, watched.watcher, watched.way = watched.watcher, watcher, way
        watched.starting = None
        watched.failures, watched.problem = 0, ""
        watched.refused.succeeded()
        self.log.info(
            "Watching {queue!r}, {prefetch} tasks at once.",
            queue=watcher.queue,
            prefetch=watcher.options.prefetch,
        )
        if old is not None:
            watched.before.append(old.counts)
            self._end(old)
        watched.fire()

    def _cannot(
        self, failure: Failure, watched: WatchedQueue, starting: Deferred[Any]
    ) -> None:
        if watched.starting is not starting:
            failure.trap(CancelledError, QuebertError)
            return
        watched.starting = None
        if watched.begun is not None and not watched.begun.called:
            watched.begun.errback(failure)
        elif watched.watcher is None:
            self._try_again(watched, failure)
        elif failure.check(QuebertError):
            self.log.error(
                "Queue {queue!r} is still watched with the old settings: {why}",
                queue=watched.queue.name,
                why=failure.value,
            )
        else:
            self.log.failure(
                "Queue {queue!r} is still watched with the old settings.",
                failure,
                queue=watched.queue.name,
            )

    def _could_not(self, watched: WatchedQueue, failure: Failure) -> None:
        """
        A queue could not be watched at the start, and may have been removed since.
        """
        if any(each is watched for each in self._watched.values()):
            self._try_again(watched, failure)

    def _try_again(self, watched: WatchedQueue, failure: Failure) -> None:
        watched.failures += 1
        watched.problem = one_line(failure.getErrorMessage(), _PROBLEM)
        seconds = exponential(watched.failures, constant=2, maximum=LONGEST_WATCH_WAIT)
        if failure.check(QuebertError):
            watched.refused.met(failure.value)
        else:
            self.log.failure(
                "Queue {queue!r} cannot be watched, and is tried again.",
                failure,
                queue=watched.queue.name,
            )
        watched.again = self._reactor.callLater(
            seconds, self._see_to, watched, *watched.starting_way
        )

    def _warning(self, queue: str) -> RepeatedWarning:
        return RepeatedWarning(
            self.log,
            lambda: self._reactor,
            "Queue {queue!r} cannot be watched for now, and is tried again",
            "Queue {queue!r} can be watched again",
            queue=queue,
        )

    def _remove(self, watched: WatchedQueue) -> None:
        watched.supersede(self._client)
        watched.refused.end()
        if watched.watcher is not None:
            self._end(watched.watcher)
        watched.fire()

    # -- The end of some

    def _end(self, watcher: Watcher) -> None:
        self._note(watcher.stop(self._grace), "Stopping a watch failed.")

    def _note(self, ending: Deferred[Any], failed: str) -> None:
        self._ending.add(ending)
        ending.addErrback(lambda f: self.log.failure(failed, f))
        ending.addBoth(self._ended, ending)

    def _ended(self, _: object, ending: Deferred[Any]) -> None:
        self._ending.discard(ending)
        self._drop_clients()

    def _drop_clients(self) -> None:
        """
        Leave the brokers that nothing is watched of any more.
        """
        for key, client in list(self._clients.items()):
            if client is not self._client and not client.watchers:
                del self._clients[key]
                failed = "Stopping a client without watches failed."
                self._note(client.stop(self._grace), failed)

    async def stop(self, grace: float) -> None:
        """
        Consume no more, let running requests finish, give the rest back.
        """
        for watched in self._watched.values():
            watched.supersede(None)
            watched.refused.end()
        if self._events is not None:
            clients = self._clients.values()
            watchers = [each for client in clients for each in client.watchers]
            # Stopping the clients tells how that went.
            ending = [each.stop(grace) for each in watchers]
            await DeferredList(ending, consumeErrors=True)
            await self._events.stop()
        stopping = [client.stop(grace) for client in self._clients.values()]
        await gatherResults([*stopping, *self._ending])


def _kind_of_client(settings: Settings) -> tuple[Any, ...]:
    """
    The settings whose change takes a new client.
    """
    return settings.broker, settings.quorum_delays, settings.service.max_memory
