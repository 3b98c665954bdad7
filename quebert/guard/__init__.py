"""
Which addresses a task may reach: the guard against forged requests (SSRF).  Pure.

L{Guard} says what is allowed and judges an address that is about to be dialled;
L{quebert.http} asks it before each connection.  Its C{proxy} is no rule: it is what
makes the connections.

To add a rule: a field of L{Guard}, with its converter; L{Guard.check}, if the URL
alone decides, or L{Guard.permits}, if the address does; C{_KEYS} in
C{config/_guard.py}; C{docs/security.rst} and C{docs/configuration.rst}.  A rule about
addresses holds behind a proxy only for those that stand in URLs (C{http/_proxied}).  A
network that is forbidden or private to all: C{_tiers}.  A task that is refused is
buried with the kind C{forbidden} (L{quebert.outcome}), and connections are kept apart
by the guard that permitted them.  What a task itself may say in its URL and its
headers: C{task/_request}.
"""

from quebert.guard._guard import Guard
from quebert.guard._place import Place
from quebert.guard._tiers import Address, faces, parsed

__all__ = ["Address", "Guard", "Place", "faces", "parsed"]
