"""One ICE candidate as text (RFC 8839, section 5.1): what a browser of the other side may be asked to send packets to.

Whoever receives a candidate sends packets to its address, so an address is checked like one that a stranger wants
visited from inside: never this machine, never a link-local one (cloud metadata lives there), private ones only if the
clinic allows them. This module must not know calls. Read ``check_candidate`` first.
"""

import re
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

__all__ = ["HostPolicy", "Malformed", "check_candidate"]

MAX_CANDIDATE_CHARS: Final = 512
# RFC 6762 names of one machine on one network, made up anew for each page: 36 characters of a UUID.
_MDNS: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.local")
_CANDIDATE: Final = re.compile(
    r"candidate:[A-Za-z0-9+/]{1,32} [0-9]{1,3} (?P<transport>udp|tcp) [0-9]{1,10} (?P<address>[0-9A-Za-z.:-]{1,64})"
    r" (?P<port>[0-9]{1,5}) typ (?P<kind>host|srflx|prflx|relay)(?P<rest>(?: [\x21-\x7e]+ [\x21-\x7e]+)*)",
    re.IGNORECASE,
)
# RFC 6598: shared by the customers of one provider, and so as private as the others.
_CARRIER: Final = ip_network("100.64.0.0/10")
_NO_ADDRESS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104  # what browsers put where an address is kept back


class HostPolicy(StrEnum):
    """PUBLIC: mDNS names and public addresses. PRIVATE: private ones too. ANY: this machine too, for development."""

    PUBLIC = "public"
    PRIVATE = "private"
    ANY = "any"


class Malformed(ValueError):
    """Text of a client that is not what it should be; ``args[0]`` says why without quoting any of it."""


def check_candidate(text: str, policy: HostPolicy) -> None:
    """Raises Malformed when it is none, or names an address that nobody may be sent to. Empty: there are no more."""
    if not text:
        return
    if len(text) > MAX_CANDIDATE_CHARS:
        raise Malformed("a candidate is too long")
    found = _CANDIDATE.fullmatch(text)
    if found is None:
        raise Malformed("not an ICE candidate")
    if not 0 < int(found["port"]) <= 65_535:
        raise Malformed("a candidate has a port that is none")
    _check_address(found["address"], policy)
    words = found["rest"].split()
    extensions = dict(zip(words[::2], words[1::2], strict=True))
    related = extensions.get("raddr")
    # Nobody sends anything there: it only has to be an address.
    if related is not None and related not in _NO_ADDRESS:
        _address(related)


def _check_address(text: str, policy: HostPolicy) -> None:
    if _MDNS.fullmatch(text.lower()):
        return
    address = _address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        raise Malformed("a candidate names an address that is nobody's to use")
    if address.is_loopback:
        if policy is not HostPolicy.ANY:
            raise Malformed("a candidate names this machine")
        return
    if address.is_private or (isinstance(address, IPv4Address) and address in _CARRIER):
        if policy is HostPolicy.PUBLIC:
            raise Malformed("a candidate names a private address")
    elif address.is_reserved:
        raise Malformed("a candidate names an address that is nobody's to use")


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        raise Malformed("a candidate names no address") from None
