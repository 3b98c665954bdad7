"""
The messages of C{google.cloud.tasks.v2}, and those of others that go with them.  Pure.

The numbers are those of the public .proto files and of C{google-cloud-tasks} 2.26.0,
which has some fields more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from quebert.web.cloud_tasks import _proto as proto
from quebert.web.cloud_tasks._enums import (
    BatchState,
    DeleteState,
    EnforceMode,
    HttpMethod,
    QueueState,
    Scheme,
    TaskView,
)

__all__ = [
    "AppEngineHttpRequest",
    "AppEngineRouting",
    "AttemptMessage",
    "BatchCreateTasksMetadata",
    "BatchCreateTasksRequest",
    "BatchCreateTasksResponse",
    "BatchDeleteTasksMetadata",
    "BatchDeleteTasksRequest",
    "CmekConfig",
    "CreateQueueRequest",
    "CreateTaskRequest",
    "Empty",
    "GetTaskRequest",
    "HeaderOverride",
    "HttpHeader",
    "HttpRequestMessage",
    "HttpTarget",
    "IamRequest",
    "ListLocationsResponse",
    "ListQueuesRequest",
    "ListQueuesResponse",
    "ListRequest",
    "ListTasksRequest",
    "ListTasksResponse",
    "LocationMessage",
    "NameRequest",
    "OAuthToken",
    "OidcToken",
    "OperationMessage",
    "PathOverride",
    "PermissionsMessage",
    "PolicyMessage",
    "QueryOverride",
    "QueueMessage",
    "RateLimitsMessage",
    "RetryConfig",
    "SetIamPolicyRequest",
    "StackdriverLoggingConfig",
    "StatusMessage",
    "TaskMessage",
    "TestIamPermissionsRequest",
    "UpdateCmekConfigRequest",
    "UpdateQueueRequest",
    "UriOverride",
]

_PACKAGE = "google.cloud.tasks.v2"


# -- Tasks


@attrs.frozen(kw_only=True)
class OAuthToken:
    """
    C{google.cloud.tasks.v2.OAuthToken}.
    """

    service_account_email: str = proto.text(1)
    scope: str = proto.text(2)


@attrs.frozen(kw_only=True)
class OidcToken:
    """
    C{google.cloud.tasks.v2.OidcToken}.
    """

    service_account_email: str = proto.text(1)
    audience: str = proto.text(2)


@attrs.frozen(kw_only=True)
class HttpRequestMessage:
    """
    C{google.cloud.tasks.v2.HttpRequest}.
    """

    url: str = proto.text(1)
    http_method: HttpMethod = proto.enum(2, HttpMethod)
    headers: Mapping[str, str] = proto.map_of(3, proto.text(2))
    body: bytes = proto.data(4)
    oauth_token: OAuthToken | None = proto.message(5, OAuthToken)
    oidc_token: OidcToken | None = proto.message(6, OidcToken)


@attrs.frozen(kw_only=True)
class AppEngineRouting:
    """
    C{google.cloud.tasks.v2.AppEngineRouting}.
    """

    service: str = proto.text(1)
    version: str = proto.text(2)
    instance: str = proto.text(3)
    host: str = proto.text(4)


@attrs.frozen(kw_only=True)
class AppEngineHttpRequest:
    """
    C{google.cloud.tasks.v2.AppEngineHttpRequest}.
    """

    http_method: HttpMethod = proto.enum(1, HttpMethod)
    app_engine_routing: AppEngineRouting | None = proto.message(2, AppEngineRouting)
    relative_uri: str = proto.text(3)
    headers: Mapping[str, str] = proto.map_of(4, proto.text(2))
    body: bytes = proto.data(5)


@attrs.frozen(kw_only=True)
class StatusMessage:
    """
    C{google.rpc.Status}, without details.
    """

    code: int = proto.int32(1)
    message: str = proto.text(2)


@attrs.frozen(kw_only=True)
class AttemptMessage:
    """
    C{google.cloud.tasks.v2.Attempt}.
    """

    schedule_time: int | None = proto.timestamp(1)
    dispatch_time: int | None = proto.timestamp(2)
    response_time: int | None = proto.timestamp(3)
    response_status: StatusMessage | None = proto.message(4, StatusMessage)


@attrs.frozen(kw_only=True)
class RetryConfig:
    """
    C{google.cloud.tasks.v2.RetryConfig}.
    """

    max_attempts: int = proto.int32(1)
    max_retry_duration: int | None = proto.duration(2)
    min_backoff: int | None = proto.duration(3)
    max_backoff: int | None = proto.duration(4)
    max_doublings: int = proto.int32(5)


@attrs.frozen(kw_only=True)
class TaskMessage:
    """
    C{google.cloud.tasks.v2.Task}.
    """

    name: str = proto.text(1)
    app_engine_http_request: AppEngineHttpRequest | None = proto.message(
        2, AppEngineHttpRequest
    )
    http_request: HttpRequestMessage | None = proto.message(3, HttpRequestMessage)
    schedule_time: int | None = proto.timestamp(4)
    create_time: int | None = proto.timestamp(5)
    dispatch_deadline: int | None = proto.duration(6)
    dispatch_count: int = proto.int32(7)
    response_count: int = proto.int32(8)
    first_attempt: AttemptMessage | None = proto.message(9, AttemptMessage)
    last_attempt: AttemptMessage | None = proto.message(10, AttemptMessage)
    view: TaskView = proto.enum(11, TaskView)
    retry_config: RetryConfig | None = proto.message(12, RetryConfig)


# -- Queues


@attrs.frozen(kw_only=True)
class RateLimitsMessage:
    """
    C{google.cloud.tasks.v2.RateLimits}.
    """

    max_dispatches_per_second: float = proto.double(1)
    max_burst_size: int = proto.int32(2)
    max_concurrent_dispatches: int = proto.int32(3)


@attrs.frozen(kw_only=True)
class StackdriverLoggingConfig:
    """
    C{google.cloud.tasks.v2.StackdriverLoggingConfig}.
    """

    sampling_ratio: float = proto.double(1)


@attrs.frozen(kw_only=True)
class HttpHeader:
    """
    C{google.cloud.tasks.v2.HttpTarget.Header}.
    """

    key: str = proto.text(1)
    value: str = proto.text(2)


@attrs.frozen(kw_only=True)
class HeaderOverride:
    """
    C{google.cloud.tasks.v2.HttpTarget.HeaderOverride}.
    """

    header: HttpHeader | None = proto.message(1, HttpHeader)


@attrs.frozen(kw_only=True)
class PathOverride:
    """
    C{google.cloud.tasks.v2.PathOverride}.
    """

    path: str = proto.text(1)


@attrs.frozen(kw_only=True)
class QueryOverride:
    """
    C{google.cloud.tasks.v2.QueryOverride}.
    """

    query_params: str = proto.text(1)


@attrs.frozen(kw_only=True)
class UriOverride:
    """
    C{google.cloud.tasks.v2.UriOverride}.
    """

    scheme: Scheme | None = proto.optional(proto.enum(1, Scheme))
    host: str | None = proto.optional(proto.text(2))
    port: int | None = proto.optional(proto.int64(3))
    path_override: PathOverride | None = proto.message(4, PathOverride)
    query_override: QueryOverride | None = proto.message(5, QueryOverride)
    uri_override_enforce_mode: EnforceMode = proto.enum(6, EnforceMode)


@attrs.frozen(kw_only=True)
class HttpTarget:
    """
    C{google.cloud.tasks.v2.HttpTarget}.
    """

    uri_override: UriOverride | None = proto.message(1, UriOverride)
    http_method: HttpMethod = proto.enum(2, HttpMethod)
    header_overrides: tuple[HeaderOverride, ...] = proto.repeated(
        proto.message(3, HeaderOverride)
    )
    oauth_token: OAuthToken | None = proto.message(5, OAuthToken)
    oidc_token: OidcToken | None = proto.message(6, OidcToken)


@attrs.frozen(kw_only=True)
class QueueMessage:
    """
    C{google.cloud.tasks.v2.Queue}.
    """

    name: str = proto.text(1)
    app_engine_routing_override: AppEngineRouting | None = proto.message(
        2, AppEngineRouting
    )
    rate_limits: RateLimitsMessage | None = proto.message(3, RateLimitsMessage)
    retry_config: RetryConfig | None = proto.message(4, RetryConfig)
    state: QueueState = proto.enum(5, QueueState)
    purge_time: int | None = proto.timestamp(6)
    stackdriver_logging_config: StackdriverLoggingConfig | None = proto.message(
        9, StackdriverLoggingConfig
    )
    http_target: HttpTarget | None = proto.message(10, HttpTarget)


@attrs.frozen(kw_only=True)
class CmekConfig:
    """
    C{google.cloud.tasks.v2.CmekConfig}.
    """

    name: str = proto.text(1)
    kms_key: str = proto.text(2)


# -- Requests and answers: tasks


@attrs.frozen(kw_only=True)
class CreateTaskRequest:
    """
    C{google.cloud.tasks.v2.CreateTaskRequest}.
    """

    parent: str = proto.text(1)
    task: TaskMessage | None = proto.message(2, TaskMessage)
    response_view: TaskView = proto.enum(3, TaskView)


@attrs.frozen(kw_only=True)
class GetTaskRequest:
    """
    C{google.cloud.tasks.v2.GetTaskRequest}; C{RunTaskRequest} is the same.
    """

    name: str = proto.text(1)
    response_view: TaskView = proto.enum(2, TaskView)


@attrs.frozen(kw_only=True)
class ListTasksRequest:
    """
    C{google.cloud.tasks.v2.ListTasksRequest}.
    """

    parent: str = proto.text(1)
    response_view: TaskView = proto.enum(2, TaskView)
    page_size: int = proto.int32(3)
    page_token: str = proto.text(4)


@attrs.frozen(kw_only=True)
class ListTasksResponse:
    """
    C{google.cloud.tasks.v2.ListTasksResponse}.
    """

    tasks: tuple[TaskMessage, ...] = proto.repeated(proto.message(1, TaskMessage))
    next_page_token: str = proto.text(2)


@attrs.frozen(kw_only=True)
class BatchCreateTasksRequest:
    """
    C{google.cloud.tasks.v2.BatchCreateTasksRequest}.
    """

    parent: str = proto.text(1)
    requests: tuple[CreateTaskRequest, ...] = proto.repeated(
        proto.message(2, CreateTaskRequest)
    )
    request_id: str = proto.text(3)


@attrs.frozen(kw_only=True)
class BatchCreateTasksResponse:
    """
    C{google.cloud.tasks.v2.BatchCreateTasksResponse}.
    """

    TYPE: ClassVar[str] = f"{_PACKAGE}.BatchCreateTasksResponse"

    tasks: tuple[TaskMessage, ...] = proto.repeated(proto.message(1, TaskMessage))


@attrs.frozen(kw_only=True)
class BatchCreateTasksMetadata:
    """
    C{google.cloud.tasks.v2.BatchCreateTasksMetadata}.
    """

    TYPE: ClassVar[str] = f"{_PACKAGE}.BatchCreateTasksMetadata"

    start_time: int | None = proto.timestamp(1)
    end_time: int | None = proto.timestamp(2)
    state: BatchState = proto.enum(3, BatchState)
    failed_requests: Mapping[str, StatusMessage] = proto.map_of(
        4, proto.message(2, StatusMessage)
    )


@attrs.frozen(kw_only=True)
class BatchDeleteTasksRequest:
    """
    C{google.cloud.tasks.v2.BatchDeleteTasksRequest}.
    """

    parent: str = proto.text(1)
    names: tuple[str, ...] = proto.repeated(proto.text(2))
    request_id: str = proto.text(3)


@attrs.frozen(kw_only=True)
class BatchDeleteTasksMetadata:
    """
    C{google.cloud.tasks.v2.BatchDeleteTasksMetadata}.
    """

    TYPE: ClassVar[str] = f"{_PACKAGE}.BatchDeleteTasksMetadata"

    start_time: int | None = proto.timestamp(1)
    end_time: int | None = proto.timestamp(2)
    state: DeleteState = proto.enum(3, DeleteState)
    failed_requests: Mapping[str, StatusMessage] = proto.map_of(
        4, proto.message(2, StatusMessage)
    )


# -- Requests and answers: queues


@attrs.frozen(kw_only=True)
class CreateQueueRequest:
    """
    C{google.cloud.tasks.v2.CreateQueueRequest}.
    """

    parent: str = proto.text(1)
    queue: QueueMessage | None = proto.message(2, QueueMessage)


@attrs.frozen(kw_only=True)
class UpdateQueueRequest:
    """
    C{google.cloud.tasks.v2.UpdateQueueRequest}.
    """

    queue: QueueMessage | None = proto.message(1, QueueMessage)
    update_mask: tuple[str, ...] = proto.mask(2)


@attrs.frozen(kw_only=True)
class ListQueuesRequest:
    """
    C{google.cloud.tasks.v2.ListQueuesRequest}.
    """

    parent: str = proto.text(1)
    filter: str = proto.text(2)
    page_size: int = proto.int32(3)
    page_token: str = proto.text(4)


@attrs.frozen(kw_only=True)
class ListQueuesResponse:
    """
    C{google.cloud.tasks.v2.ListQueuesResponse}.
    """

    queues: tuple[QueueMessage, ...] = proto.repeated(proto.message(1, QueueMessage))
    next_page_token: str = proto.text(2)


@attrs.frozen(kw_only=True)
class UpdateCmekConfigRequest:
    """
    C{google.cloud.tasks.v2.UpdateCmekConfigRequest}.
    """

    cmek_config: CmekConfig | None = proto.message(1, CmekConfig)
    update_mask: tuple[str, ...] = proto.mask(2)


# -- Requests and answers: of other packages, and of many methods


@attrs.frozen(kw_only=True)
class NameRequest:
    """
    A request with a name alone: C{GetQueueRequest}, C{DeleteTaskRequest} and the like.
    """

    name: str = proto.text(1)


@attrs.frozen(kw_only=True)
class Empty:
    """
    C{google.protobuf.Empty}.
    """

    TYPE: ClassVar[str] = "google.protobuf.Empty"


@attrs.frozen(kw_only=True)
class IamRequest:
    """
    C{google.iam.v1.GetIamPolicyRequest}; its options change nothing.
    """

    resource: str = proto.text(1)
    options: Any = proto.free_form(2)


@attrs.frozen(kw_only=True)
class SetIamPolicyRequest:
    """
    C{google.iam.v1.SetIamPolicyRequest}.
    """

    resource: str = proto.text(1)
    policy: Any = proto.free_form(2)
    update_mask: tuple[str, ...] = proto.mask(3)


@attrs.frozen(kw_only=True)
class PolicyMessage:
    """
    C{google.iam.v1.Policy}, without anything.
    """

    version: int = proto.int32(1)
    etag: bytes = proto.data(3)


@attrs.frozen(kw_only=True)
class TestIamPermissionsRequest:
    """
    C{google.iam.v1.TestIamPermissionsRequest}.
    """

    resource: str = proto.text(1)
    permissions: tuple[str, ...] = proto.repeated(proto.text(2))


@attrs.frozen(kw_only=True)
class PermissionsMessage:
    """
    C{google.iam.v1.TestIamPermissionsResponse}.
    """

    permissions: tuple[str, ...] = proto.repeated(proto.text(1))


@attrs.frozen(kw_only=True)
class ListRequest:
    """
    C{google.cloud.location.ListLocationsRequest}.
    """

    name: str = proto.text(1)
    filter: str = proto.text(2)
    page_size: int = proto.int32(3)
    page_token: str = proto.text(4)
    extra_location_types: tuple[str, ...] = proto.repeated(proto.text(5))


@attrs.frozen(kw_only=True)
class LocationMessage:
    """
    C{google.cloud.location.Location}.
    """

    name: str = proto.text(1)
    location_id: str = proto.text(4)


@attrs.frozen(kw_only=True)
class ListLocationsResponse:
    """
    C{google.cloud.location.ListLocationsResponse}.
    """

    locations: tuple[LocationMessage, ...] = proto.repeated(
        proto.message(1, LocationMessage)
    )
    next_page_token: str = proto.text(2)


@attrs.frozen(kw_only=True)
class OperationMessage:
    """
    C{google.longrunning.Operation}.
    """

    name: str = proto.text(1)
    metadata: Any = proto.any_message(2)
    done: bool = proto.boolean(3)
    error: StatusMessage | None = proto.message(4, StatusMessage)
    response: Any = proto.any_message(5)
