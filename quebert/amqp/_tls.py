"""
TLS towards the broker: whom we trust, who we are, and what went wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL.crypto import X509, PKey
from OpenSSL.SSL import Error as OpenSSLError
from service_identity import VerificationError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    KeyPair,
    PrivateCertificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)

from quebert.config import TLS
from quebert.errors import ConfigError

__all__ = ["creator", "distrust"]


def creator(tls: Any, host: str) -> IOpenSSLClientConnectionCreator:
    """
    What makes TLS connections to C{host}, whose certificate is checked.

    @param tls: L{TLS}, or such a thing already.
    @raise ConfigError: a file of it cannot be read.
    """
    if not isinstance(tls, TLS):
        given: IOpenSSLClientConnectionCreator = tls
        return given
    trusted = None
    if tls.cacertfile is not None:
        authorities = _certificates("cacertfile", tls.cacertfile)
        trusted = trustRootFromCertificates(authorities)
    if tls.certfile is None:
        if tls.keyfile is not None:
            raise ConfigError("the keyfile for TLS is of no use without a certfile")
        return optionsForClientTLS(host, trustRoot=trusted)
    ours, *chain = _certificates("certfile", tls.certfile)
    return optionsForClientTLS(
        host,
        trustRoot=trusted,
        clientCertificate=_with_key(ours, tls.keyfile or tls.certfile),
        extraCertificateOptions={"extraCertChain": [each.original for each in chain]},
    )


def _read(option: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as e:
        why = getattr(e, "strerror", None) or e
        raise ConfigError(f"the {option} {path!r} cannot be read: {why}") from None


def _certificates(option: str, path: str) -> list[Certificate]:
    try:
        found = load_pem_x509_certificates(_read(option, path))
    except ConfigError:
        raise
    except ValueError:
        text = f"the {option} {path!r} has no certificates in PEM"
        raise ConfigError(text) from None
    return [Certificate(X509.from_cryptography(each)) for each in found]


def _with_key(certificate: Certificate, path: str) -> PrivateCertificate:
    pem = _read("keyfile", path)
    try:
        # Not OpenSSL's own, which would ask the terminal for a passphrase.
        key = load_pem_private_key(pem, password=None)
        pair = KeyPair(PKey.from_cryptography_key(key))  # type: ignore[arg-type]
        theirs = certificate.original.get_pubkey().to_cryptography_key()
        belongs = key.public_key() == theirs
    except (TypeError, ValueError, UnsupportedAlgorithm):
        belongs = False
    if not belongs:
        raise ConfigError(
            f"the keyfile {path!r} has no key in PEM, without a passphrase, that"
            " belongs to the certfile"
        )
    both: PrivateCertificate
    both = PrivateCertificate.fromCertificateAndKeyPair(certificate, pair)
    return both


def distrust(error: BaseException | None) -> str | None:
    """
    What C{error} says if one side did not accept the certificate of the
    other, C{None} if it is about something else.
    """
    if isinstance(error, VerificationError):
        return "its certificate is not for this host"
    if not isinstance(error, OpenSSLError) or not error.args:
        return None
    reasons = ", ".join(str(each[-1]) for each in error.args[0] if each)
    if "certificate verify failed" in reasons:
        return "its certificate is not signed by an authority that we trust"
    if "certificate" in reasons or "unknown ca" in reasons:
        return f"it does not accept our certificate, or wants one ({reasons})"
    return None
