"""
The executor as a service: it listens, takes tasks, and ends in good order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred
from twisted.python.failure import Failure

from quebert._listening import listen
from quebert._log import Logger
from quebert._reactor import given_or_global
from quebert.executor._limits import ExecutorLimits
from quebert.executor._runner import Runner
from quebert.executor._site import ExecutorSite
from quebert.executor._web import ExecutorResource
from quebert.functions import Function
from quebert.signatures import Verifier

__all__ = ["GRACE", "INTERFACE", "PORT", "ExecutorService"]

PORT = 8000
#: Whoever reaches the port can have tasks run, so that others than this
#: machine must be let in knowingly.
INTERFACE = "127.0.0.1"
#: Seconds that running calls get when the service is stopped.
GRACE = 30.0
# Seconds in which the answers must be taken of calls that were given up.
_SENDING = 1.0


class ExecutorService(Service):
    """
    A web server that runs a function for each task.

    @param function: called with each task; returns its result, or a Deferred
        of it, or is a coroutine.  Or a L{Runner}, which calls functions elsewhere.
    @param port: a TCP port; 0 for any that is free.
    @param interface: the IP address to listen on; C{""} for all of IPv4, C{"::"}
        for all.
    @param grace: seconds that running calls get when the service is stopped.
    @param limits: how much it takes of its clients.
    @param verifier: lets only signed requests in; see L{ExecutorResource}, C{hosts}
        likewise.
    @param reactor: listens; the global one by default.
    @ivar port_number: where it listens, once it does.
    @ivar resource: what answers.
    """

    log = Logger()

    def __init__(
        self,
        function: Function | Runner,
        port: int = PORT,
        interface: str = INTERFACE,
        *,
        grace: float = GRACE,
        limits: ExecutorLimits | None = None,
        verifier: Verifier | None = None,
        hosts: Iterable[str] = (),
        reactor: Any = None,
    ) -> None:
        self.port_number = port
        self.resource = ExecutorResource(
            function,
            limits=limits,
            verifier=verifier,
            hosts=hosts,
            reactor=reactor,
        )
        self._interface = interface
        self._grace = grace
        self._reactor = reactor
        self._site: ExecutorSite | None = None
        self._listening: Any = None

    @property
    def reactor(self) -> Any:
        """
        The reactor, the global one unless another was given.
        """
        return given_or_global(self._reactor)

    def privilegedStartService(self) -> None:
        """
        Listen while that is allowed on ports below 1024, too.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._listen()

    def startService(self) -> None:
        """
        Listen, and take tasks.

        @raise twisted.internet.error.CannotListenError: the port is taken, or
            the interface is none of this machine.
        """
        super().startService()  # type: ignore[no-untyped-call]
        self._listen()
        self.resource.runner.start()
        self.resource.draining = False
        interface = self._interface or "0.0.0.0"  # nosec B104  # for the log alone
        self.log.info(
            "Taking tasks at {interface} port {port}.",
            interface=interface,
            port=self.port_number,
        )

    def _listen(self) -> None:
        if self._listening is not None:
            return
        self._site = ExecutorSite(self.resource, self.reactor)
        self._listening = listen(
            self.reactor, self.port_number, self._site, self._interface
        )
        self.port_number = self._listening.getHost().port

    def stopService(self) -> Deferred[None]:
        """
        Listen no more, and let running calls finish.  Requests on connections
        that are open are answered with 503 until then.

        @return: fires once all answers are on their way, or after C{grace}
            seconds.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        self.resource.draining = True
        self.resource.forget_refused()
        finishing = Deferred.fromCoroutine(self._finish())
        finishing.addTimeout(self._grace, self.reactor)
        finishing.addErrback(self._abandon)
        return finishing.addCallback(lambda _: Deferred.fromCoroutine(self._end()))

    async def _finish(self) -> None:
        # It may be started again meanwhile, with a site of its own.
        site = self._site
        listening, self._listening = self._listening, None
        if listening is not None:
            await maybeDeferred(listening.stopListening)
        await self.resource.drained()
        # Only a closed connection has sent all; a reactor that stops before
        # would take the last answers with it.
        if site is not None:
            await site.close()

    def _abandon(self, failure: Failure) -> None:
        failure.trap(TimeoutError)
        self.log.warn(
            "After {grace} s, {active} calls are still running: left behind.",
            grace=self._grace,
            active=self.resource.active,
        )

    async def _end(self) -> None:
        if self.running:  # it was started again meanwhile
            return
        left = self.resource.active
        await self.resource.runner.stop()
        if left > self.resource.active and self._site is not None:
            # What was given up has an answer.
            sent = self._site.close().addTimeout(_SENDING, self.reactor)
            await sent.addErrback(lambda failure: failure.trap(TimeoutError))
