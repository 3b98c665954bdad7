"""
When a failed task is tried again, and when it is given up.
"""

from __future__ import annotations

import math
import tracemalloc
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import BadTask, ConfigError
from quebert.outcome import EXHAUSTED, Bury, Discard, Outcome, Retry
from quebert.policy import (
    MANY,
    Directive,
    FailedAnswer,
    History,
    RetryPolicy,
    Rules,
    directive,
    exhausted,
    exponential,
    overridden,
    retry_after,
)
from quebert.test.checks import QUICK, refusal

ATTEMPTS = st.integers(1, 20) | st.integers(1, 2**63)
NOW = 1_800_000_000.0


class ExponentialTests(SynchronousTestCase):
    """
    L{exponential} is the wait before a retry.
    """

    def test_growth(self) -> None:
        """
        The n-th retry comes after C{constant ** n} seconds.
        """
        waits = [exponential(n, constant=1.5, maximum=120) for n in (0, 1, 2, 3)]
        self.assertEqual(waits, [1.0, 1.5, 2.25, 3.375])

    def test_maximum(self) -> None:
        """
        It never comes after more than the maximum.
        """
        waits = [exponential(n, constant=1.5, maximum=120) for n in (11, 12, 1000)]
        self.assertEqual(waits, [1.5**11, 120.0, 120.0])
        self.assertEqual(exponential(1, constant=50, maximum=10), 10.0)

    def test_constant_wait(self) -> None:
        """
        A constant of one is a wait that stays the same.
        """
        self.assertEqual(exponential(2**63, constant=1, maximum=120), 1.0)

    def test_huge(self) -> None:
        """
        A huge number of attempts is the maximum, never an overflow.
        """
        for attempt in (10_000, 10**9, 2**63, 10**400):
            self.assertEqual(exponential(attempt, constant=1.5, maximum=120), 120.0)

    def test_huge_is_cheap(self) -> None:
        """
        A huge number of attempts costs nothing, with an integer constant
        neither: the number may come from a message.
        """
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.assertEqual(exponential(10**8, constant=2, maximum=120), 120.0)
        _, peak = tracemalloc.get_traced_memory()
        self.assertLess(peak, 100_000)

    def test_float(self) -> None:
        """
        It is a float, also where all that is given is integers.
        """
        for attempt in (1, 100):
            wait = exponential(attempt, constant=2, maximum=120)
            self.assertIsInstance(wait, float)

    @QUICK
    @given(ATTEMPTS, ATTEMPTS, st.floats(1, 1e9), st.floats(0, 1e9))
    def test_order(self, one: int, other: int, constant: float, maximum: float) -> None:
        """
        A later retry never comes sooner, and none after the maximum.
        """
        less, more = (
            exponential(n, constant=constant, maximum=maximum)
            for n in sorted((one, other))
        )
        self.assertLessEqual(less, more)
        self.assertLessEqual(more, maximum)
        self.assertGreaterEqual(less, min(1.0, maximum))


# -- Cloud Tasks' terms


def half() -> float:
    """
    What is random, where it does not matter.
    """
    return 0.5


@st.composite
def policies(draw: Any) -> RetryPolicy:
    """
    Any policy.
    """
    least, most = sorted(draw(st.tuples(*[st.floats(0.01, 1e9)] * 2)))
    return RetryPolicy(
        max_attempts=draw(st.sampled_from([-1, 1, 5, 2**70])),
        max_retry_duration=draw(st.sampled_from([-1, 0, 10, 1e9])),
        min_backoff=least,
        max_backoff=most,
        max_doublings=draw(st.integers(0, 20) | st.integers(0, 10**400)),
        jitter=draw(st.sampled_from(["none", "full"])),
    )


