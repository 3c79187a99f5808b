"""Which STUN and TURN servers two ends may use, and credentials for TURN that end by themselves.

The server and coturn share a secret; a user name that says when it ends, and its HMAC, is a credential that no table
knows ("TURN REST API", draft-uberti-behave-turn-rest, as coturn's ``use-auth-secret`` takes it). The name is derived
from the person's, so that a server of the clinic can hold quotas and its log names nobody. This module must not know
a clock or a socket. Read ``IcePlan.servers_for`` first.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import Struct

from protocol.contract.calls import IceServer

__all__ = ["IceMistake", "IcePlan", "IceRegion", "read_plan", "turn_credential"]

_URL: Final = re.compile(r"(?:stun|stuns|turn|turns):[A-Za-z0-9.\-\[\]:]{1,255}(?:\?transport=(?:udp|tcp))?")
_NAME_CHARS: Final = 16
MAX_URLS: Final = 8


class IceMistake(ValueError):
    """The list of servers cannot be used; ``args[0]`` says why."""


class IceRegion(Struct, frozen=True, forbid_unknown_fields=True):
    """The servers of one region, best first."""

    stun: tuple[str, ...] = ()
    turn: tuple[str, ...] = ()


class _Plan(Struct, frozen=True, forbid_unknown_fields=True):
    regions: dict[str, IceRegion]
    default: str
    clinics: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class IcePlan:
    """Servers by region; ``clinics`` names the region of each clinic that is not in the default one.

    ``secret`` is shared with the TURN servers. Credentials are good for at most ``ttl_s``, and half of it at least.
    """

    regions: Mapping[str, IceRegion]
    default: str
    clinics: Mapping[str, str]
    secret: bytes
    ttl_s: int

    def region_of(self, clinic: str) -> IceRegion:
        """Where the people of a clinic are."""
        return self.regions[self.clinics.get(clinic, self.default)]

    def turn_urls(self) -> tuple[str, ...]:
        """All TURN servers of all regions, each once."""
        return tuple(dict.fromkeys(url for region in self.regions.values() for url in region.turn))

    def servers_for(self, clinic: str, user: str, now_s: float) -> tuple[IceServer, ...]:
        """What one person needs now. ``now_s`` is Unix time. Empty when there are no servers: host candidates only."""
        region = self.region_of(clinic)
        servers = [IceServer(urls=region.stun)] if region.stun else []
        if region.turn:
            # One name for half of its life, whichever pod gives it: quotas of TURN servers are by name.
            half_s = max(1, self.ttl_s // 2)
            until_s = (int(now_s) // half_s + 2) * half_s
            name, password = turn_credential(self.secret, clinic, user, until_s=until_s)
            servers.append(IceServer(urls=region.turn, username=name, credential=password))
        return tuple(servers)


def turn_credential(secret: bytes, clinic: str, user: str, *, until_s: int) -> tuple[str, str]:
    """User name and password of a TURN server until then, Unix seconds. One person has one name at a time."""
    person = hmac.digest(secret, f"turn-user\0{clinic}\0{user}".encode("utf-8", "surrogatepass"), "sha256")
    name = f"{until_s}:{person.hex()[:_NAME_CHARS]}"
    password = hmac.new(secret, name.encode(), hashlib.sha1).digest()
    return name, base64.b64encode(password).decode()


def read_plan(document: bytes, *, secret: bytes, ttl_s: int) -> IcePlan:
    """The plan that a JSON document describes.

    ``{"regions": {"eu": {"stun": ["stun:..."], "turn": ["turn:..."]}}, "default": "eu", "clinics": {"c1": "eu"}}``.
    Raises IceMistake.
    """
    try:
        plan = msgspec.json.decode(document, type=_Plan)
    except msgspec.MsgspecError as error:
        raise IceMistake(f"not a list of ICE servers: {error}") from None
    for region in {plan.default, *plan.clinics.values()}:
        if region not in plan.regions:
            raise IceMistake("a region is named that is not described")
    for described in plan.regions.values():
        _check(described.stun, ("stun:", "stuns:"))
        _check(described.turn, ("turn:", "turns:"))
        if described.turn and not secret:
            raise IceMistake("TURN servers need the secret that is shared with them")
    return IcePlan(plan.regions, plan.default, plan.clinics, secret, ttl_s)


def _check(urls: tuple[str, ...], schemes: tuple[str, ...]) -> None:
    if len(urls) > MAX_URLS:
        raise IceMistake(f"a region has more than {MAX_URLS} servers of a kind: clients get slow from that")
    for url in urls:
        if not _URL.fullmatch(url) or not url.startswith(schemes):
            raise IceMistake("a server is named that has no such URL")


def no_servers(**changes: Any) -> IcePlan:
    """Host candidates only, as between two ends of one network."""
    return IcePlan({"none": IceRegion()}, "none", {}, b"", **{"ttl_s": 3_600, **changes})
