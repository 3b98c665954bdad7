"""
Names of the Cloud Tasks API: of locations, queues and tasks; and the names of their
queues in RabbitMQ.  Pure.

Theory of operation.  In the API a queue belongs to a project and a location; RabbitMQ
has names alone.  The queues of one project and location, the home, have their IDs as
names in RabbitMQ.  All others are called C{PROJECT.LOCATION.ID}.  No ID has a dot, so
that no two names are the same.  Elsewhere than at home, no queue C{dead} can be made:
C{PROJECT.LOCATION.dead} has the dead letters of a queue C{PROJECT.LOCATION}.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

import attrs

from quebert.amqp.queues import DEAD_LETTERS
from quebert.web._call import RESERVED
from quebert.web.cloud_tasks._errors import TYPE, CloudTasksError, Code, help_detail

__all__ = ["CloudNames", "Location", "QueueName", "TaskName", "checked_task_id"]

_REFERENCE = "https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations"
_PROJECT, _LOCATION = r"[A-Za-z0-9:.-]{1,100}", r"[A-Za-z0-9-]{1,63}"
_QUEUE, _TASK = r"[A-Za-z0-9-]{1,100}", r"[A-Za-z0-9_-]{1,500}"
_IS_LOCATION = re.compile(f"projects/({_PROJECT})/locations/({_LOCATION})", re.ASCII)
_IS_QUEUE = re.compile(f"{_IS_LOCATION.pattern}/queues/({_QUEUE})", re.ASCII)
_HAS_TASK = re.compile(f"({_IS_QUEUE.pattern})/tasks/(.*)", re.ASCII | re.DOTALL)
_IS_QUEUE_ID = re.compile(_QUEUE, re.ASCII)
_IS_TASK_ID = re.compile(_TASK, re.ASCII)
_IN_RABBITMQ = re.compile(rf"({_PROJECT})\.({_LOCATION})\.({_QUEUE})", re.ASCII)
# Characters of a name in a sentence.
_SHOWN = 1_000


@attrs.frozen
class Location:
    """
    A location of a project.

    @ivar project: the ID of the project.
    @ivar location: the ID of the location.
    """

    project: str
    location: str

    def __str__(self) -> str:
        return f"projects/{self.project}/locations/{self.location}"


@attrs.frozen
class QueueName:
    """
    The name of a queue.

    @ivar location: where it is.
    @ivar queue: its ID.
    """

    location: Location
    queue: str

    def __str__(self) -> str:
        return f"{self.location}/queues/{self.queue}"


@attrs.frozen
class TaskName:
    """
    The name of a task.

    @ivar queue: the queue that it is in.
    @ivar task: its ID.
    """

    queue: QueueName
    task: str

    def __str__(self) -> str:
        return f"{self.queue}/tasks/{self.task}"


def checked_task_id(task: str) -> str:
    """
    The ID of a task.

    @raise CloudTasksError: no task can have it.
    """
    if _IS_TASK_ID.fullmatch(task):
        return task
    text = (
        f'Task ID "{task[:_SHOWN]}" can contain only letters ([A-Za-z]), numbers'
        " ([0-9]), hyphens (-), or underscores (_). Task ID must between 1 and 500"
        " characters."
    )
    url = f"{_REFERENCE}.queues.tasks#Task.FIELDS.name"
    raise _invalid(text, help_detail("Definition of task ID", url))


@attrs.frozen
class CloudNames:
    """
    Reads names, of the projects that there are.

    @ivar home: whose queues have plain names in RabbitMQ; C{None} for none.
    @ivar projects: patterns of the projects that there are.
    """

    home: Location | None = None
    projects: tuple[str, ...] = ("*",)

    def location(self, text: str) -> Location:
        """
        A location by its name, such as the parent of a queue.

        @raise CloudTasksError: there is none of this name.
        """
        found = _IS_LOCATION.fullmatch(text)
        if found is not None:
            return Location(self._project(found[1]), found[2])
        parts = text[:_SHOWN].split("/")
        if parts[0] != "projects" or len(parts) < 2:
            raise _denied(text[:_SHOWN])
        self._project(parts[1])
        raise _invalid(
            "Location name must be formatted:"
            ' "projects/<PROJECT_ID>/locations/<LOCATION_ID>".'
        )

    def queue(self, text: str) -> QueueName:
        """
        A queue by its name.

        @raise CloudTasksError: it is no name of a queue, or of another project.
        """
        found = _IS_QUEUE.fullmatch(text)
        if found is None:
            text = (
                'Queue name must be formatted: "projects/<PROJECT_ID>/locations/'
                '<LOCATION_ID>/queues/<QUEUE_ID>".'
            )
            url = f"{_REFERENCE}.queues#Queue.FIELDS.name"
            raise _invalid(text, help_detail("Definition of queue name", url))
        return QueueName(Location(self._project(found[1]), found[2]), found[3])

    def check_new(self, name: QueueName) -> None:
        """
        Look whether a queue of this name may be made, and get tasks.

        @raise CloudTasksError: RabbitMQ has dead letters in a queue of this name.
        """
        if self.in_rabbitmq(name).endswith(DEAD_LETTERS):
            raise _invalid(
                f'Queue ID "{name.queue}" cannot be used in this location: the queue'
                " would have the name of one of dead letters in RabbitMQ."
            )

    def task(self, text: str) -> TaskName:
        """
        A task by its name.

        @raise CloudTasksError: it is no name of a task, or of another project.
        """
        found = _HAS_TASK.fullmatch(text)
        if found is None:
            text = (
                'Task name must be formatted: "projects/<PROJECT_ID>/locations/'
                '<LOCATION_ID>/queues/<QUEUE_ID>/tasks/<TASK_ID>".'
            )
            raise _invalid(text)
        return TaskName(self.queue(found[1]), checked_task_id(found[5]))

    def _project(self, project: str) -> str:
        if not self._serves(project):
            raise _denied(project)
        return project

    def _serves(self, project: str) -> bool:
        if f"{project}.".startswith(RESERVED):
            return False
        return any(fnmatchcase(project, pattern) for pattern in self.projects)

    def in_rabbitmq(self, name: QueueName) -> str:
        """
        The name of a queue in RabbitMQ.
        """
        if name.location == self.home:
            return name.queue
        return f"{name.location.project}.{name.location.location}.{name.queue}"

    def in_cloud_tasks(self, queue: str) -> QueueName | None:
        """
        The other way round; C{None} of a queue that has no name in the API.
        """
        if _IS_QUEUE_ID.fullmatch(queue):
            return None if self.home is None else QueueName(self.home, queue)
        found = _IN_RABBITMQ.fullmatch(queue)
        if found is None or Location(found[1], found[2]) == self.home:
            return None
        if not self._serves(found[1]):
            return None
        return QueueName(Location(found[1], found[2]), found[3])


def _denied(project: str) -> CloudTasksError:
    text = f"Permission denied on resource project {project}."
    metadata = {
        "consumer": f"projects/{project}",
        "containerInfo": project,
        "service": "cloudtasks.googleapis.com",
    }
    details: list[dict[str, Any]] = [
        {
            "@type": f"{TYPE}google.rpc.ErrorInfo",
            "reason": "CONSUMER_INVALID",
            "domain": "googleapis.com",
            "metadata": metadata,
        },
        {
            "@type": f"{TYPE}google.rpc.LocalizedMessage",
            "locale": "en-US",
            "message": text,
        },
        help_detail(
            "Google developers console", "https://console.developers.google.com"
        ),
    ]
    return CloudTasksError(Code.PERMISSION_DENIED, text, details)


def _invalid(text: str, *details: dict[str, Any]) -> CloudTasksError:
    return CloudTasksError(Code.INVALID_ARGUMENT, text, [*details])
