"""
L{ExecutorAnswer}: what a request is answered with.  Pure.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import attrs

__all__ = ["JSON", "TEXT", "AnsweredError", "ExecutorAnswer"]

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
# Seconds after which a client may try again.
_LATER = "2"
# RFC 9110, section 5.
_NAME = re.compile("[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile("[\t -~\x80-\xff]*")


@attrs.frozen
class ExecutorAnswer:
    """
    What a request is answered with.

    @ivar status: that of HTTP, from 200 to 599.
    @ivar body: its bytes.
    @ivar headers: names and values, in which each character stands for a byte, as in
        WSGI (latin-1).  The length of the body is left to the web server.
    @raise ValueError: no web server could send it.
    """

    status: int = attrs.field(converter=int)
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def __attrs_post_init__(self) -> None:
        if not 200 <= self.status <= 599:
            raise ValueError(f"an answer cannot have the status {self.status}")
        for name, value in self.headers:
            if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
                text = f"an answer cannot have the header {name!r:.60}"
                raise ValueError(f"{text} with the value {value!r:.60}")

    @classmethod
    def text(
        cls, status: int, sentence: str, *headers: tuple[str, str]
    ) -> ExecutorAnswer:
        """
        A sentence, which may hold what UTF-8 cannot.
        """
        body = sentence.encode("utf-8", "backslashreplace")
        return cls(status, body, (("Content-Type", TEXT), *headers))

    @classmethod
    def too_large(cls, limit: int) -> ExecutorAnswer:
        """
        For a body of more than C{limit} bytes.
        """
        sentence = f"the body is larger than {limit} bytes, the most that is taken"
        return cls.text(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, sentence)

    @classmethod
    def unavailable(cls, sentence: str) -> ExecutorAnswer:
        """
        For a request that may be made again in some seconds.
        """
        later = ("Retry-After", _LATER)
        return cls.text(HTTPStatus.SERVICE_UNAVAILABLE, sentence, later)

    @property
    def sentence(self) -> str:
        """
        The body as text.
        """
        return self.body.decode("utf-8", "replace")


class AnsweredError(Exception):
    """
    An exception that says itself what is answered: no fault of a function.

    @ivar answer: that.
    """

    def __init__(self, answer: ExecutorAnswer) -> None:
        super().__init__(answer.sentence)
        self.answer = answer

    def __reduce__(self) -> Any:
        """
        Have it be pickled without the arguments that it was made with.
        """
        return _restored, (type(self), self.args, self.__dict__)


def _restored(
    kind: type[AnsweredError], arguments: tuple[Any, ...], state: dict[str, Any]
) -> AnsweredError:
    made = kind.__new__(kind, *arguments)
    made.__dict__.update(state)
    return made
