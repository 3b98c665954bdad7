"""
A program that writes batches into a history until it is killed; it prints the number of
each batch that is written, and begins behind the number that it is given.
"""

from __future__ import annotations

import sys
from itertools import count

from quebert.history._store import HistoryStore
from quebert.test.history_records import batch_of, record_of

#: Records of a batch.
SIZE = 50


def main(url: str, before: int) -> None:
    """
    Write without an end.
    """
    store = HistoryStore(url)
    store.open()
    for number in count(before + 1):
        store.write([batch_of(number, [record_of(n) for n in range(SIZE)])])
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
