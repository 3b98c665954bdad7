"""
The cluster that C{quebert web} serves.

C{_cluster} reads it: from the live view (C{_live_cluster}), the history, the dead
letters (C{_dead_letters}) and questions about one task (C{_single_tasks}).
C{_controls} changes it, by L{quebert.operations}.  C{_history_feeder} writes the events
of mediators into the history, and C{_end_notes} reads how created tasks ended.
C{_report} has metrics and health.  C{_service} composes all of this, and serves it.
"""

from quebert.web.cluster._service import WebService

__all__ = ["WebService"]