class BackoffTests(SynchronousTestCase):
    """
    L{RetryPolicy.backoff} doubles, then grows steadily, then stays.
    """

    def waits(self, count: int, **terms: Any) -> list[float]:
        """
        The first so many waits.
        """
        policy = RetryPolicy(**terms)
        return [policy.backoff(n + 1) for n in range(count)]

    def test_documented_example(self) -> None:
        """
        It is as in the example that Cloud Tasks' reference gives.
        """
        waits = self.waits(8, min_backoff=10, max_backoff=300, max_doublings=3)
        self.assertEqual(waits, [10, 20, 40, 80, 160, 240, 300, 300])

    def test_no_doublings(self) -> None:
        """
        It is as in App Engine's example for a wait that only grows steadily.
        """
        waits = self.waits(21, min_backoff=10, max_backoff=200, max_doublings=0)
        self.assertEqual(waits, [*range(10, 200, 10), 200, 200])

    def test_defaults(self) -> None:
        """
        Without settings it begins with a tenth of a second, and ends with an
        hour.
        """
        waits = self.waits(20)
        self.assertEqual(waits[:16], [0.1 * 2**n for n in range(16)])
        self.assertEqual(waits[16:], [3600.0] * 4)

    def test_steady(self) -> None:
        """
        Where both bounds are the same, so is the wait.
        """
        self.assertEqual(self.waits(3, min_backoff=7, max_backoff=7), [7, 7, 7])

    def test_huge(self) -> None:
        """
        Huge numbers are the maximum, never an overflow, and cost nothing.
        """
        for doublings in (0, 16, 2000, 10**400):
            policy = RetryPolicy(max_doublings=doublings, max_backoff=1e9)
            for attempts in (10**12, 2**63, 10**400):
                self.assertEqual(policy.backoff(attempts), 1e9)

    @QUICK
    @given(policies(), ATTEMPTS, ATTEMPTS)
    def test_order(self, policy: RetryPolicy, one: int, other: int) -> None:
        """
        A later wait is never shorter; none is shorter than the least, or longer
        than the most.
        """
        less, more = (policy.backoff(n) for n in sorted((one, other)))
        self.assertLessEqual(policy.min_backoff, less)
        self.assertLessEqual(less, more)
        self.assertLessEqual(more, policy.max_backoff)

    @QUICK
    @given(policies(), ATTEMPTS, st.floats(0, 1e12), st.integers())
    def test_wait(
        self, policy: RetryPolicy, attempts: int, age: float, seed: int
    ) -> None:
        """
        The wait with jitter is no longer than without, and never nothing.
        """
        random = Random(seed).random
        wait = policy.wait(attempts, NOW, NOW + age, random)
        if wait is not None:
            least = 1.0 if attempts >= MANY else 0.01
            self.assertLessEqual(wait, max(least, policy.backoff(attempts)))
            self.assertGreaterEqual(wait, least)
        self.assertEqual(wait is None, policy.used_up(attempts, age))

    def test_many(self) -> None:
        """
        A task that is tried without end is tried once a second at most, whatever it
        and its executor want.
        """
        wanted = {"max_attempts": -1, "min_backoff": 0.01, "max_backoff": 0.01}
        rules = Rules(policy=overridden(RetryPolicy(), wanted))
        soon = FailedAnswer(503, retry_after=0.0)
        for attempts, least in ((1, 0.01), (MANY - 1, 0.01), (MANY, 1.0), (10**6, 1.0)):
            history = History(attempts, NOW, NOW)
            for answer in (None, soon):
                outcome = rules.outcome(
                    history, answer, NOW, half, task="task", why="why"
                )
                assert isinstance(outcome, Retry)
                self.assertEqual(outcome.after, least)


class LimitTests(SynchronousTestCase):
    """
    A task is given up once all limits that there are have been reached.
    """

    def gives_up(self, attempts: int, age: float, **terms: Any) -> bool:
        """
        Whether it is given up after so many attempts, so many seconds after the
        first.
        """
        wait = RetryPolicy(**terms).wait(attempts, NOW, NOW + age, half)
        return wait is None

    def test_limits(self) -> None:
        """
        Both decide together, each alone, and without them there is no end.
        """
        both = {"max_attempts": 5, "max_retry_duration": 60}
        attempts = {"max_attempts": 5, "max_retry_duration": 0}
        age = {"max_attempts": -1, "max_retry_duration": 60}
        table: list[tuple[dict[str, int], int, float, bool]] = [
            (both, 4, 59, False),
            (both, 5, 59, False),
            (both, 4, 60, False),
            (both, 5, 60, True),
            (both, 500, 59.9, False),
            (attempts, 4, 1e9, False),
            (attempts, 5, 0, True),
            ({**attempts, "max_retry_duration": -1}, 5, 0, True),
            (age, 1, 60, True),
            (age, 10**9, 59, False),
            (age, 1, -60, False),
            ({"max_attempts": -1}, 2**63, 1e12, False),
            ({"max_attempts": -1, "max_retry_duration": -1}, 2**63, 1e12, False),
            ({"max_attempts": 1}, 1, 0, True),
            ({}, 99, 1e12, False),
            ({}, 100, 0, True),
        ]
        for terms, count, seconds, expected in table:
            actual = self.gives_up(count, seconds, **terms)
            self.assertEqual(actual, expected, (terms, count, seconds))


