"""
The cluster that C{quebert web} serves: composed of what happens now (C{_live_cluster}),
of the history (C{_history_feeder} fills it), and of operations on the broker
(C{_controls}, C{_single_tasks}, C{_dead_letters}).
"""

from quebert.web.cluster._service import WebService

__all__ = ["WebService"]
