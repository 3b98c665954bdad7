"""
The file in which the embedded broker keeps what is durable.
"""

from quebert.broker.store._database import described
from quebert.broker.store._store import Store

__all__ = [
    "Store",
    "described",
]
