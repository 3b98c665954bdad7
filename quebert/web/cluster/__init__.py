"""
The cluster that C{quebert web} serves.

  - C{_cluster} reads it: from the live view (C{_live_cluster}), the history, the dead
    letters (C{_dead_letters}) and questions about one task (C{_single_tasks}).
  - C{_controls} changes it, by L{quebert.operations}.
  - C{_created} keeps the tasks that are created over HTTP: C{_task_broker} publishes
    and deletes them in RabbitMQ, and C{_end_notes} reads how they ended.
  - C{_leases} keeps leases; C{_unread_leases} warns where nobody does.
  - C{_cloud_tasks} and C{_grpc} serve the Cloud Tasks API over these tasks.
  - C{_history_feeder} writes the attempts of mediators into the history.
  - C{_report} has metrics and health.
  - C{_service} composes all of this, and serves it.

Queues of RabbitMQ are read by C{_queue_reader}; what fails is begun again by
C{_keep_going}.
"""

from quebert.web.cluster._service import WebService

__all__ = ["WebService"]
