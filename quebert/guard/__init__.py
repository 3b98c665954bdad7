"""
Which addresses a task may reach: the guard against forged requests (SSRF).  Pure.

L{Guard} says what is allowed and judges an address that is about to be dialled;
L{quebert.http} asks it before each connection.
"""

from quebert.guard._guard import Guard
from quebert.guard._place import Place
from quebert.guard._tiers import Address, faces, parsed

__all__ = ["Address", "Guard", "Place", "faces", "parsed"]
