"""
End notes that tests read.
"""

from __future__ import annotations

from quebert.task_ends import EndNote, decode_note

__all__ = ["end_note_in"]


def end_note_in(body: bytes) -> EndNote:
    """
    The note of an end in the body of a message.
    """
    note = decode_note(body)
    assert isinstance(note, EndNote), note
    return note
