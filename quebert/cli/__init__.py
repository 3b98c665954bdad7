"""
The C{quebert} command.
"""

from quebert.cli._main import main

__all__ = ["main"]
