"""
The composition root of C{twistd quebert}, C{quebert run} and C{quebert dev}: its
options and its service.

To add an option of the command line: C{_options}, and there C{_KEPT}, if workers are
not to get it, C{_read_file}, if it does not go with a file, and C{_take_options};
L{settings_of<quebert.config.settings_of>}, if a file has it, too (L{quebert.config}).
C{grace} is told to each watch as it is stopped (C{Watches}, L{TxAMQPClient.stop
<quebert.amqp.TxAMQPClient.stop>}, L{Watcher.stop<quebert.amqp.watch.Watcher.stop>}), to
the supervisor by C{Lifecycle.configured}, and C{quebert dev} has its own
(C{cli/_dev_asked}).
The supervisor of several processes is made in C{_supervisor} of C{_service} with the
few settings that it heeds; C{docs/processes.rst} tells of them.

L{ServedQueues} adds the queues that were made over the API to those of the settings
(L{MadeQueueReader<quebert.operations.MadeQueueReader>}).  At a reload,
C{Watches.change} compares.  What a mediator is made of is in C{_PARTS} of
C{_mediators}; what a watch is told, in L{way_of<quebert.service._ways.way_of>}; what a
client cannot change later, in C{_kind_of_client}.  A setting for all mediators, as
C{[hosts]}, is passed on by C{Watches.change} itself.  A change that takes a restart is
noted by C{_remark_on} in C{_service}, and in C{docs/configuration.rst}.
"""

from quebert.service._mediators import mediator
from quebert.service._options import Options
from quebert.service._run import run
from quebert.service._served_queues import ServedQueues
from quebert.service._service import MediatorService, makeService
from quebert.service._soundness import unusable_tls, unusable_web
from quebert.service._watch_events import WatchEvents
from quebert.service._watches import Watches
from quebert.service._ways import admission_of, id_tokens_for, id_tokens_of

__all__ = [
    "MediatorService",
    "Options",
    "ServedQueues",
    "WatchEvents",
    "Watches",
    "admission_of",
    "id_tokens_for",
    "id_tokens_of",
    "makeService",
    "mediator",
    "run",
    "unusable_tls",
    "unusable_web",
]