class JitterTests(SynchronousTestCase):
    """
    With full jitter a wait is drawn from between nothing and all of it.
    """

    def test_seeded(self) -> None:
        """
        It is what the random numbers say of the wait without.
        """
        policy = RetryPolicy(min_backoff=10, max_doublings=3, jitter="full")
        random, same = Random(7).random, Random(7).random
        for attempts in range(1, 8):
            wait = policy.wait(attempts, NOW, NOW, random)
            self.assertEqual(wait, policy.backoff(attempts) * same())

    def test_spread(self) -> None:
        """
        All of it is used.
        """
        policy = RetryPolicy(min_backoff=10, jitter="full")
        random = Random(7).random
        waits = [policy.wait(1, NOW, NOW, random) or 0.0 for _ in range(1000)]
        self.assertLess(min(waits), 0.1)
        self.assertGreater(max(waits), 9.9)
        self.assertEqual(round(sum(waits) / 1000), 5)

    def test_none(self) -> None:
        """
        Without, nothing is random.
        """
        self.assertEqual(RetryPolicy().wait(1, NOW, NOW, lambda: 1 / 0), 0.1)


class WrongPolicyTests(SynchronousTestCase):
    """
    A wrong value is refused by one sentence which names it, and what would be
    right.
    """

    def test_refusals(self) -> None:
        """
        For each field, each kind of wrong value.
        """
        seconds = "must be a number of seconds from 0.01 to 1000000000"
        whole = "max_attempts must be a whole number from 1, or -1 for no limit, not "
        table: list[tuple[dict[str, Any], str]] = [
            ({"max_attempts": 0}, f"{whole}0"),
            ({"max_attempts": -2}, f"{whole}-2"),
            ({"max_attempts": 5.5}, f"{whole}5.5"),
            ({"max_attempts": True}, f"{whole}True"),
            ({"max_attempts": "5"}, f"{whole}'5'"),
            ({"max_doublings": -1}, "max_doublings must be a whole number from 0, "),
            ({"max_doublings": math.inf}, "max_doublings must be a whole number"),
            ({"min_backoff": 0}, f"min_backoff {seconds}, not 0"),
            ({"min_backoff": math.nan}, "min_backoff must be a number of seconds"),
            ({"min_backoff": 10**5000}, "min_backoff must be a number of seconds"),
            ({"max_backoff": math.inf}, "max_backoff must be a number of seconds"),
            ({"max_backoff": [1]}, "max_backoff must be a number of seconds"),
            (
                {"max_backoff": 1, "min_backoff": 2},
                "max_backoff must be at least min_backoff, which is 2, not 1",
            ),
            ({"max_retry_duration": -2}, "max_retry_duration must be a number of"),
            ({"max_retry_duration": None}, "max_retry_duration must be a number of"),
            ({"jitter": "some"}, "jitter must be 'none' or 'full', not 'some'"),
            ({"jitter": ["full"]}, "jitter must be 'none' or 'full', not [...]"),
            ({"jitter": "x" * 1000}, "jitter must be 'none' or 'full', not 'xxx"),
        ]
        for terms, expected in table:
            text = refusal(ConfigError, RetryPolicy, **terms)
            self.assertTrue(text.startswith(expected), text)
            self.assertLess(len(text), 140)

    def test_shown(self) -> None:
        """
        A wrong value is shown, up to 40 characters of it.
        """
        table: list[tuple[Any, str]] = [
            ("x" * 38, f"'{'x' * 38}'"),
            ("x" * 39, f"'{'x' * 39}..."),
            (-(10**5000), "so large a number"),
            ([1], "[...]"),
            ({1: 1}, "{...}"),
            ([], "[]"),
            (None, "None"),
        ]
        for value, shown in table:
            text = refusal(ConfigError, RetryPolicy, max_doublings=value)
            self.assertEqual(
                text, f"max_doublings must be a whole number from 0, not {shown}"
            )

    def test_bounds_are_right(self) -> None:
        """
        Each bound is a right value itself.
        """
        table: list[dict[str, Any]] = [
            {"max_attempts": 1},
            {"max_attempts": -1},
            {"max_retry_duration": 0},
            {"max_retry_duration": -1},
            {"max_retry_duration": 1e9},
            {"min_backoff": 0.01, "max_backoff": 0.01},
            {"min_backoff": 1e9, "max_backoff": 1e9},
            {"max_doublings": 0},
        ]
        for terms in table:
            RetryPolicy(**terms)
        Rules(permanent=[300, 599], max_retry_after=0)
        for wrong in (299, 600):
            refusal(ConfigError, Rules, permanent=[wrong])

    def test_defaults(self) -> None:
        """
        The defaults are those of Cloud Tasks.
        """
        policy = RetryPolicy()
        self.assertEqual((policy.max_attempts, policy.max_retry_duration), (100, 0))
        self.assertEqual((policy.min_backoff, policy.max_backoff), (0.1, 3600))
        self.assertEqual((policy.max_doublings, policy.jitter), (16, "none"))

    def test_rules(self) -> None:
        """
        Likewise what is about answers.
        """
        table: list[tuple[dict[str, Any], str]] = [
            ({"permanent": [200]}, "permanent must have statuses from 300 to 599, "),
            ({"permanent": ["404"]}, "permanent must have statuses from 300 to 599, "),
            ({"permanent": [404, True]}, "permanent must have statuses from 300 to"),
            ({"permanent": 404}, "permanent must be a list of HTTP statuses"),
            ({"permanent": [[]]}, "permanent must be a list of HTTP statuses"),
            ({"max_retry_after": -1}, "max_retry_after must be a number of seconds"),
        ]
        for terms, expected in table:
            text = refusal(ConfigError, Rules, **terms)
            self.assertTrue(text.startswith(expected), text)


