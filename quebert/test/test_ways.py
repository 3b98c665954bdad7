"""
Tests for L{quebert.service._ways}.
"""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp import PriorityGroup, WatchOptions
from quebert.config import Broker, Priorities, QueueSettings, Settings
from quebert.limits import Rate
from quebert.service._ways import way_of

#: A value for each option that a queue in a file has by the name of an option.
GIVEN: dict[str, object] = {
    "prefetch": 7,
    "exchange_type": "headers",
    "queue_type": "quorum",
    "arguments": {"x-max-length": 5},
    "key_arguments": {"x-match": "all"},
    "slow_after": 1.5,
    "hold_up_to": 2.5,
    "hang_after": 3.5,
    "rate": Rate.of("9/s"),
    "burst": 4,
    "shared_concurrency": 9,
}


class WayOfTests(SynchronousTestCase):
    """
    Tests for L{way_of}.
    """

    def setUp(self) -> None:
        """
        Have a group for queues with a priority.
        """
        self.group = PriorityGroup(10)
        broker = Broker.from_url("amqp://guest:guest@localhost/")
        self.settings = Settings(broker=broker, priorities=Priorities({"high": 3}))

    def options(self, **given: object) -> WatchOptions:
        """
        The options of the watch of a queue.
        """
        queue = QueueSettings(name="q", **given)  # type: ignore[arg-type]
        options = way_of(queue, self.settings, self.group)["options"]
        assert isinstance(options, WatchOptions)
        return options

    def test_shared_concurrency(self) -> None:
        """
        Requests that take long count for the places that all mediators share, unless
        one mediator has not as many.
        """
        long = {"slow_after": 1.5, "hang_after": 3.5}
        for places, prefetch, counted in (
            (100, None, True),
            (101, None, False),
            (7, 7, True),
            (8, 7, False),
            (8, 0, True),
        ):
            options = self.options(shared_concurrency=places, prefetch=prefetch, **long)
            got = options.slow_after, options.hang_after
            self.assertEqual(got, (None, 0.0) if counted else (1.5, 3.5), places)

    def test_given(self) -> None:
        """
        What a file says of a queue, its watch is told: all that both have by one name.
        """
        names = {each.name for each in attrs.fields(QueueSettings)}
        both = names.intersection(each.name for each in attrs.fields(WatchOptions))
        self.assertEqual(both, GIVEN.keys())
        self.assertEqual(self.options(**GIVEN), WatchOptions(**GIVEN))  # type: ignore[arg-type]

    def test_defaults(self) -> None:
        """
        What a file does not say is left to the defaults of a watch.
        """
        self.assertEqual(self.options(), WatchOptions())

    def test_concurrency(self) -> None:
        """
        The smaller one of C{prefetch} and C{concurrency} counts.
        """
        self.assertEqual(self.options(prefetch=7, concurrency=5).prefetch, 5)

    def test_priority(self) -> None:
        """
        A queue with a priority joins the group, with its weight.
        """
        options = self.options(priority="high")
        self.assertEqual((options.group, options.weight), (self.group, 3))
