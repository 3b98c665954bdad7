"""
The header C{Idempotency-Key} (draft-ietf-httpapi-idempotency-key-header-07): requests
of one token with the same key are one request.  Pure.

Theory of operation.  The uuid of a task is made from the token's name and the key, so
that a repeat finds the row of the first request, whatever was killed in between.  The
row has a digest of the request, too: another request with the same key is refused.
"""

from __future__ import annotations

import json
import re
from hashlib import sha256
from http import HTTPStatus
from uuid import UUID, uuid5

import attrs

from quebert.web._exchange import APIProblem, APIRequest

__all__ = ["Key", "key_of"]

_NAME = "Idempotency-Key"
#: Of all uuids that are made here.
_SPACE = UUID("7c9f0d5e-2f0b-5c0e-9b51-6a1d3a0f4c77")
_KEY = re.compile(r"[ -~]{1,255}")
# As a string of a structured field (RFC 9651, section 3.3.3), as the draft has it.
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_ESCAPE = re.compile(r'\\(["\\])')


@attrs.frozen
class Key:
    """
    A key of a client.

    @ivar owner: the name of the client's token.
    @ivar text: the key.
    """

    owner: str
    text: str

    def uuid(self, place: str) -> str:
        """
        The uuid of a task.

        @param place: of the task in its batch; empty for a task alone.
        """
        return str(uuid5(_SPACE, "\n".join((self.owner, place, self.text))))

    def digest(self, given: object) -> bytes:
        """
        The digest of a task as it was asked for, however its fields are sorted.
        """
        text = json.dumps(given, sort_keys=True, separators=(",", ":"))
        return sha256(text.encode("ascii")).digest()


def key_of(request: APIRequest, owner: str) -> Key | None:
    """
    The key of a request; C{None} if there is none.

    @raise APIProblem: there is one that cannot be.
    """
    given = request.headers.get(_NAME.lower())
    if given is None:
        return None
    given = given.strip()
    quoted = _QUOTED.fullmatch(given)
    text = given if quoted is None else _ESCAPE.sub(r"\1", quoted[1])
    if _KEY.fullmatch(text):
        return Key(owner, text)
    text = f"{_NAME} must have 1 to 255 printable characters of ASCII"
    raise APIProblem(HTTPStatus.BAD_REQUEST, text, field=_NAME)
