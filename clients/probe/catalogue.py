"""All checks, in the order in which they are made, and what each needs before it makes sense.

What cannot work because something below it does not is skipped and says so: one closed port is one failure, not
fifteen. Read ``CATALOGUE`` first.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from clients.probe import (
    acs_checks,
    acs_event_checks,
    hub_checks,
    network_checks,
    page_checks,
    refusal_checks,
    socketio_checks,
)
from clients.probe.target import Target
from clients.probe.verdicts import Verdict

__all__ = ["CATALOGUE", "NAMES", "Check", "matching"]


@dataclass(frozen=True, slots=True)
class Check:
    """``after``: checks without which this one says nothing, when they have failed. ``by_token``: it shows a token."""

    name: str
    run: Callable[[Target], Awaitable[Verdict]]
    after: tuple[str, ...] = ()
    by_token: bool = False


_WEB: Final = ("http",)
_HUB: Final = ("negotiate",)

CATALOGUE: Final[tuple[Check, ...]] = (
    Check("dns", network_checks.dns),
    Check("tcp", network_checks.tcp, ("dns",)),
    Check("tls", network_checks.tls, ("tcp",)),
    Check("http", page_checks.http, ("tcp", "tls")),
    Check("alive", page_checks.alive, _WEB),
    Check("ready", page_checks.ready, _WEB),
    Check("database", page_checks.part("database"), ("ready",)),
    Check("redis", page_checks.part("redis"), ("ready",)),
    Check("clock", page_checks.clock, _WEB),
    Check("foreign-origin", refusal_checks.foreign_origin, _WEB),
    Check("missing-token", refusal_checks.missing_token, _WEB),
    Check("forged-token", refusal_checks.forged_token, _WEB),
    Check("token", hub_checks.token),
    Check("negotiate", hub_checks.negotiation, ("http", "token"), by_token=True),
    Check("websockets-json", hub_checks.transport(hub_checks.WEBSOCKETS, "json"), _HUB, by_token=True),
    Check("websockets-messagepack", hub_checks.transport(hub_checks.WEBSOCKETS, "messagepack"), _HUB, by_token=True),
    # The protocol knows event streams as text only.
    Check("event-stream-json", hub_checks.transport(hub_checks.EVENT_STREAM, "json"), _HUB, by_token=True),
    Check("long-polling-json", hub_checks.transport(hub_checks.POLLS, "json"), _HUB, by_token=True),
    Check("long-polling-messagepack", hub_checks.transport(hub_checks.POLLS, "messagepack"), _HUB, by_token=True),
    Check("resume-json", hub_checks.resume("json"), _HUB, by_token=True),
    Check("resume-messagepack", hub_checks.resume("messagepack"), _HUB, by_token=True),
    Check("balancer", hub_checks.balancer, _HUB, by_token=True),
    Check("socketio-websocket", socketio_checks.websocket, _HUB, by_token=True),
    Check("socketio-polling", socketio_checks.polling, _HUB, by_token=True),
    Check("turn", page_checks.turn, _WEB),
    Check("acs-identities", acs_checks.identities),
    Check("acs-chat", acs_checks.chat, ("acs-identities",)),
    Check("acs-rooms", acs_checks.rooms, ("acs-identities",)),
    Check("acs-events", acs_event_checks.events, _WEB),
)
NAMES: Final = tuple(check.name for check in CATALOGUE)


def matching(word: str) -> frozenset[str]:
    """The names of the checks that a word means: one, or all that begin so."""
    return frozenset(name for name in NAMES if word and (name == word or name.startswith(f"{word}-")))
