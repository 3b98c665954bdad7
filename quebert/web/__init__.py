"""
The web server of a cluster of mediators: the API, the page, and server-sent events.

Theory of operation.  Bytes become a request (C{_channel}, by C{_head}), which is
decoded (C{_request}), let in (C{_access_rules}, by C{_tokens}), routed (C{_routes},
C{_api}), and answered from a L{Cluster}, which is read, or by L{Controls}, which change
something (C{_changes}, C{_background} and C{_audit}).
All of this is values in and values out; C{_channel} and C{_site} alone know Twisted's
connections, and C{_response} makes bytes of answers.  C{_hub} sends events to all open
streams (C{_stream}, C{_listener}, C{_sampling}, C{_snapshots}).

C{twisted.web} is not used: what it does for a request takes 200 to 300 µs of CPU, and
thousands of tasks a second are to be created here.  So routes are found by C{_routes},
which also cuts a path at its slashes before it is decoded, since queues may have
slashes in their names, and knows our verbs, which stand behind a colon.

L{quebert.web.cluster} composes the cluster that is read and changed.

To add a route: L{quebert.web._api}.  To add a field: L{quebert.web._views}.
"""

from quebert.web._assets import Assets
from quebert.web._audit import Audit
from quebert.web._boundaries import (
    BadPageToken,
    Cluster,
    ClusterWatcher,
    Controls,
    Health,
    ServerReport,
    TaskQuery,
)
from quebert.web._server import WebServer
from quebert.web._tokens import (
    EVERYTHING,
    RIGHTS,
    Grant,
    Tokens,
    hash_of,
    new_token,
    token_line,
)
from quebert.web._views import (
    AttemptGap,
    ChangeView,
    ClusterView,
    CreatedPage,
    CreatedView,
    DeadGroup,
    DeadPage,
    DeadView,
    HistoryView,
    QueueDetail,
    TaskDetail,
    TaskPage,
    WhyView,
)

__all__ = [
    "EVERYTHING",
    "RIGHTS",
    "Assets",
    "AttemptGap",
    "Audit",
    "BadPageToken",
    "ChangeView",
    "Cluster",
    "ClusterView",
    "ClusterWatcher",
    "Controls",
    "CreatedPage",
    "CreatedView",
    "DeadGroup",
    "DeadPage",
    "DeadView",
    "Grant",
    "Health",
    "HistoryView",
    "QueueDetail",
    "ServerReport",
    "TaskDetail",
    "TaskPage",
    "TaskQuery",
    "Tokens",
    "WebServer",
    "WhyView",
    "hash_of",
    "new_token",
    "token_line",
]
