"""
Whether a broker, the queues in it and a configuration are sound: the work of C{quebert
doctor}.  Each module is about one thing that can be wrong.
"""

from quebert.doctor._examine import examine
from quebert.doctor._findings import Finding, Level

__all__ = ["Finding", "Level", "examine"]
