"""
What carries a task, for whoever sends it in another way than producers do.  Pure.
"""

from quebert.producer._items import item_letter
from quebert.producer._letter import Letter

__all__ = ["Letter", "item_letter"]
