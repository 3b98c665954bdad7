"""
Metrics and health of C{quebert web}.
"""

from __future__ import annotations

import json

from quebert.metrics import ClusterMetrics
from quebert.web import Health
from quebert.web.cluster._history_feeder import HistoryFeeder
from quebert.web.cluster._live_cluster import LiveCluster

__all__ = ["ClusterReport"]


class ClusterReport:
    """
    Metrics and health, for Prometheus and for supervisors of processes.
    """

    def __init__(
        self, metrics: ClusterMetrics, live: LiveCluster, feeder: HistoryFeeder
    ) -> None:
        self._metrics = metrics
        self._live = live
        self._history_feeder = feeder

    def metrics(self, accept: str) -> tuple[str, bytes]:
        """
        The type and the text of the metrics.
        """
        return self._metrics.exposition(accept)

    def alive(self) -> Health:
        """
        The process answers, so it lives.
        """
        return Health(ok=True, body=_body({"alive": True}))

    def ready(self) -> Health:
        """
        Whether it sees the broker, and writes the history.
        """
        wrong = {
            "broker_away": self._live.problem,
            "history_away": self._history_feeder.view.problem,
        }
        reasons = [{"name": name, "text": text} for name, text in wrong.items() if text]
        told = {"ready": not reasons, "reasons": reasons}
        return Health(ok=not reasons, body=_body(told))


def _body(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"
