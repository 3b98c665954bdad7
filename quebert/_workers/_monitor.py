"""
Processes that are started again when they end, and killed when they do not:
C{twisted.runner.procmon}, fitted to workers.

Importing it installs the global reactor, as C{twisted.runner.procmon} does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorProcess,
    IReactorTime,
)
from twisted.runner.procmon import ProcessMonitor
from zope.interface import implementer

from quebert._workers._worker_process import DESCRIPTORS, WorkerOwner, WorkerProcess

__all__ = ["EARLY", "FIRST_DELAY", "LAST_DELAY", "Monitor"]

#: Seconds: a worker that has lived for less has died early, and the next one
#: waits: half a second, then twice as long for each in a row.
EARLY = 10.0
FIRST_DELAY = 0.5
LAST_DELAY = 30.0


@implementer(IReactorProcess, IReactorTime)
class _Spawner:
    """
    The reactor as the monitor sees it: the processes it starts are L{WorkerProcess}es.
    """

    def __init__(self, reactor: Any, owner: WorkerOwner) -> None:
        self._reactor = reactor
        self._owner = owner

    def spawnProcess(
        self,
        processProtocol: Any,
        executable: Any,
        args: Any = (),
        env: Any = None,
        path: Any = None,
        uid: int | None = None,
        gid: int | None = None,
        usePTY: Any = False,
        childFDs: Any = None,
    ) -> Any:
        """
        Start it with the descriptors of a worker.
        """
        worker = WorkerProcess(processProtocol, self._owner, self._reactor)
        # Of any bytes, as they came to this process.
        command = [os.fsencode(each) for each in args]
        variables = {os.fsencode(k): os.fsencode(v) for k, v in env.items()}
        try:
            self._reactor.spawnProcess(
                worker, executable, command, env=variables, childFDs=DESCRIPTORS
            )
        except OSError as e:
            worker.cannot_start(e)

    def seconds(self) -> float:
        """
        The time, in seconds.
        """
        return float(self._reactor.seconds())

    def callLater(
        self, delay: float, callable: Any, *args: object, **kwargs: object
    ) -> IDelayedCall:
        """
        Call it after C{delay} seconds.
        """
        call: IDelayedCall = self._reactor.callLater(delay, callable, *args, **kwargs)
        return call

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """
        What is to be called.
        """
        calls: Sequence[IDelayedCall] = self._reactor.getDelayedCalls()
        return calls


class Monitor(ProcessMonitor):
    """
    Starts workers again that have ended.

    @param owner: is told of them.
    @param patience: the seconds after which a process is killed that does not end.
    """

    threshold = EARLY  # type: ignore[assignment]
    minRestartDelay = FIRST_DELAY  # type: ignore[assignment]
    maxRestartDelay = LAST_DELAY  # type: ignore[assignment]

    def __init__(
        self, reactor: Any, owner: WorkerOwner, patience: Callable[[str], float]
    ) -> None:
        super().__init__(_Spawner(reactor, owner))
        self._patience = patience

    def stopProcess(self, name: str) -> None:
        """
        Send SIGTERM; later kill it.
        """
        self.killTime = self._patience(name)  # type: ignore[assignment]
        super().stopProcess(name)

    def be_patient(self, name: str) -> None:
        """
        A process has just told how long it may take to end.  If it is being ended, its
        time begins anew.
        """
        killing = self.murder.get(name)
        if killing is not None and killing.active():
            killing.reset(self._patience(name))

    def leave_ended(self, name: str) -> None:
        """
        Do not start a process again that has ended.
        """
        restarting = self.restart.get(name)
        if restarting is not None and restarting.active():
            restarting.cancel()
