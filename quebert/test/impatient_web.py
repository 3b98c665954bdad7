"""
C{quebert web} that says sooner than usual that its database does not answer::

    python -m quebert.test.impatient_web web --history FILE
"""

from __future__ import annotations

from quebert import _database_threads
from quebert.__main__ import main
from quebert.history import _database, _recorder

if __name__ == "__main__":
    _recorder._SILENT = _database_threads.ANSWER = 1.5
    _database.LOCK_LIMIT = 0.2
    _recorder._LATE = 1.0
    main()
