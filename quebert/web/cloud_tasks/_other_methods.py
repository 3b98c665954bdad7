"""
The methods of neither tasks nor queues: locations, operations, IAM and CMEK.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from quebert.web._tokens import Grant
from quebert.web.cloud_tasks._boundaries import CloudQueues
from quebert.web.cloud_tasks._errors import CloudTasksError, Code
from quebert.web.cloud_tasks._messages import (
    CmekConfig,
    IamRequest,
    ListLocationsResponse,
    ListRequest,
    LocationMessage,
    NameRequest,
    OperationMessage,
    PermissionsMessage,
    PolicyMessage,
    SetIamPolicyRequest,
    TestIamPermissionsRequest,
    UpdateCmekConfigRequest,
)
from quebert.web.cloud_tasks._names import CloudNames, Location
from quebert.web.cloud_tasks._rights import check, has
from quebert.web.cloud_tasks._sentences import invalid, no_entity, no_queue

__all__ = ["OtherMethods"]

# Google's for a policy without anything.
_ETAG = b"\x00\x20\x01"
# Permissions that are tested at once.
_MOST_PERMISSIONS = 100


class OtherMethods:
    """
    Answers them.
    """

    def __init__(self, queues: CloudQueues, names: CloudNames) -> None:
        self._queues = queues
        self._names = names

    @property
    def handlers(self) -> Mapping[str, Callable[[Any, Grant], Awaitable[Any]]]:
        """
        The functions, by the methods that they answer.
        """
        return {
            "GetIamPolicy": self._get_policy,
            "SetIamPolicy": self._set_policy,
            "TestIamPermissions": self._permissions,
            "ListLocations": self._locations,
            "GetLocation": self._location,
            "GetOperation": self._operation,
            "GetCmekConfig": self._cmek,
            "UpdateCmekConfig": self._set_cmek,
        }

    # -- IAM

    async def _get_policy(self, request: IamRequest, grant: Grant) -> PolicyMessage:
        name = self._names.queue(request.resource)
        in_rabbitmq = self._names.in_rabbitmq(name)
        check(grant, "cloudtasks.queues.getIamPolicy", name, in_rabbitmq)
        if await self._queues.get(in_rabbitmq) is None:
            raise no_queue()
        return PolicyMessage(etag=_ETAG)

    async def _set_policy(
        self, request: SetIamPolicyRequest, grant: Grant
    ) -> PolicyMessage:
        name = self._names.queue(request.resource)
        in_rabbitmq = self._names.in_rabbitmq(name)
        check(grant, "cloudtasks.queues.setIamPolicy", name, in_rabbitmq)
        text = "Policies are not supported: tokens have rights, in the file of tokens."
        raise CloudTasksError(Code.UNIMPLEMENTED, text)

    async def _permissions(
        self, request: TestIamPermissionsRequest, grant: Grant
    ) -> PermissionsMessage:
        queue = self._names.in_rabbitmq(self._names.queue(request.resource))
        asked = request.permissions
        if len(asked) > _MOST_PERMISSIONS:
            raise invalid(f"permissions must be at most {_MOST_PERMISSIONS}.")
        granted = tuple(each for each in asked if has(grant, each, queue))
        return PermissionsMessage(permissions=granted)

    # -- Locations and operations

    async def _locations(
        self, request: ListRequest, grant: Grant
    ) -> ListLocationsResponse:
        parts = request.name.split("/")
        if len(parts) != 2:
            raise invalid('Project name must be formatted: "projects/<PROJECT_ID>".')
        project = self._names.location(f"{request.name}/locations/any").project
        check(grant, "cloudtasks.locations.list", Location(project, "-"))
        queues = [self._names.in_cloud_tasks(q.name) for q in await self._queues.list()]
        found = {each.location for each in queues if each is not None}
        if self._names.home is not None:
            found.add(self._names.home)
        shown = sorted(each.location for each in found if each.project == project)
        return ListLocationsResponse(
            locations=tuple(_shown(Location(project, each)) for each in shown)
        )

    async def _location(self, request: NameRequest, grant: Grant) -> LocationMessage:
        location = self._names.location(request.name)
        check(grant, "cloudtasks.locations.get", location)
        return _shown(location)

    async def _operation(self, request: NameRequest, grant: Grant) -> OperationMessage:
        location = request.name.partition("/operations/")[0]
        check(grant, "cloudtasks.tasks.get", self._names.location(location))
        raise no_entity()  # they were done when they were answered

    # -- Keys

    async def _cmek(self, request: NameRequest, grant: Grant) -> CmekConfig:
        location = self._names.location(request.name.removesuffix("/cmekConfig"))
        check(grant, "cloudtasks.cmekConfig.get", location)
        return CmekConfig(name=f"{location}/cmekConfig")

    async def _set_cmek(
        self, request: UpdateCmekConfigRequest, grant: Grant
    ) -> CmekConfig:
        config = request.cmek_config or CmekConfig()
        location = self._names.location(config.name.removesuffix("/cmekConfig"))
        check(grant, "cloudtasks.cmekConfig.update", location)
        text = "Keys of customers are not supported: RabbitMQ keeps the tasks."
        raise CloudTasksError(Code.UNIMPLEMENTED, text)


def _shown(location: Location) -> LocationMessage:
    return LocationMessage(name=str(location), location_id=location.location)
