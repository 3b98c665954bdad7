"""
Calls of threads into the reactor, whose turns are made by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert.test.support import PATIENCE
from quebert.web.cloud_tasks.grpc._reactor_calls import (
    Abandoned,
    ReactorCalls,
    TooManyCalls,
)


class _Turns:
    """
    A reactor whose turns are made one by one.
    """

    def __init__(self) -> None:
        self.calls: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def callFromThread(self, call: Callable[..., object], *args: Any) -> None:
        self.calls.put(lambda: call(*args))

    def turn(self) -> None:
        """
        Do what the next one has asked for.
        """
        self.calls.get(timeout=PATIENCE)()


class _Client(Thread):
    """
    Makes a call in a thread.

    @ivar result: of the call, or the exception.
    @ivar leave: ends the call of the client; there once it has begun.
    """

    def __init__(self, calls: ReactorCalls, work: Any, changes: bool = True) -> None:
        super().__init__(daemon=True)
        self.result: Any = None
        self._calls = calls
        self._work = work
        self._changes = changes
        self._leaving: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.start()

    def run(self) -> None:
        try:
            self.result = self._calls.run(self._work, self._changes, self._on_end)
        except BaseException as e:
            self.result = e

    def _on_end(self, leave: Callable[[], None]) -> bool:
        self._leaving.put(leave)
        return True

    def leave(self) -> None:
        """
        The client has gone.
        """
        self._leaving.get(timeout=PATIENCE)()

    def end(self) -> Any:
        """
        Wait for the result.
        """
        self.join(PATIENCE)
        return self.result


class ReactorCallsTests(SynchronousTestCase):
    """
    Tests for L{ReactorCalls}.
    """

    def setUp(self) -> None:
        """
        Make one.
        """
        self.turns = _Turns()
        self.calls = ReactorCalls(self.turns, 2, PATIENCE)
        self.begun: list[Deferred[Any]] = []
        self.cancelled: list[Deferred[Any]] = []

    async def _work(self) -> Any:
        self.begun.append(Deferred(self.cancelled.append))
        return await self.begun[-1]

    def test_answer(self) -> None:
        """
        A thread has what the coroutine returns, and a client that leaves then is of no
        interest.
        """
        client = _Client(self.calls, self._work, changes=False)
        self.turns.turn()
        self.begun[0].callback("done")
        self.assertEqual(client.end(), "done")
        client.leave()
        self.assertTrue(self.turns.calls.empty())

    def test_failure(self) -> None:
        """
        A thread has what the coroutine raises.
        """
        client = _Client(self.calls, self._work)
        self.turns.turn()
        self.begun[0].errback(ValueError("no"))
        self.assertIsInstance(client.end(), ValueError)

    def test_groups(self) -> None:
        """
        The reactor is woken once for all that come before its turn.
        """
        clients = []
        for _ in range(2):
            clients.append(_Client(self.calls, self._work))
            while len(self.calls._waiting) < len(clients):
                pass
        self.turns.turn()
        self.assertEqual((len(self.begun), self.turns.calls.empty()), (2, True))
        for each in self.begun:
            each.callback(None)
        self.assertEqual([each.end() for each in clients], [None, None])

    def test_too_many(self) -> None:
        """
        Beyond its bound the reactor begins no call.
        """
        clients = []
        for _ in range(2):
            clients.append(_Client(self.calls, self._work))
            self.turns.turn()
        third = _Client(self.calls, self._work)
        self.turns.turn()
        self.assertIsInstance(third.end(), TooManyCalls)
        self.assertEqual(len(self.begun), 2)
        self.begun[0].callback(None)
        clients.append(_Client(self.calls, self._work))
        self.turns.turn()
        for each in self.begun[1:]:
            each.callback(None)
        self.assertEqual([each.end() for each in clients], [None] * 3)

    def test_left_before(self) -> None:
        """
        What was not begun when its client leaves is never begun.
        """
        client = _Client(self.calls, self._work)
        client.leave()
        self.assertIsInstance(client.end(), Abandoned)
        self.turns.turn()
        self.assertEqual(self.begun, [])

    def test_left_changing(self) -> None:
        """
        What changes something goes on without its client.
        """
        client = _Client(self.calls, self._work)
        self.turns.turn()
        client.leave()
        self.assertIsInstance(client.end(), Abandoned)
        self.assertTrue(self.turns.calls.empty())
        self.begun[0].callback(None)

    def test_left_reading(self) -> None:
        """
        What reads is cancelled when its client leaves.
        """
        client = _Client(self.calls, self._work, changes=False)
        self.turns.turn()
        client.leave()
        self.assertIsInstance(client.end(), Abandoned)
        self.turns.turn()
        self.assertEqual(self.cancelled, self.begun)

    def test_gone(self) -> None:
        """
        A client that has gone before has nothing begun.
        """
        with self.assertRaises(Abandoned):
            self.calls.run(self._work, True, lambda leave: False)
        self.assertTrue(self.turns.calls.empty())

    def test_patience(self) -> None:
        """
        A thread does not wait for ever.
        """
        calls = ReactorCalls(self.turns, 2, 0.01)
        client = _Client(calls, self._work)
        self.assertIsInstance(client.end(), TimeoutError)
        self.turns.turn()
        self.assertEqual(self.begun, [])
