"""
Texts of executors and hooks, without the secrets of the task that they are about.

An executor may say in its answer what it was sent, and a hook in its exception.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from quebert._secrets import (
    hide,
    hide_in_beginning,
    hide_tokens,
    in_headers,
    in_url,
)
from quebert.errors import BadTask
from quebert.task import Request, Task

__all__ = ["ANSWER", "Redaction"]

#: Bytes of the answer to a failed attempt that are kept.
ANSWER = 2_048


class Redaction:
    """
    Hides secrets.

    @param secrets: texts that are hidden whatever the task.
    @param request: gives the request that a task asks for, or raises C{BadTask}.
    """

    def __init__(
        self, secrets: Iterable[str], request: Callable[[Task], Request]
    ) -> None:
        self._secrets = tuple(secrets)
        self._request = request

    def text(self, text: str, task: Task) -> str:
        """
        C{text} without the secrets of the request of C{task}.
        """
        if not text:
            return text
        secrets, has_token = self._secrets_of(task)
        return hide(hide_tokens(text) if has_token else text, secrets)

    def beginning(self, answer: bytes, task: Task) -> bytes:
        """
        The first bytes of an answer, likewise.
        """
        secrets, has_token = self._secrets_of(task)
        shown = hide_tokens(answer) if has_token else answer
        return hide_in_beginning(shown, secrets, ANSWER)

    def _secrets_of(self, task: Task) -> tuple[list[str], bool]:
        """
        The secrets that a task has itself, and whether its request may have an ID
        token, which nobody keeps.
        """
        found, headers, has_token = [*self._secrets], task.get("headers"), True
        for field in ("url", "callback_url"):
            if isinstance(url := task.get(field), str):
                found.extend(in_url(url))
        try:
            request = self._request(task)
        except BadTask:  # hooks spoiled it
            pass
        else:
            headers, has_token = request.headers, request.id_token is not None
            found.extend(in_url(request.url))
        if isinstance(headers, dict):
            found.extend(in_headers(headers))
        return found, has_token
