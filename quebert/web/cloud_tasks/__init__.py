"""
The Cloud Tasks API, version 2, over created tasks and queues.

  - C{_cloud_tasks}: its methods, for REST and gRPC alike.
  - C{_errors}: how they fail.
"""

from quebert.web.cloud_tasks._cloud_tasks import CloudTasks
from quebert.web.cloud_tasks._errors import CloudTasksError, Code

__all__ = ["CloudTasks", "CloudTasksError", "Code"]
