"""
Sums up the states of origins of all mediators, and compares their clocks.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from quebert.operations._live_values import LiveHost
from quebert.operations._seen import SeenMediator
from quebert.operations._why_words import span

__all__ = ["clocks_of", "hosts_of"]

_BREAKERS = ("", "closed", "half-open", "open")


def hosts_of(mediators: Iterable[SeenMediator]) -> Iterable[LiveHost]:
    """
    The origins of these mediators, each once.  Times are by the clock of this process.
    """
    found: dict[str, LiveHost] = {}
    for each in mediators:
        for origin, state in each.state.origins.items():
            until = state.open_until
            one = LiveHost(
                origin=origin,
                breaker=state.breaker,
                open_until=None if until is None else until - each.ahead,
                limit=state.limit,
                in_flight=state.in_flight,
                rate=state.rate,
                mediators=1,
            )
            before = found.get(origin)
            found[origin] = one if before is None else _together(before, one)
    return found.values()


def _together(one: LiveHost, other: LiveHost) -> LiveHost:
    def total(a: float | None, b: float | None) -> float | None:
        return None if a is None or b is None else a + b

    untils = [e for e in (one.open_until, other.open_until) if e is not None]
    return LiveHost(
        origin=one.origin,
        breaker=max(one.breaker, other.breaker, key=_severity),
        open_until=max(untils, default=None),
        limit=total(one.limit, other.limit),
        in_flight=one.in_flight + other.in_flight,
        rate=total(one.rate, other.rate),
        mediators=one.mediators + other.mediators,
    )


def _severity(breaker: str) -> int:
    return _BREAKERS.index(breaker) if breaker in _BREAKERS else 0


def clocks_of(mediators: Iterable[SeenMediator]) -> Iterator[str]:
    """
    A sentence where clocks differ: single attempts have the times of these clocks.
    """
    differing = [each for each in mediators if each.ahead]
    if not differing:
        return
    worst = max(differing, key=lambda each: abs(each.ahead))
    name, ahead = worst.state.mediator, worst.ahead
    whose = f"the clock of mediator {name} is"
    if len(differing) > 1:
        whose = f"the clocks of {len(differing)} mediators differ; that of {name} is"
    where = "ahead of" if ahead > 0 else "behind"
    yield (
        f"{whose} {span(abs(ahead))} {where} the one here, and attempts are shown with"
        " the times of their mediators"
    )
