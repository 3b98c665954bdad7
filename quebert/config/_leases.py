"""
The table C{[leases]}: which executors may go on with tasks after a 202.
"""

from __future__ import annotations

import attrs

from quebert.config import _kinds as kinds
from quebert.config._outside import Outside
from quebert.config._table import Table
from quebert.signatures import LeaseIDs, SharedSecret

__all__ = ["LeaseSettings", "leases"]

_DAY = 86_400.0


@attrs.frozen
class LeaseSettings:
    """
    The leases of all queues whose mediator is C{"policy"}.

    @ivar url: of C{quebert web}, as executors reach it.
    @ivar secrets_file: where the secrets are from that ids are made with.
    @ivar secrets: the first makes ids, and each is accepted.
    @ivar longest: seconds of a lease at most.
    @ivar last: seconds after which a lease is not renewed any more.
    """

    url: str
    secrets_file: str
    secrets: tuple[bytes, ...] = attrs.field(repr=False)
    longest: float = _DAY
    last: float = 7 * _DAY

    @property
    def ids(self) -> LeaseIDs:
        """
        What makes the ids, and tells which are true.
        """
        return LeaseIDs(self.secrets)


def leases(table: Table, outside: Outside, *, given: bool) -> LeaseSettings | None:
    """
    What the table says.

    @param given: whether the file has it.
    """
    url = table.get("url", kinds.http_url, None)
    found = table.get("secrets_file", outside.signing_keys, None)
    times = table.given(longest=kinds.duration(1.0), last=kinds.duration(1.0))
    for key in ("url", "secrets_file"):
        if given and key not in table:
            table.wrong(key, "is missing")
    table.end()
    if url is None or found is None:
        return None
    path, keys = found
    if not all(isinstance(each, SharedSecret) for each in keys):
        table.wrong("secrets_file", "must have secrets that begin with whsec_ alone")
        return None
    made = LeaseSettings(url, path, tuple(each.raw for each in keys), **times)
    if made.longest > made.last:
        table.wrong("last", f"must be longest at least, which is {made.longest:g} s")
        return None
    return made
