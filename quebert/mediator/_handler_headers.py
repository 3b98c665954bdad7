"""
The headers that handlers of Cloud Tasks get.  Pure.

See U{https://cloud.google.com/tasks/docs/creating-http-target-tasks#handler}.  What
Google's service sends was recorded for the answers 503, 404, 429, 500, 302 and 200, and
for a time-out; the tests have that table.  Not recorded, and so a guess: an attempt
without any answer, such as a refused connection, is told as a time-out is, as 504; and
C{X-CloudTasks-TaskETA} has six decimals.
"""

from __future__ import annotations

from quebert.policy import History
from quebert.task import CloudTasksField

__all__ = ["handler_headers"]

#: Told of an attempt that had no answer.
NO_ANSWER = 504


def handler_headers(
    field: CloudTasksField, history: History, eta: float
) -> dict[str, str]:
    """
    The headers that tell a handler of its task.

    @param history: the attempts so far.
    @param eta: when this attempt was due, in seconds since the epoch.
    """
    headers = {
        "User-Agent": "Google-Cloud-Tasks",
        "X-CloudTasks-QueueName": field.queue,
        "X-CloudTasks-TaskName": field.task,
        "X-CloudTasks-TaskRetryCount": str(history.attempts),
        "X-CloudTasks-TaskExecutionCount": str(history.executions),
        "X-CloudTasks-TaskETA": f"{eta:.6f}",
    }
    if history.attempts:
        headers["X-CloudTasks-TaskPreviousResponse"] = str(history.status or NO_ANSWER)
        headers["X-CloudTasks-TaskRetryReason"] = ""
    return headers
