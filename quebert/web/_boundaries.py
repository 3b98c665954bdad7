"""
The roles that the server needs from the rooms below, as Protocols.  Its doubles are in
C{quebert.test.fake_cluster}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

import attrs

from quebert.errors import ConfigError
from quebert.events import AttemptBatch
from quebert.operations import Match, Progress
from quebert.web._exchange import APIAnswer, APIRequest
from quebert.web._tokens import Grant
from quebert.web._views import (
    ChangeView,
    ClusterView,
    DeadPage,
    QueueDetail,
    TaskDetail,
    TaskPage,
    WhyView,
)

__all__ = [
    "BadPageToken",
    "Cluster",
    "ClusterWatcher",
    "Controls",
    "Health",
    "OtherAPI",
    "ServerReport",
    "TaskQuery",
]


class BadPageToken(ConfigError):
    """
    A page token is none of ours, or too old.
    """


@attrs.frozen(kw_only=True)
class TaskQuery:
    """
    Conditions for a search of tasks; one that is C{None} or empty lets all through.

    @ivar q: the beginning of the uuid.
    @ivar queue: the name of the queue.
    @ivar patterns: of the names of queues; one must match.
    @ivar url: a part of the URL.
    @ivar status: of the last answer.
    @ivar outcome: of the last attempt.
    @ivar reason: a part of the reason.
    @ivar after: the newest attempt ended then or later, in seconds since the epoch.
    @ivar before: the newest attempt ended then or earlier.
    @ivar page_token: where the page begins.
    @ivar page_size: how many tasks it has at most.
    """

    q: str = ""
    queue: str = ""
    patterns: tuple[str, ...] = ("*",)
    url: str = ""
    status: int | None = None
    outcome: str = ""
    reason: str = ""
    after: float | None = None
    before: float | None = None
    page_token: str = ""
    page_size: int = 50


class ClusterWatcher(Protocol):
    """
    Gets attempts and gaps of the cluster as they come.
    """

    def attempted(self, batch: AttemptBatch) -> object:
        """
        Attempts have ended.
        """

    def lost(self, mediator: str, count: int | None) -> object:
        """
        Attempts of a mediator were lost on the way.
        """


class Cluster(Protocol):
    """
    Reads a cluster.  A figure that cannot be had is C{None}, and C{problems} says why.
    """

    def watch(self, watcher: ClusterWatcher) -> None:
        """
        Tell C{watcher} of attempts from now on.
        """

    def overview(self) -> Awaitable[ClusterView]:
        """
        All of it now.
        """

    def queue(self, name: str) -> Awaitable[QueueDetail]:
        """
        One queue.

        @raise ConfigError: there is no such queue.
        """

    def dead(
        self, queue: str, matches: Sequence[Match], token: str, size: int
    ) -> Awaitable[DeadPage]:
        """
        The dead letters of a queue that match.

        @raise ConfigError: there is no such queue.
        @raise BadPageToken: the token is none of ours.
        @raise BrokerError: the broker cannot be asked.
        """

    def tasks(self, query: TaskQuery) -> Awaitable[TaskPage]:
        """
        The tasks that match, the newest first.

        @raise BadPageToken: the token is none of ours.
        @raise StoreError: the history cannot be asked.
        """

    def task(self, uuid: str) -> Awaitable[TaskDetail | None]:
        """
        One task; C{None} if the history knows none.

        @raise StoreError: the history cannot be asked.
        """

    def why(self, uuid: str, queue: str) -> Awaitable[WhyView]:
        """
        Why a task waits.

        @param queue: the queue of the task; empty if that is not known.
        @raise BrokerError: the broker cannot be asked.
        """


class Controls(Protocol):
    """
    Changes a cluster.  Each method raises L{ConfigError<quebert.errors.ConfigError>} if
    there is no such queue, and L{BrokerError<quebert.errors.BrokerError>} if the broker
    refuses or is away.
    """

    def pause(self, queue: str, by: str) -> Awaitable[Sequence[str]]:
        """
        Pause a queue; gives the problems.
        """

    def resume(self, queue: str) -> Awaitable[Sequence[str]]:
        """
        Have a queue go on; gives the problems.
        """

    def purge(self, queue: str) -> Awaitable[Progress]:
        """
        Drop the tasks that wait, or as many as can be dropped in some seconds.
        """

    def redrive(
        self, queue: str, matches: Sequence[Match], progress: Progress
    ) -> Awaitable[object]:
        """
        Put dead letters back.
        """

    def discard(
        self, queue: str, matches: Sequence[Match], progress: Progress
    ) -> Awaitable[object]:
        """
        Drop dead letters.
        """

    def cancel(self, queue: str, uuid: str, by: str) -> Awaitable[ChangeView]:
        """
        Cancel a task: no attempt at it begins any more.
        """

    def cancel_matching(
        self, queue: str, matches: Sequence[Match], progress: Progress, by: str
    ) -> Awaitable[object]:
        """
        Cancel all tasks that match.
        """

    def run_now(self, queue: str, uuid: str) -> Awaitable[ChangeView]:
        """
        Have a delayed task be attempted now.
        """


class OtherAPI(Protocol):
    """
    An API of somebody else's that the server has beside its own.  All paths that begin
    with one word are of it.
    """

    def prepared(self, request: APIRequest) -> APIRequest:
        """
        A request, with its token where those of our own API have it.
        """

    def answer(self, request: APIRequest, grant: Grant) -> Awaitable[APIAnswer]:
        """
        The answer to a request of somebody who has a token, whatever its rights.
        """

    def formed(self, answer: APIAnswer) -> APIAnswer:
        """
        An answer of the server itself, such as that a request is too large, in the form
        of this API.
        """


@attrs.frozen(kw_only=True)
class Health:
    """
    Whether something is as it should be.

    @ivar ok: whether it is.
    @ivar body: the same with the reasons, as JSON.
    """

    ok: bool
    body: bytes


class ServerReport(Protocol):
    """
    Metrics and health, for Prometheus and for supervisors of processes.
    """

    def metrics(self, accept: str) -> tuple[str, bytes]:
        """
        The type and the text of the metrics.
        """

    def alive(self) -> Health:
        """
        Whether the process lives.
        """

    def ready(self) -> Health:
        """
        Whether it does all that it should.
        """
