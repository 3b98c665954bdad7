"""
Adding the tasks of a file: hundreds of thousands of lines, in batches, resumable.

  - C{_source}, C{_records}, C{_formats}: from a file to records, and to items.
  - C{_batches}: from items to batches of tasks.
  - C{_sending}: to the broker.
  - C{_token_channel}: why no task is there twice after a kill.
  - C{_state}, C{_rejects}: the two files that are written.
  - C{_loading}: the run; L{load}, what programs call.

To add a format: a class in C{_formats} with a line in C{FORMATS}; its suffix, if that
is not its name, in C{cli/_add_many}; C{docs/bulk.rst}.
"""

from quebert.bulk._count import Count
from quebert.bulk._formats import FORMATS
from quebert.bulk._load import Load, load

__all__ = ["FORMATS", "Count", "Load", "load"]
