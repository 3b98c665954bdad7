"""
How far a run has come.
"""

from __future__ import annotations

import attrs

__all__ = ["Count"]


@attrs.define
class Count:
    """
    How far a run has come.

    @ivar added: tasks that this run has added.
    @ivar there: tasks that earlier runs have added.
    @ivar refused: records that were refused, by this or an earlier run.
    @ivar again: records of a batch that was sent again, and may be there twice.
    @ivar consumed: bytes that were read.
    @ivar ended: whether it has come to the end.
    """

    added: int = 0
    there: int = 0
    refused: int = 0
    again: int = 0
    consumed: int = 0
    ended: bool = False

    @property
    def read(self) -> int:
        """
        All records.
        """
        return self.added + self.there + self.refused
