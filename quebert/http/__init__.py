"""
The HTTP edge: making the requests that tasks ask for.
"""

from quebert.http.dispatch import Dispatcher

__all__ = ["Dispatcher"]
