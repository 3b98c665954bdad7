"""
Settings as frozen values: their parsing and its error messages, nothing else.

What changes together, each with C{docs/configuration.rst} and C{examples/quebert.toml}:

 - Another table: L{read} in C{_file}; a field of L{Settings}, whose C{changes} tell it
   at a reload without another line, unless it is secret (C{_SECRET}) or no table
   (C{_is_table}); C{service/_ways}, which translates it, and C{Watches.change}, which
   passes it on; C{cli/_check}, if it can be checked without a broker.
 - Another key of a queue: a field of L{QueueSettings}, read in C{_queue}: by
   C{handling}, if queues that are made over the API have it, too, else by C{queue}.
   An option of the watch: L{quebert.amqp.watch._options}.  An option of the mediator:
   C{mediator} and C{_PARTS} in C{service/_mediators}; what is missing there is not
   heeded at a reload.
 - Another key of queues that are made over the API, in their definitions: a field of
   L{QueueDefinition}, and C{settings_of_made} in C{_made_queues}; older mediators skip
   a definition that has it.
 - Another key of C{[service]}: L{Service}, C{_service} in C{_file}, and
   L{quebert.service}.  Of the log: C{service/_options}, too, where an option counts
   more; C{cli/_run_command}; C{docs/logs.rst}.
 - Another key of a host: L{quebert.limits}; one that mediators are to know is passed on
   by C{Watches.change}, as the admission control is, and a failure policy is not told
   the host (L{FailedTask<quebert.boundaries.FailedTask>}).  Of TLS: L{quebert._tls}; of
   the broker: L{quebert.amqp.link}; of the guard: L{quebert.guard}; of priorities:
   L{Priorities}, C{_priorities} in C{_file}, and C{group_of} in C{service/_ways}.
 - Another kind of value: C{_kinds}.
 - A key that people call by another name: C{_ELSEWHERE} in C{_table}, so that the error
   names ours.
"""

from quebert.config._broker import (
    DEFAULT_AMQP_URL,
    EMPTY_AMQP_URL,
    TLS,
    Address,
    AmqpURL,
    Broker,
    chosen_amqp_url,
    default_amqp_url,
)
from quebert.config._cloud_tasks import CloudTasksAPI
from quebert.config._cluster_web import ClusterWeb
from quebert.config._file import MOST_PROCESSES, read
from quebert.config._kinds import seconds
from quebert.config._leases import LeaseSettings
from quebert.config._made_queues import serves, settings_of_made
from quebert.config._management import guessed_management, management_url
from quebert.config._oidc import OIDC
from quebert.config._problems import BadConfig, Problem
from quebert.config._queue_definition import (
    DELETED_FOR,
    QueueDefinition,
    definition_from_plain,
    definition_to_plain,
)
from quebert.config._settings import (
    DEFAULT_URL,
    EVERY,
    LOG_FORMATS,
    LOG_LEVELS,
    Backoff,
    Events,
    Host,
    MadeQueues,
    Priorities,
    QueueSettings,
    Service,
    Settings,
    Signing,
)
from quebert.config._watch import Watch, settings_of
from quebert.config._web import Listen, Web

__all__ = [
    "DEFAULT_AMQP_URL",
    "DEFAULT_URL",
    "DELETED_FOR",
    "EMPTY_AMQP_URL",
    "EVERY",
    "LOG_FORMATS",
    "LOG_LEVELS",
    "MOST_PROCESSES",
    "OIDC",
    "TLS",
    "Address",
    "AmqpURL",
    "Backoff",
    "BadConfig",
    "Broker",
    "CloudTasksAPI",
    "ClusterWeb",
    "Events",
    "Host",
    "LeaseSettings",
    "Listen",
    "MadeQueues",
    "Priorities",
    "Problem",
    "QueueDefinition",
    "QueueSettings",
    "Service",
    "Settings",
    "Signing",
    "Watch",
    "Web",
    "chosen_amqp_url",
    "default_amqp_url",
    "definition_from_plain",
    "definition_to_plain",
    "guessed_management",
    "management_url",
    "read",
    "seconds",
    "serves",
    "settings_of",
    "settings_of_made",
]
