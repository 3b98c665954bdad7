"""
Who may do what: the permissions of Google's IAM, and the rights of tokens.  Pure.

Tasks have headers and bodies, which may hold secrets.  So a program of this machine
that may read without a token may not read tasks, and their bodies are for those who
may operate queues.
"""

from __future__ import annotations

from collections.abc import Mapping

from quebert.web._tokens import Grant
from quebert.web.cloud_tasks._errors import CloudTasksError, Code
from quebert.web.cloud_tasks._names import Location, QueueName

__all__ = ["PERMISSIONS", "check", "has"]

#: Google's permissions, each with the right that gives it.
PERMISSIONS: Mapping[str, str] = {
    "cloudtasks.locations.get": "read",
    "cloudtasks.locations.list": "read",
    "cloudtasks.cmekConfig.get": "read",
    "cloudtasks.cmekConfig.update": "operate",
    "cloudtasks.queues.create": "operate",
    "cloudtasks.queues.delete": "operate",
    "cloudtasks.queues.get": "read",
    "cloudtasks.queues.getIamPolicy": "read",
    "cloudtasks.queues.list": "read",
    "cloudtasks.queues.pause": "operate",
    "cloudtasks.queues.purge": "operate",
    "cloudtasks.queues.resume": "operate",
    "cloudtasks.queues.setIamPolicy": "operate",
    "cloudtasks.queues.update": "operate",
    "cloudtasks.tasks.create": "add",
    "cloudtasks.tasks.delete": "operate",
    "cloudtasks.tasks.fullView": "operate",
    "cloudtasks.tasks.get": "read",
    "cloudtasks.tasks.list": "read",
    "cloudtasks.tasks.run": "operate",
}
# Of these, nobody without a token has any.
_OF_TASKS = "cloudtasks.tasks."


def has(grant: Grant, permission: str, queue: str | None) -> bool:
    """
    Whether a client has a permission; not where there is no such.

    @param queue: in RabbitMQ; C{None} where it is not for one queue.
    """
    if not grant.name and permission.startswith(_OF_TASKS):
        return False
    right = PERMISSIONS.get(permission)
    return right is not None and grant.allows(right, queue)


def check(
    grant: Grant,
    permission: str,
    resource: QueueName | Location,
    queue: str | None = None,
) -> None:
    """
    See that a client has a permission.

    @param queue: the name of C{resource} in RabbitMQ, if it is a queue.
    @raise CloudTasksError: it has not.
    """
    if has(grant, permission, queue):
        return
    if not grant.name:
        raise CloudTasksError(
            Code.UNAUTHENTICATED,
            "Request is missing required authentication credential: a token, as"
            " Authorization: Bearer TOKEN or X-Goog-Api-Key: TOKEN.",
        )
    raise CloudTasksError(
        Code.PERMISSION_DENIED,
        f'The principal (user or service account) lacks IAM permission "{permission}"'
        f' for the resource "{resource}" (or the resource may not exist).',
    )
