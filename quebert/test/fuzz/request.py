"""
Requests to executors: signatures, and what no web page may have sent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from quebert.errors import BadSignature
from quebert.functions.admission import SignedOnly, Unsigned
from quebert.signatures import SharedSecret, Signer, Verifier
from quebert.test.fuzz.choices import Choices
from quebert.test.mediating import NOW

__all__ = ["check"]

_SECRET = SharedSecret(b"s" * 32)
_NAMES = ("webhook-id", "webhook-timestamp", "webhook-signature")
_BODY = b'{"url": "http://h/", "uuid": "u"}'
_OTHERS = ("Origin", "Sec-Fetch-Site", "Host", "Content-Type")


def check(data: bytes) -> None:
    """
    The first byte chooses what the others are.
    """
    choices = Choices(data)
    _KINDS[choices.octet() % len(_KINDS)](choices)


def _forged(choices: Choices) -> None:
    """
    No bytes that were put together without the secret are let in.
    """
    verifier = Verifier([_SECRET], now=lambda: NOW)
    pairs = [
        (choices.pick((*_NAMES, *_NAMES, "other")), _latin(choices.short()))
        for _ in range(choices.octet() % 6)
    ]
    try:
        verifier.verify(pairs, choices.rest())
    except BadSignature as e:
        assert len(str(e)) < 200
    else:
        raise AssertionError(f"let in: {pairs}")


def _changed(choices: Choices) -> None:
    """
    A signed request is let in once, and with a byte changed not at all.
    """
    signer = Signer([_SECRET], now=lambda: NOW)
    headers = signer.signed({}, "u", _BODY)
    verifier = Verifier([_SECRET], now=lambda: NOW)
    at, by = choices.number(), choices.octet() or 1
    index = at % len(_BODY)
    body = bytearray(_BODY)
    body[index] ^= by
    _refused(verifier, headers, bytes(body))
    name = choices.pick(_NAMES)
    value = headers[name]
    index = at % len(value)
    other = chr(ord(value[index]) ^ by & 0x7F or 0x20)
    changed = {**headers, name: value[:index] + other + value[index + 1 :]}
    if changed[name] != value and not _is_same(name, changed[name], value):
        _refused(verifier, changed, _BODY)
    assert verifier.verify(headers, _BODY) == "u"
    _refused(verifier, headers, _BODY)


def _is_same(name: str, one: str, other: str) -> bool:
    """
    Whether two signatures differ in bits that base64 does not use.
    """
    return name == "webhook-signature" and one[:-2] == other[:-2]


def _refused(verifier: Verifier, headers: Any, body: bytes) -> None:
    try:
        verifier.verify(headers, body)
    except BadSignature:
        return
    raise AssertionError(f"let in: {headers} {body!r}")


def _unsigned(choices: Choices) -> None:
    """
    Without signatures no request is let in that has the marks of a web page, and none
    for the name of a site.
    """
    headers = [
        (choices.pick(_OTHERS), _latin(choices.short()))
        for _ in range(choices.octet() % 6)
    ]
    if choices.flag():
        headers.append(("Content-Type", "application/json"))
    for admission in (Unsigned(), SignedOnly(Verifier([_SECRET], now=lambda: NOW))):
        answer = admission.refusal(headers, _BODY)
        if answer is not None:
            assert 400 <= answer.status < 500
            assert len(answer.body) < 1_000
    if Unsigned().refusal(headers, _BODY) is None:
        _check_let_in(headers)


def _check_let_in(headers: Sequence[tuple[str, str]]) -> None:
    for name, value in headers:
        assert name != "Origin"
        if name == "Sec-Fetch-Site":
            assert value == "none", value
        elif name == "Content-Type":
            kind = value.partition(";")[0].strip(" \t").lower()
            # Of these a browser asks first, by a request that is refused.
            assert kind.startswith("application/"), value
            assert kind.endswith("json"), value
        elif name == "Host":
            host = re.sub(r":[0-9]*\Z", "", value.strip().lower())
            if "." in host.rstrip(".") and not host.rstrip(".").endswith(".localhost"):
                ip_address(host.strip("[]").removesuffix("."))


def _latin(data: bytes) -> str:
    return data.decode("latin-1")


_KINDS = (_unsigned, _forged, _changed)
