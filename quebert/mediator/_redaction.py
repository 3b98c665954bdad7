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
        if text and task.get("cloud_tasks") is not None:
            text = hide_tokens(text)  # each attempt may have another one
        return hide(text, self._secrets_of(task)) if text else text

    def beginning(self, answer: bytes, task: Task) -> bytes:
        """
        The first bytes of an answer, likewise.
        """
        if task.get("cloud_tasks") is not None:
            answer = hide_tokens(answer)
        return hide_in_beginning(answer, self._secrets_of(task), ANSWER)

    def _secrets_of(self, task: Task) -> list[str]:
        found, headers = [*self._secrets], task.get("headers")
        if isinstance(url := task.get("url"), str):
            found.extend(in_url(url))
        try:
            request = self._request(task)
        except BadTask:  # hooks spoiled it
            pass
        else:
            headers = request.headers
            found.extend(in_url(request.url))
        if isinstance(headers, dict):
            found.extend(in_headers(headers))
        return found
