"""
What the tests of the pure modules share.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Generator
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

T = TypeVar("T")
#: How many examples of a property are tried.  C{make test} runs the TestCases twice,
#: with pytest and with trial, and asks trial for fewer.
EXAMPLES = int(os.environ.get("QUEBERT_TEST_EXAMPLES", "100"))

#: The same examples every time, few enough to be quick on any machine.
QUICK = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.too_slow],
)


def refusal(
    error: type[Exception], function: Callable[..., object], *args: Any, **options: Any
) -> str:
    """
    The text of the C{error} that a call raises; anything else fails the test.
    """
    try:
        result = function(*args, **options)
    except error as e:
        return str(e)
    raise AssertionError(
        f"no {error.__name__} for {(args, options)!a:.300}: {result!a}"
    )


def steps_of(function: Callable[..., object], *args: Any) -> int:
    """
    How many instructions of Python a call takes, in all functions that it calls.
    """
    steps = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal steps
        frame.f_trace_opcodes = True
        steps += event == "opcode"
        return trace

    before = sys.gettrace()
    gc.disable()  # what is collected meanwhile may end in steps of its own
    sys.settrace(trace)
    try:
        function(*args)
    finally:
        sys.settrace(before)
        gc.enable()
    return steps


def run_machine(machine: type[RuleBasedStateMachine], chosen: settings) -> None:
    """
    Try sequences of what a state machine does.

    The sequence that fails is in the text of the failure: Hypothesis adds it to the
    exception as a note, and trial prints no notes.

    @raise AssertionError: a sequence fails.
    """
    try:
        run_state_machine_as_test(machine, settings=chosen)
    except Exception as e:
        raise AssertionError("".join(traceback.format_exception(e))) from None


def in_one_go(steps: Generator[None, None, T]) -> T:
    """
    What a generator returns that does something in steps.
    """
    while True:
        try:
            next(steps)
        except StopIteration as e:
            result: T = e.value
            return result


def one_turn(clock: Clock) -> None:
    """
    Call what is due, as a reactor does in one turn.  C{clock.advance(0)} also calls
    what becomes due meanwhile.
    """
    calls: list[Any] = list(clock.getDelayedCalls())
    for call in calls:
        if call.getTime() <= clock.seconds():
            function, args, options = call.func, call.args, call.kw
            call.cancel()
            function(*args, **options)


def folder(case: SynchronousTestCase) -> Path:
    """
    An empty folder for one test, wherever tests are run from.
    """
    made = Path(tempfile.mkdtemp(prefix="quebert-test-"))
    case.addCleanup(shutil.rmtree, made)
    return made


@st.composite
def misspellings(draw: st.DrawFn, words: st.SearchStrategy[str]) -> str:
    """
    A word with another letter, a letter less or more, two letters the other way round,
    or written another way.
    """
    word = draw(words)
    at = draw(st.integers(0, len(word) - 1))
    letter = draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz_"))
    wrong = [
        word[:at] + word[at + 1 :] or "x",
        word[:at] + letter + word[at:],
        word[:at] + letter + word[at + 1 :],
        word[:at] + word[at : at + 2][::-1] + word[at + 2 :],
        word.upper(),
        word.lower(),
        word.replace("_", "-"),
        word.replace("_", ""),
        f"{word}s",
    ]
    return draw(st.sampled_from(wrong))