class OverrideTests(SynchronousTestCase):
    """
    A task's C{retry} changes the policy for it.
    """

    def test_changes(self) -> None:
        """
        What it names is changed, and nothing else.
        """
        policy = RetryPolicy(max_attempts=7, min_backoff=2, max_backoff=20)
        changed = overridden(policy, {"max_attempts": 5, "min_backoff": 1})
        expected = RetryPolicy(max_attempts=5, min_backoff=1, max_backoff=20)
        self.assertEqual(changed, expected)
        for nothing in (None, {}, {"max_attempts": None}):
            self.assertEqual(overridden(policy, nothing), policy)

    def test_bounds(self) -> None:
        """
        A bound of the wait that it names moves the other one: what is right with
        one policy is not wrong with another.
        """
        policy = RetryPolicy(min_backoff=10, max_backoff=100)
        changed = overridden(policy, {"min_backoff": 1000})
        self.assertEqual((changed.min_backoff, changed.max_backoff), (1000, 1000))
        changed = overridden(policy, {"max_backoff": 1})
        self.assertEqual((changed.min_backoff, changed.max_backoff), (1, 1))

    def test_refusals(self) -> None:
        """
        A wrong one makes the task a bad one, by a sentence that names the field.
        """
        table: list[tuple[Any, str]] = [
            ({"max_attempts": 0}, "retry.max_attempts must be a whole number from 1"),
            ({"min_backoff": "1"}, "retry.min_backoff must be a number of seconds"),
            (
                {"min_backoff": 3, "max_backoff": 2},
                "retry.max_backoff must be at least min_backoff, which is 3, not 2",
            ),
            ({"jitter": "x"}, "retry.jitter must be 'none' or 'full', not a string"),
            ({"attempts": 5}, "retry.attempts is not known: it may have max_att"),
            ({"x" * 41: 5}, f"retry.{'x' * 40} is not known: "),
            ({"\x1b" * 40: 5}, f"retry.{chr(92)}x1b{chr(92)}x1b"),
            (
                {"max_attempts": -(10**5000)},
                "retry.max_attempts must be a whole number",
            ),
            ({5: 5}, "retry.5 is not known: it may have max_attempts, "),
            (5, "retry must be an object, not 5"),
            ([], "retry must be an object, not an array"),
            (False, "retry must be an object, not true or false"),
        ]
        for wanted, expected in table:
            text = refusal(BadTask, overridden, RetryPolicy(), wanted)
            self.assertTrue(text.startswith(expected), text)


# -- What answers say


