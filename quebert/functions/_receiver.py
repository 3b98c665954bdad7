"""
L{Receiver}: from a request to its task, or to a refusal.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Union

from quebert._bounds import BOUNDS
from quebert._text import one_line
from quebert.errors import BadTask, ConfigError
from quebert.functions._answer import AnsweredError, ExecutorAnswer
from quebert.functions._received import ReceivedTask
from quebert.functions._registry import Function
from quebert.functions.admission import (
    Fields,
    RequestFilter,
    SignedOnly,
    Unsigned,
    method_refusal,
)
from quebert.functions.calling import call, call_async, log
from quebert.signatures import Key, Verifier

__all__ = ["Receiver", "RequestRefused"]

# Characters of a refusal that the log has.
_SHOWN = 400
# Bytes of a body that is not looked at in the loop.
_LARGE = 2**18

Headers = Union[Mapping[str, str], Iterable[tuple[str, str]]]


class RequestRefused(AnsweredError):
    """
    No task is taken from a request.
    """


class Receiver:
    """
    Takes tasks from requests, whatever the web framework.

    @param secrets_file: takes only requests that are signed with a secret of this file;
        see L{quebert.signatures.read_keys}.
    @param secrets: the same, with secrets as texts.
    @param verifier: the same, with a L{Verifier<quebert.signatures.Verifier>} of your
        own: of several processes each remembers the requests that it has had alone,
        unless the C{remember} of their verifiers is shared.
    @param hosts: without these three whatever a web page could have sent is refused,
        and what is for a host that has a dot in its name, and is not among C{hosts}.
    @param max_body: bytes that a body may have.
    @raise ConfigError: the file cannot be used, or an argument is wrong.
    """

    def __init__(
        self,
        *,
        secrets_file: str | os.PathLike[str] | None = None,
        secrets: Sequence[Union[Key, str]] | None = None,
        verifier: Verifier | None = None,
        hosts: Iterable[str] = (),
        max_body: int = BOUNDS.body,
    ) -> None:
        given = [each for each in (secrets_file, secrets, verifier) if each is not None]
        if len(given) > 1:
            raise ConfigError("give one of secrets_file, secrets and verifier")
        if secrets_file is not None:
            verifier = Verifier.from_file(secrets_file)
        elif secrets is not None:
            verifier = Verifier(secrets)
        if verifier is not None and hosts:
            raise ConfigError("signed requests may have any host: leave out hosts")
        if type(max_body) is not int or max_body < 1:
            raise ConfigError(
                f"max_body must be a number of bytes, not {max_body!r:.40}"
            )
        self.max_body = max_body
        self._filter: RequestFilter = Unsigned(hosts, "hosts=[NAME]")
        if verifier is not None:
            self._filter = SignedOnly(verifier)

    def receive(
        self,
        method: str,
        headers: Headers,
        body: bytes,
        path: str = "",
        *,
        began: float | None = None,
    ) -> ReceivedTask:
        """
        The task that a request brings.

        @param headers: of the request, as a mapping or as pairs; capitals make no
            difference.
        @param body: its bytes as they came.
        @param path: of the request; what L{Functions} choose by.
        @param began: when the request came, by C{time.monotonic}; now by default.
        @raise RequestRefused: no task is taken from it; its C{answer} says why.
        """
        fields = tuple(headers.items() if isinstance(headers, Mapping) else headers)
        refusal = self._refusal(method, fields, body)
        if refusal is not None:
            raise RequestRefused(refusal)
        try:
            return ReceivedTask.decode(body, fields, path=path, began=began)
        except BadTask as e:
            answer = ExecutorAnswer.text(HTTPStatus.BAD_REQUEST, str(e))
            raise RequestRefused(answer) from None

    def answer(
        self,
        function: Function,
        method: str,
        headers: Headers,
        body: bytes,
        path: str = "",
        *,
        began: float | None = None,
    ) -> ExecutorAnswer:
        """
        Have C{function} do the task that a request brings, and wait for that.

        @param function: L{Functions} choose among functions by C{path}.
        @return: the answer to the request, whatever has happened.
        """
        try:
            task = self.receive(method, headers, body, path, began=began)
        except RequestRefused as e:
            return _told(e)
        return call(function, task)

    async def answer_async(
        self,
        function: Function,
        method: str,
        headers: Headers,
        body: bytes,
        path: str = "",
        *,
        began: float | None = None,
    ) -> ExecutorAnswer:
        """
        The same in a loop of asyncio: a function that is not asynchronous is called in
        a thread.
        """
        receive = partial(self.receive, method, headers, body, path, began=began)
        try:
            # A large body takes up to some tenths of a second.
            large = len(body) > _LARGE
            task = await asyncio.to_thread(receive) if large else receive()
        except RequestRefused as e:
            return _told(e)
        return await call_async(function, task)

    def _refusal(
        self, method: str, headers: Fields, body: bytes
    ) -> ExecutorAnswer | None:
        wrong = method_refusal(method)
        if wrong is not None:
            return wrong
        if len(body) > self.max_body:
            return ExecutorAnswer.too_large(self.max_body)
        return self._filter.refusal(headers, body)


def _told(error: RequestRefused) -> ExecutorAnswer:
    told = one_line(str(error), _SHOWN)
    log.warning("A request was refused: %d: %s", error.answer.status, told)
    return error.answer
