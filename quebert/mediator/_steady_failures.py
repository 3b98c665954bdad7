"""
L{SteadyFailures}: a task that failed is tried again, as it was, after a steady delay.
"""

from __future__ import annotations

from quebert.boundaries import FailedTask, FailurePolicy
from quebert.outcome import Outcome, Retry

__all__ = ["SteadyFailures"]


class SteadyFailures(FailurePolicy):
    """
    The policy of a plain mediator.

    @ivar delay: seconds until a failed task is put back; 0 for at once.
    """

    needs_whole_task = False

    def __init__(self, delay: float) -> None:
        self.delay = delay

    def outcome(self, failed: FailedTask, now: float) -> Outcome:
        """
        Have the task tried again.
        """
        return Retry(after=self.delay)
