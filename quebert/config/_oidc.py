"""
The table C{[oidc]}: the issuer of ID tokens for handlers of Cloud Tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import chain
from urllib.parse import urlsplit

import attrs

from quebert.config import _kinds as kinds
from quebert.config._outside import Outside
from quebert.config._problems import Wrong
from quebert.config._table import Table
from quebert.signatures import TokenKeys

__all__ = ["OIDC", "oidc"]


@attrs.frozen
class OIDC:
    """
    The issuer.  Mediators sign with its keys; a web server tells the public halves.

    @ivar issuer: its URL, as the tokens name it.
    @ivar key_file: where the keys are from.
    @ivar keys: the first one signs.
    @ivar accounts: for patterns of queues, patterns of the accounts that their tasks
        may ask for; C{None} for any account, in each queue.
    """

    issuer: str
    key_file: str
    keys: TokenKeys = attrs.field(repr=False)
    accounts: Mapping[str, Sequence[str]] | None = None

    def accounts_of(self, queue: str) -> Sequence[str]:
        """
        Patterns of the accounts that tasks of a queue may ask for.
        """
        if self.accounts is None:
            return ["*"]
        of_queues = self.accounts.items()
        found = (accounts for each, accounts in of_queues if fnmatchcase(queue, each))
        return [*chain.from_iterable(found)]


def oidc(table: Table, outside: Outside, *, given: bool) -> OIDC | None:
    """
    What the table says.

    @param given: whether the file has it.
    """
    issuer = table.get("issuer", _issuer, None)
    keys = table.get("key_file", outside.token_keys, None)
    accounts = table.get("accounts", _accounts, None)
    for key in ("issuer", "key_file"):
        if given and key not in table:
            table.wrong(key, "is missing")
    table.end()
    if issuer is None or keys is None:
        return None
    return OIDC(issuer, *keys, accounts)


def _accounts(value: object) -> Mapping[str, Sequence[str]]:
    if not isinstance(value, dict):
        raise Wrong("must be a table of patterns of queues, each with its accounts")
    read = kinds.array(kinds.text)
    found = {}
    for queue, accounts in value.items():
        try:
            found[queue] = read(accounts)
        except Wrong as e:
            raise Wrong(str(e), (queue, *e.path)) from None
    return found


def _issuer(value: object) -> str:
    """
    OpenID Connect Core 1.0, section 2, but that http is allowed, for tests.
    """
    url = kinds.http_url(value)
    parts = urlsplit(url)
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise Wrong("must be a URL without user, query and fragment")
    return url