class ExhaustedTests(SynchronousTestCase):
    """
    What is said of a task that has been tried enough.
    """

    def test_tries(self) -> None:
        """
        How often, and for how long where that is known.
        """
        for history, tries in (
            (History(1, NOW, NOW), "1 attempt in 5 s"),
            (History(2, NOW, NOW), "2 attempts in 5 s"),
            (History(0), "0 attempts"),
        ):
            buried = exhausted(history, None, NOW + 5, "a", "no")
            self.assertEqual(buried.reason, f"task a is given up after {tries}: no")


class RetryAfterTests(SynchronousTestCase):
    """
    L{retry_after} reads what RFC 9110 lets C{Retry-After} say.
    """

    def test_values(self) -> None:
        """
        Seconds, or a date in any of the three forms; nothing else.
        """
        at = 784_111_777.0  # as in the RFC: Sun, 06 Nov 1994 08:49:37 GMT
        table: list[tuple[str, float | None]] = [
            ("7", 7.0),
            (" 120\t", 120.0),
            ("0", 0.0),
            ("9" * 400, math.inf),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 7.0),
            ("Sun, 06 Nov 1994 10:49:37 +0200", 7.0),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 7.0),
            ("Sun Nov  6 08:49:37 1994", 7.0),
            ("Sun, 06 Nov 1994 08:49:00 GMT", 0.0),
            ("-7", None),
            ("1.5", None),
            ("\u0667", None),
            ("soon", None),
            ("", None),
            ("Sun, 66 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 +99999999999", None),
        ]
        for value, expected in table:
            self.assertEqual(retry_after(value, at - 7), expected, value)

    @QUICK
    @given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, .* GMT"))
    def test_anything(self, value: str) -> None:
        """
        Whatever it says, it is a number of seconds that are not negative, or
        nothing.
        """
        seconds = retry_after(value, NOW)
        self.assertTrue(seconds is None or seconds >= 0)


class DirectiveTests(SynchronousTestCase):
    """
    L{directive} reads what C{Quebert-Outcome} says.
    """

    def test_values(self) -> None:
        """
        One of three, and perhaps the reason.
        """
        table = {
            "retry-after=30": Directive("retry-after", 30),
            "Retry-After = 1.5": Directive("retry-after", 1.5),
            "retry-after=30; not yet": Directive("retry-after", 30, "not yet"),
            "discard": Directive("discard"),
            " DISCARD ; a duplicate ": Directive("discard", reason="a duplicate"),
            "bury; no such user; none": Directive("bury", reason="no such user; none"),
            "bury;": Directive("bury"),
            "bury; a\x00\n b\x1b": Directive("bury", reason="a? b?"),
        }
        for value, expected in table.items():
            self.assertEqual(directive(value), expected, value)

    def test_reason_is_bounded(self) -> None:
        """
        It is a sentence.
        """
        self.assertEqual(len(directive("bury;" + "x" * 60_000).reason), 400)

    def test_malformed(self) -> None:
        """
        Anything else is refused.
        """
        for value in (
            "",
            "retry",
            "retry-after",
            "retry-after=",
            "retry-after=-1",
            "retry-after=1e3",
            "retry-after=soon",
            "retry-after=\u0663",
            "buried",
            "bury no such user",
            "discard, bury",
            "done",
        ):
            text = refusal(ValueError, directive, value)
            self.assertEqual(text, "it must be retry-after=SECONDS, discard or bury")


# -- History


