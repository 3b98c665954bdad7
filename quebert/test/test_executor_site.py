"""
An L{ExecutorSite} that a program listens with by itself, on real sockets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from trustme import CA
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString

from quebert.executor import ExecutorLimits, ExecutorResource, ExecutorSite
from quebert.guard import Guard
from quebert.http import Agent
from quebert.test.test_agent import Trusting, certificate_of

reactor: Any = global_reactor
pytestmark = pytest.mark.filterwarnings(
    "ignore:Passing pyOpenSSL:DeprecationWarning",
    "ignore:Attempting to mutate a Context:DeprecationWarning",
)
_JSON = (("Content-Type", "application/json"),)


class Executor:
    """
    An executor with one connection, whose function waits.
    """

    def __init__(self) -> None:
        self.begun: Deferred[None] = Deferred()
        self.result: Deferred[str] = Deferred()
        limits = ExecutorLimits(connections=1, body=1_000)
        self.resource = ExecutorResource(self._execute, limits=limits)
        self.site = ExecutorSite(self.resource)

    def _execute(self, task: Any) -> Deferred[str]:
        self.begun.callback(None)
        return self.result

    async def check(self, agent: Agent, url: str) -> None:
        """
        See that it keeps its clients within limits, and ends in good order.
        """
        answer = await agent.send("POST", url, _JSON, b"x" * 1_001)
        assert answer.code == 413
        await answer.content()
        first = agent.send("POST", url, _JSON, b"{}")
        await self.begun
        beyond = await agent.send("POST", url, _JSON, b"{}")
        assert beyond.code == 503
        assert await beyond.content() == b"the executor has too many connections"
        self.resource.draining = True
        drained = self.resource.drained()
        assert not drained.called
        self.result.callback("done")
        assert await (await first).content() == b"done"
        await drained
        await self.site.close()


@ensureDeferred
async def test_tls() -> None:
    """
    It keeps to its limits over TLS, where it speaks HTTP/1.1 alone.
    """
    authority, executor = CA(), Executor()
    assert executor.site.acceptableProtocols() == [b"http/1.1"]
    options = certificate_of(authority)
    port = reactor.listenSSL(0, executor.site, options, interface="127.0.0.1")
    agent = Agent(reactor, policy=Trusting(authority))
    await executor.check(agent, f"https://localhost:{port.getHost().port}/")
    await maybeDeferred(port.stopListening)


@ensureDeferred
async def test_unix(tmp_path: Path) -> None:
    """
    And over a Unix socket, whose clients have no address.
    """
    executor = Executor()
    path = tmp_path / "executor.sock"
    port = await serverFromString(reactor, f"unix:{path}").listen(executor.site)
    agent = Agent(reactor, guard=Guard(schemes=["http+unix"]))
    await executor.check(agent, f"http+unix://{str(path).replace('/', '%2F')}/")
    await maybeDeferred(port.stopListening)
