"""
L{task_view}: functions in Django, whatever its server.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from django.db import connections
from django.http import HttpRequest, HttpResponse

from quebert.functions._receiver import Receiver
from quebert.functions._registry import Function, all_functions
from quebert.functions.wsgi import read

__all__ = ["task_view"]


def task_view(
    receiver: Receiver, function: Function = all_functions
) -> Callable[..., HttpResponse]:
    """
    A view that takes tasks, for a pattern such as C{"tasks/<path:path>"}.

    It needs no CSRF token: a receiver does not take what a browser sends.  The limit of
    bodies is that of the receiver, not C{DATA_UPLOAD_MAX_MEMORY_SIZE}.  With
    C{ATOMIC_REQUESTS} all is rolled back that a function has done whose answer is no
    success.

    @param receiver: takes tasks from requests.
    @param function: does them; L{Functions} choose by the C{path} of the pattern.  By
        default these are all that have the decorator C{@task}.
    """

    def view(request: HttpRequest, path: str = "") -> HttpResponse:
        began = monotonic()
        answer = receiver.answer(
            function,
            request.method or "",
            request.headers,
            read(request.read, receiver.max_body),
            f"/{path}",
            began=began,
        )
        if answer.status >= 400:
            _roll_back()
        return HttpResponse(
            answer.body, status=answer.status, headers=dict(answer.headers)
        )

    view.csrf_exempt = True  # type: ignore[attr-defined]
    return view


def _roll_back() -> None:
    """
    Have what a view has done undone, where its request is a transaction.
    """
    for each in connections.all(initialized_only=True):
        if each.settings_dict["ATOMIC_REQUESTS"] and each.in_atomic_block:
            each.set_rollback(True)
