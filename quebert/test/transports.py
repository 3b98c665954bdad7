"""
Transports in memory.
"""

from __future__ import annotations

from twisted.internet.testing import StringTransport

__all__ = ["FullTransport"]


class FullTransport(StringTransport):
    """
    A transport that has enough after each write.
    """

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.producer is not None:
            self.producer.pauseProducing()
