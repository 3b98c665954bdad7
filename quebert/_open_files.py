"""
How many files a process may have open; each connection is one.
"""

from __future__ import annotations

import resource

__all__ = ["affordable"]


def affordable(most: int) -> int:
    """
    Connections that this process may have, C{most} at most, with a quarter of its
    files left for others.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, most if soft == resource.RLIM_INFINITY else min(most, soft * 3 // 4))
