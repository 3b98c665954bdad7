"""
The table C{tls}, of a broker or a host.
"""

from __future__ import annotations

import attrs

from quebert.config._broker import TLS
from quebert.config._outside import Outside
from quebert.config._table import Table
from quebert.errors import ConfigError

__all__ = ["tls_files"]


def tls_files(table: Table, outside: Outside) -> TLS | None:
    """
    What C{tls} of a table says; C{None} where there is no such key.
    """
    inner = table.table("tls")
    names = [field.name for field in attrs.fields(TLS)]
    files = inner.given(**dict.fromkeys(names, outside.path))
    inner.end()
    if "tls" not in table:
        return None
    try:
        return TLS(**files)
    except ConfigError as e:
        table.wrong("tls", f"is wrong: {e}")
        return None
