"""
The messages and the methods of Cloud Tasks v2, as tables.  Pure.

Sources: C{google/cloud/tasks/v2/*.proto} of googleapis, and the Python client 2.26,
which has what these files lack: the batch methods, C{http_target} of a queue and
C{retry_config} of a task.  A suite of ours compares the tables with that client.

A line of L{MESSAGES} is the name of a message, and its fields.  A field is
C{name=number}, and C{:type} unless it is a string.  The type is one of protobuf, or the
name of a message or an enum: of the same message, else of the same package, else whole.
C{*} before the type is C{repeated}, C{?} is C{optional}, C{map<K,V>} a map; and
C{@name} behind it the C{oneof} that it belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from quebert.web.cloud_tasks import _enums as enums

__all__ = ["ENUMS", "MESSAGES", "METHODS"]

_STATUS = "google.rpc.Status"
_TIME, _DURATION = "google.protobuf.Timestamp", "google.protobuf.Duration"
_ANY, _EMPTY = "google.protobuf.Any", "google.protobuf.Empty"
_MASK = "google.protobuf.FieldMask"
_OPERATION = "google.longrunning.Operation"
_POLICY = "google.iam.v1.Policy"
_FAILED = f"failed_requests=4:map<int32,{_STATUS}>"

#: The messages of each package.
MESSAGES: Mapping[str, str] = {
    "google.rpc": f"""
        Status code=1:int32 message=2 details=3:*{_ANY}
        ErrorInfo reason=1 domain=2 metadata=3:map<string,string>
        RetryInfo retry_delay=1:{_DURATION}
        BadRequest field_violations=1:*FieldViolation
        BadRequest.FieldViolation field=1 description=2 reason=3
        Help links=1:*Link
        Help.Link description=1 url=2
        LocalizedMessage locale=1 message=2
    """,
    "google.longrunning": f"""
        Operation name=1 metadata=2:{_ANY} done=3:bool error=4:{_STATUS}@result
        + response=5:{_ANY}@result
        GetOperationRequest name=1
    """,
    "google.cloud.location": f"""
        ListLocationsRequest name=1 filter=2 page_size=3:int32 page_token=4
        + extra_location_types=5:*string
        ListLocationsResponse locations=1:*Location next_page_token=2
        GetLocationRequest name=1
        Location name=1 labels=2:map<string,string> metadata=3:{_ANY} location_id=4
        + display_name=5
    """,
    "google.type": """
        Expr expression=1 title=2 description=3 location=4
    """,
    "google.iam.v1": f"""
        GetPolicyOptions requested_policy_version=1:int32
        GetIamPolicyRequest resource=1 options=2:GetPolicyOptions
        SetIamPolicyRequest resource=1 policy=2:Policy update_mask=3:{_MASK}
        TestIamPermissionsRequest resource=1 permissions=2:*string
        TestIamPermissionsResponse permissions=1:*string
        Policy version=1:int32 bindings=4:*Binding etag=3:bytes
        Binding role=1 members=2:*string condition=3:google.type.Expr
    """,
    "google.cloud.tasks.v2": f"""
        Queue name=1 app_engine_routing_override=2:AppEngineRouting
        + rate_limits=3:RateLimits retry_config=4:RetryConfig state=5:State
        + purge_time=6:{_TIME} stackdriver_logging_config=9:StackdriverLoggingConfig
        + http_target=10:HttpTarget
        RateLimits max_dispatches_per_second=1:double max_burst_size=2:int32
        + max_concurrent_dispatches=3:int32
        RetryConfig max_attempts=1:int32 max_retry_duration=2:{_DURATION}
        + min_backoff=3:{_DURATION} max_backoff=4:{_DURATION} max_doublings=5:int32
        StackdriverLoggingConfig sampling_ratio=1:double
        Task name=1 app_engine_http_request=2:AppEngineHttpRequest@message_type
        + http_request=3:HttpRequest@message_type schedule_time=4:{_TIME}
        + create_time=5:{_TIME} dispatch_deadline=6:{_DURATION}
        + dispatch_count=7:int32 response_count=8:int32 first_attempt=9:Attempt
        + last_attempt=10:Attempt view=11:View retry_config=12:RetryConfig
        Attempt schedule_time=1:{_TIME} dispatch_time=2:{_TIME}
        + response_time=3:{_TIME} response_status=4:{_STATUS}
        HttpRequest url=1 http_method=2:HttpMethod headers=3:map<string,string>
        + body=4:bytes oauth_token=5:OAuthToken@authorization_header
        + oidc_token=6:OidcToken@authorization_header
        OAuthToken service_account_email=1 scope=2
        OidcToken service_account_email=1 audience=2
        AppEngineHttpRequest http_method=1:HttpMethod
        + app_engine_routing=2:AppEngineRouting relative_uri=3
        + headers=4:map<string,string> body=5:bytes
        AppEngineRouting service=1 version=2 instance=3 host=4
        HttpTarget uri_override=1:UriOverride http_method=2:HttpMethod
        + header_overrides=3:*HeaderOverride
        + oauth_token=5:OAuthToken@authorization_header
        + oidc_token=6:OidcToken@authorization_header
        HttpTarget.Header key=1 value=2
        HttpTarget.HeaderOverride header=1:HttpTarget.Header
        PathOverride path=1
        QueryOverride query_params=1
        UriOverride scheme=1:?Scheme host=2:?string port=3:?int64
        + path_override=4:PathOverride query_override=5:QueryOverride
        + uri_override_enforce_mode=6:UriOverrideEnforceMode
        CmekConfig name=1 kms_key=2
        CreateQueueRequest parent=1 queue=2:Queue
        GetQueueRequest name=1
        ListQueuesRequest parent=1 filter=2 page_size=3:int32 page_token=4
        ListQueuesResponse queues=1:*Queue next_page_token=2
        UpdateQueueRequest queue=1:Queue update_mask=2:{_MASK}
        DeleteQueueRequest name=1
        PurgeQueueRequest name=1
        PauseQueueRequest name=1
        ResumeQueueRequest name=1
        CreateTaskRequest parent=1 task=2:Task response_view=3:Task.View
        GetTaskRequest name=1 response_view=2:Task.View
        ListTasksRequest parent=1 response_view=2:Task.View page_size=3:int32
        + page_token=4
        ListTasksResponse tasks=1:*Task next_page_token=2
        DeleteTaskRequest name=1
        RunTaskRequest name=1 response_view=2:Task.View
        BatchCreateTasksRequest parent=1 requests=2:*CreateTaskRequest request_id=3
        BatchCreateTasksResponse tasks=1:*Task
        BatchCreateTasksMetadata start_time=1:{_TIME} end_time=2:{_TIME}
        + state=3:State {_FAILED}
        BatchDeleteTasksRequest parent=1 names=2:*string request_id=3
        BatchDeleteTasksMetadata start_time=1:{_TIME} end_time=2:{_TIME}
        + state=3:State {_FAILED}
        GetCmekConfigRequest name=1
        UpdateCmekConfigRequest cmek_config=1:CmekConfig update_mask=2:{_MASK}
    """,
}

#: The enums of C{google.cloud.tasks.v2}.
ENUMS: Mapping[str, type[IntEnum]] = {
    "HttpMethod": enums.HttpMethod,
    "Queue.State": enums.QueueState,
    "Task.View": enums.TaskView,
    "UriOverride.Scheme": enums.Scheme,
    "UriOverride.UriOverrideEnforceMode": enums.EnforceMode,
    "BatchCreateTasksMetadata.State": enums.BatchState,
    "BatchDeleteTasksMetadata.State": enums.DeleteState,
}


def _own(methods: str) -> dict[str, tuple[str, str]]:
    """
    Methods whose request is named as they are.
    """
    pairs = (each.split(":") for each in methods.split())
    tasks = "google.cloud.tasks.v2"
    return {
        name: (
            f"{tasks}.{name}Request",
            answer if "." in answer else f"{tasks}.{answer}",
        )
        for name, answer in pairs
    }


#: The types of request and answer of each method, by the names of the services.
METHODS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "google.cloud.tasks.v2.CloudTasks": {
        **_own(
            "CreateQueue:Queue GetQueue:Queue ListQueues:ListQueuesResponse"
            f" UpdateQueue:Queue DeleteQueue:{_EMPTY} PurgeQueue:Queue PauseQueue:Queue"
            " ResumeQueue:Queue CreateTask:Task GetTask:Task"
            f" ListTasks:ListTasksResponse DeleteTask:{_EMPTY} RunTask:Task"
            f" BatchCreateTasks:{_OPERATION} BatchDeleteTasks:{_OPERATION}"
            " GetCmekConfig:CmekConfig UpdateCmekConfig:CmekConfig"
        ),
        "GetIamPolicy": ("google.iam.v1.GetIamPolicyRequest", _POLICY),
        "SetIamPolicy": ("google.iam.v1.SetIamPolicyRequest", _POLICY),
        "TestIamPermissions": (
            "google.iam.v1.TestIamPermissionsRequest",
            "google.iam.v1.TestIamPermissionsResponse",
        ),
    },
    "google.cloud.location.Locations": {
        "ListLocations": (
            "google.cloud.location.ListLocationsRequest",
            "google.cloud.location.ListLocationsResponse",
        ),
        "GetLocation": (
            "google.cloud.location.GetLocationRequest",
            "google.cloud.location.Location",
        ),
    },
    "google.longrunning.Operations": {
        "GetOperation": ("google.longrunning.GetOperationRequest", _OPERATION),
    },
}
