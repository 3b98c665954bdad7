"""
Whether a broker, the queues in it and a configuration are sound: the work of C{quebert
doctor}.  Each module is about one thing that can be wrong.

To add a finding: a check, as a coroutine that returns L{Finding}s, in the module of
what it is about; a line in C{_checks} of C{_examine}, where C{_guarded} tells what
RabbitMQ does not let us look at; the table in C{docs/operating.rst}.  A check changes
nothing but probes, whose names begin with that of C{Subject} (C{_subject}).  A fault of
a version of RabbitMQ is a line in C{_versions}.  Whatever a mediator declares, consumes
or publishes to has a line in C{_permissions}.
"""

from quebert.doctor._examine import examine
from quebert.doctor._findings import Finding, Level

__all__ = ["Finding", "Level", "examine"]
