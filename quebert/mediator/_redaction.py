"""
Texts of executors and hooks, without the secrets of the task that they are about.

An executor may say in its answer what it was sent, and a hook in its exception.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from quebert._secrets import (
    HIDDEN,
    LONGEST,
    hide,
    hide_in_beginning,
    hide_tokens,
    in_headers,
    in_url,
    without_cut_off,
)
from quebert.boundaries import WatchedMessage
from quebert.errors import BadTask
from quebert.task import Request, Task

__all__ = ["ANSWER", "Redaction", "TaskSecrets"]

#: Bytes of the answer to a failed attempt that are kept.
ANSWER = 2_048
#: Characters of any other text in which secrets are looked for: that takes time for
#: each of them.
TEXT = 2 * LONGEST


class Redaction:
    """
    Knows the secrets of tasks.

    @param secrets: texts that are secrets of each task.
    @param request: gives the request that a task asks for, or raises C{BadTask}.
    @param lease_url: gives the URL by which an attempt may lease its task; C{None} for
        no leases.
    """

    def __init__(
        self,
        secrets: Iterable[str],
        request: Callable[[Task], Request],
        lease_url: Callable[[WatchedMessage, int], str] | None = None,
    ) -> None:
        self._secrets = tuple(secrets)
        self._request = request
        self._lease_url = lease_url

    def of(
        self, task: Task, message: WatchedMessage | None = None, attempt: int = 0
    ) -> TaskSecrets:
        """
        The secrets of a request.

        @param message: of the task; C{None} where it is not known.
        @param attempt: the number of the attempt, from 1.
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
        if self._lease_url is not None and message is not None:
            lease = self._lease_url(message, attempt)
            found.extend((lease, lease.rpartition("/")[2]))
        return TaskSecrets(found, has_token)


class TaskSecrets:
    """
    The secrets of one request.

    @param found: these.
    @param has_token: whether it may have an ID token, which nobody keeps.
    """

    def __init__(self, found: Sequence[str], has_token: bool) -> None:
        self._found = found
        self._has_token = has_token

    def hidden_in(self, text: str) -> str:
        """
        A text without them; of a long one, the beginning.
        """
        if len(text) <= TEXT:
            return self._hidden_in(text)
        return without_cut_off(self._hidden_in(text[:TEXT]), self._found)

    def hidden_in_end(self, text: str) -> str:
        """
        A text of several lines without them; of a long one, the end, from a whole line
        on: none of them has more than one line.
        """
        if len(text) <= TEXT:
            return self._hidden_in(text)
        lines = text[-TEXT:].partition("\n")[2]
        return f"{HIDDEN}\n{self._hidden_in(lines)}"

    def _hidden_in(self, text: str) -> str:
        return hide(hide_tokens(text) if self._has_token else text, self._found)

    def hidden_in_answer(self, answer: bytes) -> bytes:
        """
        The first bytes of an answer, likewise.
        """
        shown = hide_tokens(answer) if self._has_token else answer
        return hide_in_beginning(shown, self._found, ANSWER)
