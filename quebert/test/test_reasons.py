"""
Tests for L{quebert.operations._reasons}: from what is known of a task to the reasons
why it waits.
"""

from __future__ import annotations

import json
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.watch import DROPPED, RETRYING, RUNNING, WAITING, HeldTask
from quebert.events import WatchState
from quebert.operations import LiveHost, Status, Why, WhyReason
from quebert.operations._reasons import reasons_of
from quebert.operations._why_values import REASONS, Facts, OnLadder
from quebert.test.test_live_fold import record

NOW = 1_700_000_000.0
ALIVE = Status(0, 1, False)
PAUSED = Status(0, 0, True, paused_by="ada", paused_since=NOW - 60)
FULL = WatchState(consuming=True, prefetch=2, in_flight=2)
FREE = WatchState(consuming=True, prefetch=2, in_flight=1)


def held(state: str, since: float = NOW) -> tuple[tuple[str, HeldTask], ...]:
    """
    A mediator has it.
    """
    return (("m1", HeldTask("u", state, since)),)


class ReasonsTests(SynchronousTestCase):
    """
    A task of the queue C{mail}.
    """

    def reasons(self, **known: Any) -> tuple[WhyReason, ...]:
        """
        Why it waits, as far as this is known.
        """
        given = {"uuid": "u", "queue": "mail", "now": NOW, "status": ALIVE}
        found = reasons_of(Facts(**{**given, **known}))
        for each in found:
            self.assertIn(each.reason, REASONS)
        why = Why(uuid="u", queue="mail", reasons=found)
        self.assertEqual(json.loads(json.dumps(why.plain))["reason"], found[0].reason)
        return found

    def names(self, **known: Any) -> list[str]:
        """
        Their names.
        """
        return [each.reason for each in self.reasons(**known)]

    def test_not_found(self) -> None:
        """
        It is nowhere.
        """
        (one,) = self.reasons()
        self.assertEqual(one.reason, "not_found")
        self.assertIn("queue mail", one.text)
        (one,) = self.reasons(not_all_seen=True)
        self.assertEqual(one.reason, "not_found")
        self.assertIn("was found in queue mail, and not all was looked at", one.text)

    def test_running(self) -> None:
        """
        A mediator attempts it, whatever else is so.
        """
        (one,) = self.reasons(
            held=held(RUNNING), status=PAUSED, last=record(outcome="retry")
        )
        self.assertEqual((one.reason, one.by), ("running", "m1"))
        self.assertIn("2023-11-14 22:13:20 UTC", one.text)

    def test_held_for_another(self) -> None:
        """
        An attempt has failed, and a mediator holds it.
        """
        last = record(outcome="retry", retry_at=NOW + 3, reason="503")
        (one,) = self.reasons(held=held(RETRYING), last=last)
        self.assertEqual((one.reason, one.until), ("retrying", NOW + 3))
        self.assertIn("(503)", one.text)

    def test_dropped(self) -> None:
        """
        It was cancelled when a mediator had it.
        """
        (one,) = self.reasons(held=held(DROPPED))
        self.assertEqual((one.reason, one.by), ("done", "m1"))
        self.assertIn("cancelled", one.text)

    def test_waits_in_mediator(self) -> None:
        """
        A mediator has it, and may not begin: its host, a rate, others, or its places.
        """
        host = LiveHost(origin="http://a", limit=2.0, in_flight=2)
        broken = LiveHost(origin="http://a", breaker="open", open_until=NOW + 9)
        slow = WatchState(consuming=True, prefetch=5, in_flight=1, rate=0.1)
        low = WatchState(consuming=True, prefetch=5, in_flight=1, priority="1")
        for known, wanted in (
            ({"host": host}, ["host_concurrency"]),
            (
                {"host": broken, "watches": {"m1": FULL}},
                ["breaker_open", "prefetch_full"],
            ),
            ({"watches": {"m1": slow}}, ["rate_limit"]),
            ({"watches": {"m1": low}, "others": 3}, ["lower_priority"]),
            ({"watches": {"m1": low}, "others": 0}, ["behind"]),
            ({"watches": {"m1": FULL, "m2": FULL}}, ["prefetch_full"]),
            ({"watches": {"m1": FULL, "m2": FREE}}, ["behind"]),
            ({}, ["behind"]),
        ):
            found = self.reasons(held=held(WAITING), **known)
            self.assertEqual([each.reason for each in found], wanted)
            self.assertEqual(found[0].by, "m1")

    def test_not_due(self) -> None:
        """
        Its time has not come; what is against it later is told, too.
        """
        ladder = OnLadder(due=NOW + 3600, tried=False)
        one, other, _ = self.reasons(ladder=ladder, status=PAUSED)
        self.assertEqual((one.reason, one.until), ("not_due", NOW + 3600))
        self.assertEqual((other.reason, other.by), ("paused", "ada"))
        self.assertIn("is paused by ada since 2023-11-14", other.text)

    def test_retrying(self) -> None:
        """
        It is tried again.
        """
        ladder = OnLadder(due=NOW + 60, tried=True)
        (one,) = self.reasons(ladder=ladder)
        self.assertEqual((one.reason, one.until), ("retrying", NOW + 60))

    def test_put_off_by_breaker(self) -> None:
        """
        It waits on the ladder since its host is left alone, or longer for that.
        """
        soon, later = (
            OnLadder(due=NOW + 5, tried=True),
            OnLadder(due=NOW + 99, tried=True),
        )
        host = LiveHost(origin="http://a", breaker="open", open_until=NOW + 9)
        put_off = record(outcome="postponed", status=None)
        both = ["breaker_open", "retrying"]
        self.assertEqual(self.names(ladder=soon, host=host), both)
        then = OnLadder(due=NOW + 9.5, tried=True)
        self.assertEqual(self.names(ladder=then, host=host), both)
        self.assertEqual(self.names(ladder=later, host=host), both[::-1])
        self.assertEqual(self.names(ladder=later, host=host, last=put_off), both)

    def test_put_off(self) -> None:
        """
        A mediator had it, put it off, and it is not seen now: no attempt has failed.
        """
        last = record(
            outcome="postponed", status=None, reason="not yet", retry_at=NOW + 60
        )
        (one,) = self.reasons(last=last)
        self.assertEqual((one.reason, one.until), ("not_due", NOW + 60))
        self.assertIn("it was put off (not yet); it is due at 2023", one.text)
        (one,) = self.reasons(last=last, ladder=OnLadder(due=NOW + 60, tried=True))
        self.assertEqual(one.reason, "retrying")
        self.assertNotIn("not yet", one.text)

    def test_arrived(self) -> None:
        """
        Its time has come, and nobody has taken it.
        """
        ladder = OnLadder(due=NOW - 1, tried=False, arrived=True)
        self.assertEqual(self.names(ladder=ladder), ["behind"])
        none = Status(0, 0, False)
        self.assertEqual(self.names(ladder=ladder, status=none), ["no_consumer"])

    def test_in_queue(self) -> None:
        """
        It is in its queue, behind others.
        """
        (one,) = self.reasons(position=30, rate_out=10.0)
        self.assertEqual((one.reason, one.position, one.rate), ("behind", 30, 10.0))
        self.assertEqual(one.until, NOW + 3)
        self.assertEqual(
            one.text,
            "30 tasks are before it; at 10 a second, that takes about 3 seconds",
        )
        (one,) = self.reasons(position=1)
        self.assertEqual(
            one.text, "1 task is before it; how long that takes is unknown"
        )
        (one,) = self.reasons(position=2, rate_out=0.0)
        self.assertEqual(one.text, "2 tasks are before it; none has ended just now")
        (one,) = self.reasons(position=0)
        self.assertIn("the first", one.text)

    def test_closed(self) -> None:
        """
        Where nothing of the queue begins, that decides.
        """
        watching = {"m1": WatchState(consuming=False, paused=True)}
        found = self.names(position=3, status=PAUSED, watches=watching)
        self.assertEqual(found, ["paused", "behind"])
        found = self.names(position=3, status=PAUSED)
        self.assertEqual(found, ["paused", "no_consumer", "behind"])
        found = self.names(position=3, status=Status(4, 0, False))
        self.assertEqual(found, ["no_consumer", "behind"])
        found = self.names(position=3, status=PAUSED, present=("m1",))
        self.assertEqual(found, ["paused", "behind"])

    def test_resting(self) -> None:
        """
        A mediator that answers, and whose rate is used up, has no consumer meanwhile;
        one that was killed does not answer.
        """
        none = Status(4, 0, False)
        slow = {"m1": attrs.evolve(FREE, consuming=False, rate=0.001)}
        known = {"position": 0, "status": none, "watches": slow}
        (one,) = self.reasons(**known, present=("m1",))
        self.assertEqual(
            (one.reason, one.text),
            (
                "rate_limit",
                "queue mail begins one task in 17 minutes at most, and this task is the"
                " next",
            ),
        )
        self.assertEqual(self.names(**known), ["no_consumer", "rate_limit"])
        low = {"m1": attrs.evolve(FREE, consuming=False, priority="low")}
        known = {"position": 0, "status": none, "watches": low, "others": 2}
        self.assertEqual(self.names(**known, present=("m1",)), ["lower_priority"])
        (one,) = self.reasons(position=0, status=none, present=("m1", "m2"))
        self.assertEqual(
            (one.reason, one.text),
            (
                "no_consumer",
                "mediators watch queue mail, and take no task now: m1, m2",
            ),
        )

    def test_limits(self) -> None:
        """
        A rate decides where it is what holds tasks up; else those before.
        """
        slow = attrs.evolve(FREE, rate=2.0)
        one, other = self.reasons(position=3, watches={"m1": slow})
        self.assertEqual((one.reason, one.until), ("rate_limit", NOW + 2))
        self.assertEqual(other.reason, "behind")
        full = {"m1": attrs.evolve(FULL, rate=100.0)}
        found = self.names(position=3, watches=full, rate_out=10.0)
        self.assertEqual(found, ["behind", "prefetch_full"])
        found = self.names(position=3, watches=full, rate_out=90.0)
        self.assertEqual(found, ["rate_limit", "behind", "prefetch_full"])
        self.assertEqual(
            self.names(position=0, watches={"m1": FULL}), ["prefetch_full"]
        )

    def test_perhaps_in_queue(self) -> None:
        """
        Too many wait to look at: it is told that it may be among them.
        """
        (one,) = self.reasons(unseen_ready=1_000_000, rate_out=20_000.0)
        self.assertEqual((one.reason, one.position), ("behind", 1_000_000))
        self.assertIn("if it was added", one.text)
        self.assertIn("about 50 seconds", one.text)
        found = self.names(unseen_ready=9, status=attrs.evolve(PAUSED, ready=9))
        self.assertEqual(found, ["paused", "no_consumer", "behind"])

    def test_dead(self) -> None:
        """
        It was given up.
        """
        (one,) = self.reasons(dead=("exhausted", "503\n no"))
        self.assertEqual(one.text, "it was given up (exhausted): 503 no")
        (one,) = self.reasons(last=record(outcome="buried", reason="bad"))
        self.assertEqual(one.reason, "dead")

    def test_ended(self) -> None:
        """
        The history tells how it has ended.
        """
        for outcome in ("done", "expired", "discarded", "cancelled"):
            (one,) = self.reasons(last=record(outcome=outcome))
            self.assertEqual(one.reason, "done")
            self.assertIn(outcome, one.text)

    def test_history_alone(self) -> None:
        """
        What the ladder does not show, the history may tell.
        """
        last = record(outcome="retry", retry_at=NOW + 30)
        self.assertEqual(self.names(last=last, unseen_ready=9), ["retrying"])
        last = record(outcome="retry", retry_at=NOW - 30)
        self.assertEqual(self.names(last=last), ["not_found"])

    def test_odd_times(self) -> None:
        """
        A time beyond all calendars is told as such.
        """
        for due in (1e300, float("inf"), None):
            (one,) = self.reasons(ladder=OnLadder(due=due, tried=False))
            self.assertEqual(one.reason, "not_due")
