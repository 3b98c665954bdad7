"""
How much may be requested of an origin, and how quickly.  Pure: the time is an argument,
and what is to wait is told for how long.

The throttles of a queue are in L{quebert.amqp.coordination}.  They use the bucket of
tokens from here.

To add a limit of what is requested of hosts: a field of L{OriginLimits};
C{Origin.admit} and C{Origin.ended} in C{_origin}, and L{OriginStatus}; a field of
L{Host<quebert.config.Host>}, in its C{limits}, too, read by C{_host} in
C{config/_host.py}; C{docs/limits.rst} and C{docs/configuration.rst}.  An answer reaches
C{Origin.ended} by C{Admitted.ended} in C{mediator/_admission}, which tells its status
alone, and by L{Admission.ended}, a role that programs may play.  A term of the
breaker or of the adaptive limit: its settings, C{_BREAKER} or C{_ADAPTIVE} in
C{config/_host.py}, and what the log says, C{_tell} in C{service/_ways}.  The service
makes another L{Admission} when C{[hosts]} changes (C{service/_watches}).  A limit of
connections or answers is in C{http/_limits}, and reaches it by C{_connections} in
C{service/_ways}; a term of retries, in L{quebert.policy}.  A limit of places within one
watch, however origins answer, is in L{quebert.amqp.watch._hanging_hosts}; one of a
process, in L{quebert.amqp.watch._memory_budget}.
"""

from quebert.limits._adaptive import AdaptiveLimit, AdaptiveSettings
from quebert.limits._breaker import Breaker, BreakerSettings
from quebert.limits._bucket import TokenBucket
from quebert.limits._origin import GIVEN_UP, OriginLimits, OriginStatus
from quebert.limits._origins import Admission, FreeingAdmission, Origins, WhenFree
from quebert.limits._rate import Rate, RateLike, burst_of

__all__ = [
    "GIVEN_UP",
    "AdaptiveLimit",
    "AdaptiveSettings",
    "Admission",
    "Breaker",
    "BreakerSettings",
    "FreeingAdmission",
    "OriginLimits",
    "OriginStatus",
    "Origins",
    "Rate",
    "RateLike",
    "TokenBucket",
    "WhenFree",
    "burst_of",
]