class HistoryTests(SynchronousTestCase):
    """
    What was tried is told in headers.
    """

    def test_buried_by_a_clock_ahead(self) -> None:
        """
        What was buried, by some clock, begins anew once, and is counted then.
        """
        buried = History(3, NOW, NOW, 500).headers | {"quebert-buried-at": NOW + 1e9}
        history = History.read(buried)
        self.assertEqual(history, History())
        changed = buried | history.failed(NOW, 500).headers
        sent = {name: value for name, value in changed.items() if value is not None}
        self.assertEqual(History.read(sent).attempts, 1)

    def test_grows(self) -> None:
        """
        Each failure is counted; the first stays.
        """
        history = History().failed(NOW, 500).failed(NOW + 10, 503)
        self.assertEqual(history, History(2, NOW, NOW + 10, 503, answers=2))
        expected = {
            "quebert-attempts": 2,
            "quebert-first-attempt": NOW,
            "quebert-last-attempt": NOW + 10,
            "quebert-last-status": 503,
            "quebert-answers": 2,
            "quebert-answered": None,
            "quebert-attempts-in-body": 0,
            "quebert-buried-at": None,
        }
        self.assertEqual(history.headers, expected)
        history = History.read(expected).failed(NOW + 20, None)
        self.assertEqual(history, History(3, NOW, NOW + 20, None, answers=2))
        self.assertIsNone(history.headers["quebert-last-status"])

    def test_answers(self) -> None:
        """
        Of attempts that an older mediator has counted, one was answered at least where
        it tells the status; and there were never more answers than attempts.
        """
        for status, answers in ((503, 1), (None, 0)):
            headers = {**History(3, NOW, NOW, status).headers, "quebert-answers": None}
            self.assertEqual(History.read(headers).answers, answers)
        headers = {**History(3, NOW, NOW, 503).headers, "quebert-answers": 7}
        self.assertEqual(History.read(headers).answers, 3)

    def test_clock_set_back(self) -> None:
        """
        The first attempt is never after the last.
        """
        history = History().failed(NOW, 500).failed(NOW - 10, 500)
        self.assertEqual((history.first, history.last), (NOW - 10, NOW))

    def test_buried_since(self) -> None:
        """
        What was buried, and dug out, is tried as if it were new; from then on it
        is counted again.
        """
        headers = {**History(100, NOW, NOW + 10).headers, "quebert-buried-at": NOW + 11}
        self.assertEqual(History.read(headers), History())
        headers.update(History().failed(NOW + 20, 500).headers)
        told = History(1, NOW + 20, NOW + 20, 500, answers=1)
        self.assertEqual(History.read(headers), told)

    def test_buried_by_an_old_version(self) -> None:
        """
        A version that counts in the body alone has buried it: what the body counts was
        before that, and the task begins anew.
        """
        headers = {"quebert-buried-at": NOW}
        self.assertEqual(History.read(headers, 5), History(0, in_body=5))

    def test_two_counts(self) -> None:
        """
        Attempts that the body counts are counted once: those that the headers have
        counted, too, and those of a version that knows no such header.
        """
        headers = dict(History(3, NOW, NOW, 500).headers)
        for in_body, failures, attempts in (
            (2, 5, 6),
            (5, 2, 3),
            (None, 2, 3),
            (None, 5, 5),
        ):
            headers["quebert-attempts-in-body"] = in_body
            self.assertEqual(History.read(headers, failures).attempts, attempts)
        self.assertEqual(History.read({}, 4), History(4, in_body=4))

    def test_nonsense(self) -> None:
        """
        Headers that somebody else has spoiled tell nothing.
        """
        good = History(3, NOW, NOW).headers
        self.assertEqual(History.read(good), History(3, NOW, NOW))
        table: list[dict[str, Any]] = [
            {"quebert-attempts": "3"},
            {"quebert-attempts": True},
            {"quebert-attempts": 0},
            {"quebert-attempts": -1},
            {"quebert-attempts": 3.0},
            {"quebert-first-attempt": None},
            {"quebert-first-attempt": math.nan},
            {"quebert-first-attempt": NOW + 1},
            {"quebert-last-attempt": "yesterday"},
            {"quebert-last-attempt": math.inf},
        ]
        for spoiled in table:
            headers = {**good, **spoiled}
            self.assertEqual(History.read(headers), History(), spoiled)
        self.assertEqual(History.read({}), History())

    def test_bounded(self) -> None:
        """
        The count stays one that a header can hold.
        """
        headers = {**History(1, NOW, NOW).headers, "quebert-attempts": 2**63}
        history = History.read(headers)
        self.assertEqual(history.failed(NOW, 500).attempts, 2**31 - 1)


# -- All together


