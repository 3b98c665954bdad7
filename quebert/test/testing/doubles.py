"""
Executors for the tests: functions, and applications of WSGI and ASGI.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from quebert.functions import Functions, Receiver
from quebert.functions.asgi import ASGIExecutor
from quebert.functions.wsgi import WSGIExecutor
from quebert.producer import add_task

__all__ = ["asgi_app", "chain", "functions", "telling_wsgi", "wsgi_app"]

functions = Functions()


@functions.task("/double")
def double(task: Any) -> Any:
    """
    Twice what the task says.
    """
    return {"doubled": 2 * task["params"], "attempt": task.attempt}


@functions.task("/slowly")
async def slowly(task: Any) -> Any:
    """
    The same, as a coroutine.
    """
    return double(task)


@functions.task("/fail")
def fail(task: Any) -> None:
    """
    Fail.
    """
    raise ValueError(f"cannot do {task['params']}")


@functions.task("/fail-slowly")
async def fail_slowly(task: Any) -> None:
    """
    The same, as a coroutine.
    """
    fail(task)


def chain(task: Any) -> None:
    """
    Add the next task, down to 0.
    """
    if task["params"] > 0:
        add_task("/chain", task["params"] - 1)


wsgi_app = WSGIExecutor(Receiver(), functions)
asgi_app = ASGIExecutor(Receiver(), functions)


def telling_wsgi(
    environ: dict[str, Any], start_response: Callable[..., Any]
) -> list[bytes]:
    """
    An application that answers what it was asked.
    """
    told = {k: v for k, v in environ.items() if isinstance(v, (str, int, bool))}
    told["body"] = environ["wsgi.input"].read().decode()
    start_response("202 Accepted", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]
