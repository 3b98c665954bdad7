"""
The Cloud Tasks API, version 2, over created tasks and queues.

Theory of operation.  A request, over REST or gRPC, is the JSON of a message.  It is
read into a frozen value (C{_messages}; C{_proto} and C{_scalars} know protocol buffers
and their JSON), answered by a method of L{CloudTasks}, and the answer goes the same way
back.  The methods are in C{_task_methods}, C{_batch_methods}, C{_queue_methods} and
C{_other_methods}; C{_task_values}, C{_queue_values}, C{_retries} and C{_names}
translate between Cloud Tasks and quebert.  Sentences are Google's wherever they were
recorded.

  - C{_rest}: paths of HTTP.
  - C{_boundaries}: the role that it needs, L{CloudQueues}; L{MadeCloudQueues} fills it
    with queues that stand in RabbitMQ.
  - C{_rights}: which right of a token gives which permission.

To add a method: L{quebert.web.cloud_tasks._cloud_tasks}.  To add a field: its message
in C{_messages} and in C{grpc/_schema}, and C{_task_values} or C{_queue_values}, which
translate it.
"""

from quebert.web.cloud_tasks._boundaries import (
    CloudQueue,
    CloudQueueChanged,
    CloudQueueExists,
    CloudQueues,
    CloudQueueUnknown,
    NameTooRecent,
    TriesOfTasks,
)
from quebert.web.cloud_tasks._cloud_tasks import METHODS, CloudMethod, CloudTasks
from quebert.web.cloud_tasks._errors import CloudTasksError, Code, in_googles_form
from quebert.web.cloud_tasks._limits import CloudTasksLimits
from quebert.web.cloud_tasks._made_cloud_queues import MadeCloudQueues
from quebert.web.cloud_tasks._names import CloudNames, Location
from quebert.web.cloud_tasks._rest import CloudTasksREST

__all__ = [
    "METHODS",
    "CloudMethod",
    "CloudNames",
    "CloudQueue",
    "CloudQueueChanged",
    "CloudQueueExists",
    "CloudQueueUnknown",
    "CloudQueues",
    "CloudTasks",
    "CloudTasksError",
    "CloudTasksLimits",
    "CloudTasksREST",
    "Code",
    "Location",
    "MadeCloudQueues",
    "NameTooRecent",
    "TriesOfTasks",
    "in_googles_form",
]
