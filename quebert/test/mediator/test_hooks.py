"""
Tests for L{quebert.mediator._hooks}: one hook after the other, waiting where there is
something to wait for.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from quebert.mediator import _hooks as hooks

VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="unset")


def run(*given: Callable[..., Any]) -> Deferred[None] | None:
    """
    Run hooks without arguments.
    """
    return hooks.run(given, (), copy_context())


class RunTests(SynchronousTestCase):
    """
    All hooks are run, and nothing is waited for that is there.
    """

    def test_none(self) -> None:
        """
        Where there are no hooks there is nothing to wait for.
        """
        self.assertIsNone(run())

    def test_arguments(self) -> None:
        """
        Each hook gets the arguments.
        """
        seen: list[tuple[int, str]] = []

        def note(number: int, text: str) -> None:
            seen.append((number, text))

        self.assertIsNone(hooks.run([note, note], (1, "a"), copy_context()))
        self.assertEqual(seen, [(1, "a")] * 2)

    def test_coroutine_that_never_waits(self) -> None:
        """
        A coroutine that never waits needs no Deferred, nor one that waits only
        for what is there already.
        """
        calls: list[str] = []

        async def quick() -> None:
            calls.append("quick")

        async def ready() -> None:
            calls.append(await succeed("ready"))

        self.assertIsNone(run(quick, quick))
        waiting = run(ready, quick)
        self.assertEqual(calls, ["quick", "quick", "ready", "quick"])
        if waiting is not None:
            self.assertIsNone(self.successResultOf(waiting))

    def test_coroutine_that_waits_often(self) -> None:
        """
        What a coroutine waits for reaches it, a result or a failure, each time.
        """
        gates: list[Deferred[str]] = [Deferred() for _ in range(4)]
        got: list[object] = []

        async def waits() -> None:
            for gate in gates:
                try:
                    got.append(await gate)
                except ValueError as e:
                    got.append(e.args)

        waiting = run(waits, lambda: got.append("next"))
        assert waiting is not None
        for number, gate in enumerate(gates):
            self.assertNoResult(waiting)
            if number % 2:
                gate.errback(ValueError(number))
            else:
                gate.callback(f"result {number}")
        self.successResultOf(waiting)
        self.assertEqual(got, ["result 0", (1,), "result 2", (3,), "next"])

    def test_coroutine_that_fails_later(self) -> None:
        """
        A coroutine that has waited, and fails then, is the last hook to be run.
        """
        calls: list[str] = []
        gate: Deferred[None] = Deferred()

        async def fails() -> None:
            await gate
            raise ValueError("late")

        waiting = run(fails, lambda: calls.append("next"))
        assert waiting is not None
        gate.callback(None)
        self.assertEqual(
            self.failureResultOf(waiting, ValueError).value.args, ("late",)
        )
        self.assertEqual(calls, [])

    def test_cancelled(self) -> None:
        """
        What a coroutine waits for is cancelled with the whole, and it can clean up.
        """
        calls: list[str] = []
        gate: Deferred[None] = Deferred(lambda _: calls.append("cancelled"))

        async def waits() -> None:
            try:
                await gate
            finally:
                calls.append("cleans up")

        waiting = run(waits)
        assert waiting is not None
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(calls, ["cancelled", "cleans up"])

    def test_many(self) -> None:
        """
        However many hooks there are, and however ready what they wait for, they
        do not use up the stack.
        """
        calls: list[int] = []

        def hook() -> Deferred[None]:
            calls.append(1)
            return succeed(None)

        waiting = run(*[hook] * 5_000)
        assert waiting is not None
        self.successResultOf(waiting)
        self.assertEqual(len(calls), 5_000)


class ContextTests(SynchronousTestCase):
    """
    Context variables that hooks set are seen by the hooks of the same task alone.
    """

    def test_kept_apart(self) -> None:
        """
        What one task's hooks set, those of another do not see, nor others.
        """
        seen: list[str] = []

        def note() -> None:
            seen.append(VARIABLE.get())

        for name in ("a", "b"):
            context = copy_context()
            hooks.run([note, partial(VARIABLE.set, name)], (), context)
            hooks.run([note], (), context)
        self.assertEqual(seen, ["unset", "a", "unset", "b"])
        self.assertEqual(VARIABLE.get(), "unset")

    def test_in_coroutines(self) -> None:
        """
        A coroutine sees it, before it waits and after.
        """
        seen: list[str] = []
        gate: Deferred[None] = Deferred()

        def sets() -> None:
            VARIABLE.set("a")

        async def waits() -> None:
            seen.append(VARIABLE.get())
            await gate
            seen.append(VARIABLE.get())

        run(sets, waits, lambda: seen.append(VARIABLE.get()))
        gate.callback(None)
        self.assertEqual(seen, ["a"] * 3)

    def test_set_after_waiting(self) -> None:
        """
        What a coroutine sets after it has waited, the next hooks see.
        """
        seen: list[str] = []
        gates: list[Deferred[None]] = [Deferred(), Deferred()]

        async def sets() -> None:
            for number, gate in enumerate(gates):
                await gate
                VARIABLE.set(f"a{number}")

        run(sets, lambda: seen.append(VARIABLE.get()))
        for gate in gates:
            gate.callback(None)
        self.assertEqual(seen, ["a1"])
