"""
Metrics for Prometheus, and the health of a mediator.

L{ClusterMetrics} takes events of mediators (L{quebert.events}) and gives an exposition.
The same code serves one mediator, the workers of a supervisor, and a cluster.
L{ViewSite} serves C{/metrics}, C{/healthz} and C{/readyz}.
"""

from quebert.metrics._catalogue import FAMILIES, Family
from quebert.metrics._cluster import ClusterMetrics, QueueDepth
from quebert.metrics._health import QueueHealth, Readiness, Reason, readiness_of
from quebert.metrics._site import ViewAnswer, ViewSite

__all__ = [
    "FAMILIES",
    "ClusterMetrics",
    "Family",
    "QueueDepth",
    "QueueHealth",
    "Readiness",
    "Reason",
    "ViewAnswer",
    "ViewSite",
    "readiness_of",
]
