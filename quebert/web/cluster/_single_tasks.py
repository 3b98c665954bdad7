"""
Questions about one task, and what can be done to it: from L{quebert.operations} to the
values of the API.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from quebert.errors import BrokerError
from quebert.history import HistoryLedger
from quebert.operations import BrokerAccess, Match, Progress
from quebert.web import ChangeView, WhyView

__all__ = ["cancel_one", "cancel_some", "explain", "run_one"]

_NOT_YET = "this is not built in"


def explain(
    broker: BrokerAccess, ledger: HistoryLedger
) -> Callable[[str, str], Awaitable[WhyView]]:
    """
    What tells why a task waits.
    """

    async def why(uuid: str, queue: str) -> WhyView:
        raise BrokerError(_NOT_YET)

    return why


async def cancel_one(broker: BrokerAccess, queue: str, uuid: str) -> ChangeView:
    """
    Cancel a task.
    """
    raise BrokerError(_NOT_YET)


async def cancel_some(
    broker: BrokerAccess, queue: str, matches: Sequence[Match], progress: Progress
) -> None:
    """
    Cancel the tasks that match.
    """
    raise BrokerError(_NOT_YET)


async def run_one(broker: BrokerAccess, queue: str, uuid: str) -> ChangeView:
    """
    Run a delayed task now.
    """
    raise BrokerError(_NOT_YET)