class RulesTests(SynchronousTestCase):
    """
    L{Rules.outcome} decides.
    """

    def outcome(
        self, answer: FailedAnswer | None = None, attempts: int = 1, **terms: Any
    ) -> Outcome:
        """
        What becomes of a task after so many attempts, ten seconds after the first.
        """
        history = History(attempts, NOW, NOW + 9, answer.status if answer else None)
        rules = Rules(**terms)
        return rules.outcome(history, answer, NOW + 10, half, task="T", why="it failed")

    def test_hundred_failures(self) -> None:
        """
        With the defaults, the hundred attempts come exactly when Cloud Tasks'
        terms have them, and then the task is buried.
        """
        rules, history, now = Rules(), History(), NOW
        waits: list[float] = []
        while True:
            history = history.failed(now, 500)
            answer = FailedAnswer(500, "oops")
            outcome = rules.outcome(
                history, answer, now, half, task="T", why="it failed"
            )
            if not isinstance(outcome, Retry):
                break
            self.assertEqual(outcome.headers, history.headers)
            waits.append(outcome.after)
            now += outcome.after
        self.assertEqual(waits[:16], [0.1 * 2**n for n in range(16)])
        self.assertEqual(waits[16:], [3600.0] * 83)
        assert isinstance(outcome, Bury)
        self.assertEqual(outcome.kind, EXHAUSTED)
        seconds = round(now - NOW)
        text = f"task T is given up after 100 attempts in {seconds} s: it failed"
        self.assertEqual(outcome.reason, text)
        expected = {
            "quebert-attempts": 100,
            "quebert-attempts-in-body": 0,
            "quebert-first-attempt": NOW,
            "quebert-last-attempt": now,
            "quebert-last-status": 500,
            "quebert-answers": 100,
            "quebert-answered": None,
            "quebert-last-answer": "oops",
            "quebert-buried-at": None,
        }
        self.assertEqual(outcome.headers, expected)

    def test_retry_after(self) -> None:
        """
        The wait that an answer asks for is that, up to a bound; it may also be
        less than the policy's, but never nothing.
        """
        table: list[tuple[float, float]] = [
            (7, 7),
            (3600, 3600),
            (3601, 3600),
            (math.inf, 3600),
            (0, 0.1),
        ]
        for asked, expected in table:
            for attempts in (1, 50):
                outcome = self.outcome(FailedAnswer(503, retry_after=asked), attempts)
                assert isinstance(outcome, Retry)
                self.assertEqual(outcome.after, expected)

    def test_retry_after_unheeded(self) -> None:
        """
        With a bound of 0, answers are not heeded.
        """
        answer = FailedAnswer(503, retry_after=7)
        outcome = self.outcome(answer, max_retry_after=0)
        assert isinstance(outcome, Retry)
        self.assertEqual(outcome.after, 0.1)

    def test_limits_hold(self) -> None:
        """
        A task that was tried enough is given up, whatever wait is asked for.
        """
        for asking in (
            FailedAnswer(503, retry_after=7),
            FailedAnswer(200, directive=Directive("retry-after", 7)),
        ):
            self.assertIsInstance(self.outcome(asking, 100), Bury)

    def test_permanent(self) -> None:
        """
        A status that is permanent ends it at once, with the history.
        """
        gone = FailedAnswer(410, "no such user", retry_after=7)
        self.assertIsInstance(self.outcome(gone), Retry)
        outcome = self.outcome(gone, permanent=[404, 410])
        assert isinstance(outcome, Bury)
        self.assertEqual(outcome.kind, EXHAUSTED)
        self.assertEqual(outcome.reason, "task T is given up at once: it failed")
        self.assertEqual(outcome.headers["quebert-last-status"], 410)
        self.assertEqual(outcome.headers["quebert-last-answer"], "no such user")
        self.assertIsInstance(
            self.outcome(FailedAnswer(500), permanent=[404, 410]), Retry
        )

    def test_directives(self) -> None:
        """
        What an answer says is to become of its task becomes of it, whatever its
        status.
        """
        for status in (200, 410, 503):
            later, drop, bury = (
                self.outcome(
                    FailedAnswer(status, "", 99, Directive(verb, 30, reason)),
                    permanent=[410],
                )
                for verb, reason in (
                    ("retry-after", ""),
                    ("discard", "a duplicate"),
                    ("bury", ""),
                )
            )
            assert isinstance(later, Retry)
            self.assertEqual(later.after, 30)
            text = "task T is discarded by its executor: a duplicate"
            self.assertEqual(drop, Discard(text))
            assert isinstance(bury, Bury)
            text = "task T is given up by its executor: it failed"
            self.assertEqual((bury.reason, bury.kind), (text, EXHAUSTED))
            self.assertEqual(bury.headers["quebert-last-status"], status)

    def test_no_answer(self) -> None:
        """
        Without an answer, an earlier one's status and body do not stay.
        """
        retry, bury = self.outcome(), self.outcome(attempts=100)
        assert isinstance(retry, Retry)
        assert isinstance(bury, Bury)
        for headers in (retry.headers, bury.headers):
            self.assertIsNone(headers["quebert-last-status"])
        self.assertIsNone(bury.headers["quebert-last-answer"])
