"""The hub as clients use it: negotiation, each transport with each wire format, coming back, and what stands in front.

Everything ends in ``WhoAmI``, which changes nothing. Read ``transport`` first, then ``resume`` and ``balancer``.
"""

import base64
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import msgspec

from clients.probe.hub_line import HubLine
from clients.probe.negotiation import Negotiated, negotiate
from clients.probe.pipes import Pipe, PollPipe, event_stream, polls, websocket
from clients.probe.target import Target
from clients.probe.verdicts import Trouble, Verdict, ok, skip, warn
from clients.probe.web import browser_of
from protocol.signalr.codec import ProtocolName

__all__ = ["balancer", "negotiation", "resume", "token", "transport"]

WEBSOCKETS: Final = "WebSockets"
EVENT_STREAM: Final = "ServerSentEvents"
POLLS: Final = "LongPolling"
Check = Callable[[Target], Awaitable[Verdict]]

# Below what one connection may have waiting, see docs/operations.md.
_CALLS_ANSWERED: Final = 4
_CALLS_IN_FLIGHT: Final = 20
_CALLS_MADE_AWAY: Final = 4
_BALANCED: Final = 4
_MOST_BALANCED_CALLS: Final = 3
_SOON_S: Final = 60.0


class _Claims(msgspec.Struct, frozen=True):
    exp: float | None = None


async def token(target: Target) -> Verdict:
    """Whether there is a token, and for how long it says that it is good."""
    if target.token is None:
        return warn("none was given: what needs one is not looked at")
    parts = target.token.split(".")
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), type=_Claims)
    except (IndexError, ValueError, msgspec.DecodeError):
        return ok("given, and of a kind that only the server can read")
    if claims.exp is None:
        return ok("given, without an end")
    left_s = claims.exp - time.time()
    if left_s <= 0:
        raise Trouble(f"its time ended {-left_s:.0f} s ago")
    return ok(f"good for {left_s:.0f} s more") if left_s > _SOON_S else warn(f"good for {left_s:.0f} s more only")


async def negotiation(target: Target) -> Verdict:
    """What the hub offers to who shows the token."""
    found = await negotiate(target, stateful=True)
    names = ", ".join(name for name in (WEBSOCKETS, EVENT_STREAM, POLLS) if name in found.transports)
    return ok(f"{names or 'no transport that is known'}{', stateful' * found.use_stateful_reconnect}")


def transport(name: str, protocol: ProtocolName) -> Check:
    """A check of one transport with one wire format: handshake, one call, and that it is the negotiated connection."""

    async def check(target: Target) -> Verdict:
        found = await negotiate(target)
        if name not in found.transports:
            return skip("not offered here")
        async with _pipe(name, target, found, protocol) as pipe:
            line = HubLine(pipe, protocol, now=time.monotonic)
            await line.shake_hands()
            await _ask(line, found)
        return ok("handshake and WhoAmI")

    return check


def resume(protocol: ProtocolName) -> Check:
    """A check that a connection survives its socket: no call that was on its way is lost or answered twice."""

    async def check(target: Target) -> Verdict:
        found = await negotiate(target, stateful=True)
        if WEBSOCKETS not in found.transports:
            return skip("no WebSockets are offered here")
        if not found.use_stateful_reconnect:
            return skip("stateful reconnect is not offered here")
        binary = protocol == "messagepack"
        async with websocket(target, found.connection_token, binary=binary) as first:
            line = HubLine(first, protocol, now=time.monotonic, stateful=True)
            await line.shake_hands()
            for _ in range(_CALLS_ANSWERED):
                await _ask(line, found)
            calls = await line.begin_calls(_CALLS_IN_FLIGHT)
            await first.cut()
            line.cut_off()
            calls += line.keep_calls(_CALLS_MADE_AWAY)
            async with websocket(target, found.connection_token, binary=binary) as second:
                await line.come_back(second)
                for call_id in calls:
                    if (await line.answer_of(call_id)).connection_id != found.connection_id:
                        raise Trouble("came back as another connection")
                # What was answered twice would come before it.
                await _ask(line, found)
        return ok(f"socket cut with {_CALLS_IN_FLIGHT} calls on their way, all {len(calls)} answered once")

    return check


async def balancer(target: Target) -> Verdict:
    """Whether a connection works when each of its requests comes on a TCP connection of its own."""
    if POLLS not in (await negotiate(target)).transports:
        return skip("long polling is not offered here")
    try:
        requests = await _balanced(target, cookies=False)
    except Trouble as trouble:
        try:
            await _balanced(target, cookies=True)
        except Trouble:
            raise trouble from None
        return warn("works only with the balancer's cookie, which not every client keeps")
    return ok(f"{_BALANCED} connections, {requests} requests on as many TCP connections")


async def _balanced(target: Target, *, cookies: bool) -> int:
    requests = 0
    for _ in range(_BALANCED):
        async with browser_of(target, cookies=cookies) as browser:
            found = await negotiate(target, browser)
            async with polls(target, found.connection_token, browser) as pipe:
                line = HubLine(pipe, "json", now=time.monotonic)
                await line.shake_hands()
                for _ in range(_MOST_BALANCED_CALLS):
                    await _ask(line, found)
        # The negotiation, and the goodbye that ``polls`` has said by now.
        requests += 1 + pipe.requests
    return requests


async def _ask(line: HubLine, found: Negotiated) -> None:
    who = await line.who_am_i()
    if who.connection_id != found.connection_id:
        raise Trouble("the call was answered by another connection than the negotiated one")


def _pipe(
    name: str, target: Target, found: Negotiated, protocol: ProtocolName
) -> AbstractAsyncContextManager[Pipe] | AbstractAsyncContextManager[PollPipe]:
    if name == WEBSOCKETS:
        return websocket(target, found.connection_token, binary=protocol == "messagepack")
    if name == EVENT_STREAM:
        return event_stream(target, found.connection_token)
    return polls(target, found.connection_token)
