"""
L{quebert.amqp.watch.WatchOptions}: what may be set, and what is set by default.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert._consumer_timeout import HOLD_LIMIT
from quebert.amqp.watch import WatchOptions
from quebert.errors import ConfigError

NAN, INFINITY = float("nan"), float("inf")
#: For each option, the values at the edges that may be set, and those that may not.
EDGES: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "prefetch": ((0, 1, 65_535), (-1, 65_536)),
    "slow_after": ((None, 0.001, 0.5, 1.0), (0, -1.0, NAN)),
    "hold_up_to": ((0, 0.5, HOLD_LIMIT), (-0.1, -1, HOLD_LIMIT + 0.1, NAN)),
    "hang_after": ((0, 0.5, 1e6), (-0.1, -1, INFINITY, NAN)),
    "error_delay": ((0, 0.5, 1e6), (-0.1, -1, INFINITY, NAN)),
    "weight": ((0.01, 0.5, 1, 1e6), (0, -1, INFINITY, NAN)),
    "rate": ((None, 5, "5/s"), ("often", 0, -1)),
    "queue_type": ((None, "quorum", "classic"), ("stream",)),
    "arguments": (({}, {"x-queue-type": "quorum"}), ({"x-queue-type": "stream"},)),
}


class OptionsTests(SynchronousTestCase):
    """
    The options of a watch.
    """

    def test_edges(self) -> None:
        """
        What is out of range is refused, with the name of the option.
        """
        for name, (right, wrong) in EDGES.items():
            for value in right:
                WatchOptions(**{name: value})
            for value in wrong:
                error = self.assertRaises(ConfigError, WatchOptions, **{name: value})
                told = "queue_type" if name == "arguments" else name
                self.assertIn(f"{told}=", str(error))

    def test_burst(self) -> None:
        """
        A burst belongs to a rate.
        """
        self.assertEqual(WatchOptions(rate=5, burst=9).burst, 9)
        error = self.assertRaises(ConfigError, WatchOptions, burst=9)
        self.assertIn("burst=9 needs a rate", str(error))

    def test_defaults(self) -> None:
        """
        What README and docs promise.
        """
        options = WatchOptions()
        self.assertEqual((options.prefetch, options.hold_up_to), (100, 5.0))
        self.assertEqual((options.hang_after, options.error_delay), (5.0, 1.0))
        self.assertEqual(
            (options.rate, options.share_rate, options.weight), (None, True, 1)
        )

    def test_declared(self) -> None:
        """
        The type of the queue is one of the arguments that it is declared with.
        """
        arguments = {"x-max-priority": 5}
        for kind, more in ((None, {}), ("quorum", {"x-queue-type": "quorum"})):
            options = WatchOptions(queue_type=kind, arguments=arguments)
            self.assertEqual(options.declared, {**arguments, **more})

    def test_copied(self) -> None:
        """
        A change of what was given changes nothing.
        """
        arguments = {"x-max-priority": 5}
        options = WatchOptions(arguments=arguments, key_arguments=arguments)
        arguments.clear()
        for each in (options.arguments, options.key_arguments):
            self.assertEqual(each, {"x-max-priority": 5})
