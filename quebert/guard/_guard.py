"""
L{Guard}: what tasks may reach, and its verdict on an address.  Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import attrs

from quebert.errors import ConfigError, Forbidden
from quebert.guard._place import Place, normal
from quebert.guard._tiers import Address, Tier, face_tier, faces, parsed, tier

__all__ = ["Guard"]


#: The schemes that the HTTP client knows.
SCHEMES = ("http", "https", "http+unix")
_USUAL = ("http", "https")


def _list(given: Iterable[Any]) -> tuple[Any, ...]:
    if isinstance(given, (str, bytes)):  # a list of its characters is never meant
        raise ConfigError(f"a guard needs a list, not {given!r:.40}")
    try:
        return tuple(given)
    except TypeError:
        raise ConfigError(f"a guard needs a list, not {given!r:.40}") from None


def _schemes(given: Iterable[str]) -> tuple[str, ...]:
    schemes = _list(given)
    if not schemes or not all(each in SCHEMES for each in schemes):
        raise ConfigError(f"a guard's schemes must be some of {', '.join(SCHEMES)}")
    return schemes


def _ports(given: Iterable[int]) -> tuple[int, ...]:
    ports = _list(given)
    if not all(type(each) is int and 0 < each < 65_536 for each in ports):
        raise ConfigError("a guard's ports must be numbers from 1 to 65535")
    return ports


def _places(given: Iterable[Place | str]) -> tuple[Place, ...]:
    return tuple(map(_place, _list(given)))


def _place(given: Place | str) -> Place:
    if isinstance(given, Place):
        return given
    try:
        return Place.parse(_text(given))
    except ConfigError as e:
        raise ConfigError(f"the place {given!r:.60} of a guard {e}") from None


def _text(given: object) -> str:
    if not isinstance(given, str):
        raise ConfigError("must be a text")
    return given


def _proxy(given: Place | str | None) -> Place | None:
    if given is None or (isinstance(given, Place) and given.is_proxy):
        return given
    if isinstance(given, Place):
        raise ConfigError(f"the proxy of a guard must have a port, not {given}")
    try:
        return Place.of_proxy(_text(given))
    except ConfigError as e:
        raise ConfigError(f"the proxy of a guard {e}, not {given!r:.60}") from None


def _is_choice(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if value not in ("allow", "refuse"):
        text = f'{field.name} must be "allow" or "refuse", not {value!r:.40}'
        raise ConfigError(text)


@attrs.frozen(kw_only=True)
class Guard:
    """
    What tasks may reach.  Addresses that no executor has are forbidden, by default,
    too: link-local ones and those of the clouds' metadata, unspecified, multicast and
    reserved ones.

    @ivar private: C{"refuse"} for no addresses of private networks, loopback among
        them; else C{"allow"}.
    @ivar allow: places that tasks may reach although they are private or forbidden,
        such as C{["10.1.0.0/16", "svc.internal:8080"]}.  What is in C{own} is reached
        by its name or its address alone, and not by a network.
    @ivar deny: places that they may not reach, even if C{allow} has them.
    @ivar schemes: of URLs; C{http+unix} must be named to be allowed.
    @ivar ports: the ports that they may reach; none for every port.
    @ivar own: hosts with ports of the mediator's own, such as its broker's: they are
        forbidden.
    @ivar proxy: an HTTP proxy that makes all connections, and judges where names
        lead, such as C{"http://smokescreen:4750"}.
    @raise ConfigError: one of these is wrong.
    """

    private: str = attrs.field(default="allow", validator=_is_choice)
    allow: tuple[Place, ...] = attrs.field(default=(), converter=_places)
    deny: tuple[Place, ...] = attrs.field(default=(), converter=_places)
    schemes: tuple[str, ...] = attrs.field(default=_USUAL, converter=_schemes)
    ports: tuple[int, ...] = attrs.field(default=(), converter=_ports)
    own: tuple[Place, ...] = attrs.field(default=(), converter=_places)
    proxy: Place | None = attrs.field(default=None, converter=_proxy)

    @property
    def keeps_answers(self) -> bool:
        """
        Whether dead letters may hold the beginning of an answer: an answer from a
        private network is not for somebody who may not reach that network.
        """
        return self.private == "allow"

    def check(self, scheme: str, host: str, port: int | None) -> None:
        """
        Judge what can be judged by the URL alone.

        @param port: C{None} for a Unix socket.
        @raise Forbidden: it may not be requested.
        """
        if scheme not in self.schemes:
            raise Forbidden(f"the guard refuses the scheme {scheme}")
        if port is None:
            return
        if self.ports and port not in self.ports:
            raise Forbidden(f"the guard refuses the port {port}")
        name = normal(host)
        if _named(self.deny, name, port):
            raise Forbidden("the guard refuses its host")
        if self.proxy is None:
            return  # else nobody here knows where the name leads
        if _named(self.own, name, port) and not _named(self.allow, name, port):
            raise Forbidden("the guard refuses its host")

    def own_hosts(self, port: int) -> list[str]:
        """
        The hosts that have something of the mediator's own at C{port}.
        """
        return [each.host for each in self.own if each.port in (None, port)]

    def own_addresses(self, port: int) -> set[Address]:
        """
        The addresses that L{own_hosts} has without a look-up: of literals, and of
        C{localhost} (RFC 6761, section 6.3).
        """
        hosts = self.own_hosts(port)
        if "localhost" in hosts:
            hosts += ["127.0.0.1", "::1"]
        found = map(parsed, hosts)
        return {face for each in found if each is not None for face in faces(each)}

    def permits(
        self, address: Address, host: str, port: int, own: Collection[Address] = ()
    ) -> bool:
        """
        Whether C{address} may be dialled.

        @param host: the name or address in the URL, which led to C{address}.
        @param own: the addresses where there is something of the mediator's own at
            C{port}.
        """
        if not (self.allow or self.deny or own):  # nearly always
            return tier(address) <= self._worst
        everywhere = _named(self.allow, normal(host), port)
        return all(
            self._permits_face(face, port, everywhere, own) for face in faces(address)
        )

    def _permits_face(
        self, face: Address, port: int, everywhere: bool, own: Collection[Address]
    ) -> bool:
        if _listed(self.deny, face, port):
            return False
        if everywhere:
            return True
        if face in own:  # a network that has it was allowed for the sake of others
            return _listed((each for each in self.allow if each.is_one), face, port)
        return _listed(self.allow, face, port) or face_tier(face) <= self._worst

    @property
    def _worst(self) -> Tier:
        return Tier.PRIVATE if self.private == "allow" else Tier.PUBLIC


def _named(places: Iterable[Place], host: str, port: int) -> bool:
    return any(place.has_name(host, port) for place in places)


def _listed(places: Iterable[Place], address: Address, port: int) -> bool:
    return any(place.has_address(address, port) for place in places)
