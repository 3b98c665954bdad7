"""
The terms of retries, as Cloud Tasks has them and as quebert does.  Pure.
"""

from __future__ import annotations

from typing import Any

import attrs

from quebert.policy import RetryPolicy
from quebert.web.cloud_tasks._errors import CloudTasksError, Code
from quebert.web.cloud_tasks._messages import RetryConfig
from quebert.web.cloud_tasks._scalars import SECOND

__all__ = ["config_of_policy", "config_of_terms", "policy_of", "terms_of"]

#: What a policy of quebert has at least, in seconds, and at most.
_SHORTEST, _LONGEST = 0.01, 1e9
_DURATIONS = ("max_retry_duration", "min_backoff", "max_backoff")
_NAMES = {
    "max_retry_duration": "maxRetryDuration",
    "min_backoff": "minBackoff",
    "max_backoff": "maxBackoff",
}


def _invalid(text: str) -> CloudTasksError:
    return CloudTasksError(Code.INVALID_ARGUMENT, f"RetryConfig.{text}")


def _check(config: RetryConfig) -> None:
    if config.max_attempts < -1:
        raise _invalid("maxAttempts must be greater or equal to -1.")
    if config.max_doublings < 0:
        raise _invalid("maxDoublings cannot be negative.")
    for field in _DURATIONS:
        given = getattr(config, field)
        if given is not None and given < 0:
            raise _invalid(f"{_NAMES[field]} cannot be negative.")


def terms_of(config: RetryConfig) -> dict[str, Any]:
    """
    The terms that are given, as in C{retry} of a task: what is 0 is not given.

    @raise CloudTasksError: they cannot be.
    """
    _check(config)
    terms: dict[str, Any] = {}
    if config.max_attempts:
        terms["max_attempts"] = config.max_attempts
    if config.max_doublings:
        terms["max_doublings"] = config.max_doublings
    if config.max_retry_duration:
        terms["max_retry_duration"] = _seconds(config.max_retry_duration, 0.0)
    if config.min_backoff is not None:
        terms["min_backoff"] = _seconds(config.min_backoff, _SHORTEST)
    if config.max_backoff is not None:
        terms["max_backoff"] = _seconds(config.max_backoff, _SHORTEST)
    has_both = "min_backoff" in terms and "max_backoff" in terms
    if has_both and terms["min_backoff"] > terms["max_backoff"]:
        raise _invalid(
            "minBackoff must be less than or equal to RetryConfig.maxBackoff."
        )
    return terms


def policy_of(config: RetryConfig) -> RetryPolicy:
    """
    The policy of a queue: what is not given has its default.

    @raise CloudTasksError: there can be none.
    """
    defaults = attrs.asdict(RetryPolicy())
    defaults.pop("jitter")
    _check(config)
    whole = config_of_terms(defaults | terms_of(config))
    return RetryPolicy(**terms_of(whole))


def config_of_policy(policy: RetryPolicy) -> RetryConfig:
    """
    The terms of a queue.
    """
    terms = attrs.asdict(policy)
    if policy.max_retry_duration <= 0:  # both mean that there is no limit
        del terms["max_retry_duration"]
    return config_of_terms(terms)


def config_of_terms(terms: dict[str, Any]) -> RetryConfig:
    """
    Those of a task, from its C{retry}.
    """
    durations = {
        name: round(terms[name] * SECOND) for name in _DURATIONS if terms.get(name)
    }
    return RetryConfig(
        max_attempts=terms.get("max_attempts") or 0,
        max_doublings=terms.get("max_doublings") or 0,
        **durations,
    )


def _seconds(nanoseconds: int, least: float) -> float:
    return min(max(least, nanoseconds / SECOND), _LONGEST)
