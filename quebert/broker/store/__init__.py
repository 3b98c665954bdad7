"""
The file in which the embedded broker keeps what is durable.

To keep something more: a method or an argument of L{Journal
<quebert.broker.state.Journal>}, and of C{NoJournal} beside it; a field of
L{Records<quebert.broker.state.Records>}; L{Store}, which writes and reads it; and the
tables in C{_database}.  Files of earlier versions must still open: see C{_COUNTS} there
for a table that some do not have.
"""

from quebert.broker.store._database import described
from quebert.broker.store._store import Store

__all__ = [
    "Store",
    "described",
]
