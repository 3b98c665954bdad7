"""
How much may be asked of an origin or a queue, and how quickly.  Pure: the time is
an argument, and what is to wait is told for how long.

The throttles of a queue are in L{quebert.amqp.coordination}; they use the bucket from
here.
"""

from quebert.limits._adaptive import AdaptiveLimit, AdaptiveSettings
from quebert.limits._breaker import Breaker, BreakerSettings
from quebert.limits._bucket import TokenBucket
from quebert.limits._origin import GIVEN_UP, OriginLimits, OriginStatus
from quebert.limits._origins import Gate, Origins
from quebert.limits._rate import Rate, RateLike, burst_of

__all__ = [
    "GIVEN_UP",
    "AdaptiveLimit",
    "AdaptiveSettings",
    "Breaker",
    "BreakerSettings",
    "Gate",
    "OriginLimits",
    "OriginStatus",
    "Origins",
    "Rate",
    "RateLike",
    "TokenBucket",
    "burst_of",
]
